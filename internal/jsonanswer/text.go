package jsonanswer

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"strings"
)

const (
	everyByte  = 0x0101010101010101
	everyHigh  = 0x80 * everyByte
	everyQuote = '"' * everyByte
	everySlash = '\\' * everyByte
	everySpace = ' ' * everyByte
	everyDel   = 0x7f * everyByte
)

// unescaped returns the number of bytes at the start of p that are neither a quote, nor a
// backslash, nor a control character. It looks at eight bytes at once: a byte of x-everyByte
// gets its high bit if it was 0. A borrow can give a wrong high bit only to a later byte.
func unescaped(p []byte) int {
	n := 0
	for ; len(p)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(p[n:])
		quote, slash := x^everyQuote, x^everySlash
		if found := ((quote-everyByte)&^quote | (slash-everyByte)&^slash | (x-everySpace)&^x) & everyHigh; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for n < len(p) && p[n] != '"' && p[n] != '\\' && p[n] >= ' ' {
		n++
	}
	return n
}

// isASCII reports whether p is ASCII.
func isASCII(p []byte) bool {
	var all byte
	for ; len(p) >= 8; p = p[8:] {
		if binary.LittleEndian.Uint64(p)&everyHigh != 0 {
			return false
		}
	}
	for _, c := range p {
		all |= c
	}
	return all < 0x80
}

// escape is the position within an escape of a string.
type escape uint8

const (
	noEscape   escape = iota
	afterSlash        // after the backslash
	hex4              // after \u: four hexadecimal digits follow
	hex3
	hex2
	hex1
)

// next returns the position after the next character of an escape. It reports whether the
// escape can have this character.
func (e escape) next(c byte) (escape, bool) {
	switch {
	case e == afterSlash && c == 'u':
		return hex4, true
	case e == afterSlash:
		return noEscape, strings.IndexByte(`"\/bfnrt`, c) >= 0
	case e == hex1:
		return noEscape, isHex(c)
	}
	return e + 1, isHex(c)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// isWord says which characters a number, true, false and null consist of. A word of such
// characters that is not JSON, such as the NaN of some backends, cannot be read as
// the end of the word or as the start of another value, so it is let through.
var isWord = func() (table [256]bool) {
	for c := range table {
		b := byte(c)
		table[c] = '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || b == '+' || b == '-' || b == '.'
	}
	return table
}()

// isPlain reports whether the text of a string needs no decoding: it is visible ASCII
// without quotes and escapes, like nearly all names and states.
func isPlain(text []byte) bool {
	for ; len(text) >= 8; text = text[8:] {
		x := binary.LittleEndian.Uint64(text)
		quote, slash, del := x^everyQuote, x^everySlash, x^everyDel
		if (x|(quote-everyByte)|(slash-everyByte)|(del-everyByte)|(x-everySpace))&everyHigh != 0 && !plainBytes(text[:8]) {
			return false
		}
	}
	return plainBytes(text)
}

// plainBytes is isPlain, a byte at a time.
func plainBytes(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '\\' || c == '"' {
			return false
		}
	}
	return true
}

// decode returns the characters of a string that has its quotes. It does not copy a plain
// string.
func decode(quoted []byte) ([]byte, error) {
	text := quoted[1 : len(quoted)-1]
	if isPlain(text) {
		return text, nil
	}
	var decoded string
	if err := json.Unmarshal(quoted, &decoded); err != nil {
		return nil, ErrJSON
	}
	return []byte(decoded), nil
}

// appendQuoted appends text as a JSON string. A URL stays readable: & is not escaped.
func appendQuoted(p []byte, text string) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(text) // a string and a Builder have no errors
	return append(p, strings.TrimSuffix(b.String(), "\n")...)
}
