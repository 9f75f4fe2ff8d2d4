package credential

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file reads names as the most lenient parsers do. Queries, forms, pairs, commands
// and masks all use it, so that a name is the same name everywhere. A lenient reading
// decides what is refused and what is masked. It never decides what the key is.

// sameName reports whether some parser could take raw, a name as it came, for name. A
// parser may:
//   - decode percent-escapes, also twice, and plus signs
//   - ignore case as Unicode does: U+0131 is an i to Java and Python, U+017F is an s,
//     U+212A is a k, and the full-width letters are letters to Windows
//   - drop white space, quotation marks, brackets and a second "?" before the name, and
//     white space and quotation marks after it: qs and Rack read "[u]" and "u]" as u
//   - end the name at a NUL (C) or at a bracket (PHP's arrays)
//   - drop invisible characters, and bytes that are not UTF-8
func sameName(raw, name string) bool {
	if isPlain(raw) { // as most names are; the rest of this function would not change it
		return strings.EqualFold(raw, name)
	}
	read := strings.TrimLeftFunc(decodeAll(raw), func(r rune) bool { return isTrimmed(r) || strings.ContainsRune("?![]", r) })
	if i := strings.IndexAny(read, "\x00[]"); i >= 0 {
		read = read[:i]
	}
	return strings.EqualFold(fold(strings.TrimRightFunc(read, isTrimmed)), name)
}

// isPlain reports whether a name has only ASCII letters, digits, "-" and "_".
func isPlain(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// isTrimmed reports whether some parsers drop r at the beginning and at the end of a
// name.
func isTrimmed(r rune) bool {
	return unicode.IsSpace(r) || isInvisible(r) || r == '"' || r == '\'' || r == '`' || r == '\\'
}

// isInvisible reports whether some parsers drop r within a name.
func isInvisible(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) }

// fold changes a decoded text to the form in which lenient parsers compare names: lower
// case by every rule of Unicode, without invisible characters, and with a space for any
// white space.
func fold(text string) string {
	if isFolded(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case '\u3001' <= r && r <= '\u9fff': // Chinese and Japanese, which have no case
			return r
		case unicode.IsSpace(r):
			return ' '
		case isInvisible(r):
			return -1
		case '\uff01' <= r && r <= '\uff5e': // the full-width forms of ASCII
			r -= '\uff01' - '!'
		}
		return unicode.ToLower(unicode.ToUpper(r))
	}, text)
}

// isFolded reports whether text has only visible ASCII characters and spaces, and no
// capital letters.
func isFolded(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

// quoteRemover removes what some parsers take for quoting.
var quoteRemover = strings.NewReplacer(`"`, "", `'`, "", "`", "", `\`, "")

// countPairs counts the positions of text at which some parser could find name=value, and
// the positions at which the name has no value. name is in lower case. In text, the name
// may be escaped, quoted, in brackets, in other letters, or have spaces after it.
func countPairs(text, name string) (pairs, bare int) {
	for i := range len(text) {
		switch c := text[i]; {
		case needsDecoding[c]:
			return countDecodedPairs(text, name)
		case c|0x20 == name[0] && len(text)-i >= len(name) && strings.EqualFold(text[i:i+len(name)], name):
			if strings.HasPrefix(strings.TrimLeft(text[i+len(name):], " +]"), "=") {
				pairs++
			} else {
				bare++
			}
		}
	}
	return pairs, bare
}

// needsDecoding is true for each byte that decodeAll, fold or quoteRemover changes or
// removes.
var needsDecoding = func() (table [256]bool) {
	for c := range table {
		table[c] = c < ' ' || c > '~' || strings.IndexByte("%\"'`\\", byte(c)) >= 0
	}
	return table
}()

// countDecodedPairs does what countPairs does, for any text. It is slower.
func countDecodedPairs(text, name string) (pairs, bare int) {
	rest := quoteRemover.Replace(fold(decodeAll(text)))
	for {
		_, after, ok := strings.Cut(rest, name)
		if !ok {
			return pairs, bare
		}
		if rest = after; strings.HasPrefix(strings.TrimLeft(after, " ]"), "=") {
			pairs++
		} else {
			bare++
		}
	}
}

// hasPair reports whether some parser could find name=value in text.
func hasPair(text, name string) bool {
	pairs, _ := countPairs(text, name)
	return pairs > 0
}

// decodeAll decodes percent-escapes and plus signs, as many times as they are escaped.
func decodeAll(text string) string {
	if isPlain(text) {
		return text
	}
	text = strings.ReplaceAll(text, "+", " ")
	if !strings.Contains(text, "%25") {
		return decodePercent(text)
	}
	var once strings.Builder // text, with each escaped percent sign decoded
	for {
		before, after, ok := strings.Cut(text, "%25")
		once.WriteString(before)
		if !ok {
			return decodePercent(once.String())
		}
		once.WriteByte('%')
		for strings.HasPrefix(after, "25") {
			after = after[2:]
		}
		text = after
	}
}

// decodePercent decodes percent-escapes, and %u0041 as IIS does. Other text stays as it
// is.
func decodePercent(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	var out strings.Builder
	out.Grow(len(text))
	for {
		before, after, ok := strings.Cut(text, "%")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		r, n := readEscape(after)
		switch n {
		case 0:
			out.WriteByte('%')
		case 2:
			out.WriteByte(byte(r))
		default:
			out.WriteRune(r)
		}
		text = after[n:]
	}
}

// readEscape reads the digits after a percent sign: two, or u and four. n is how many
// bytes it has read, and 0 if there is no escape.
func readEscape(digits string) (r rune, n int) {
	if len(digits) >= 5 && digits[0]|0x20 == 'u' {
		if r, ok := parseHex(digits[1:5]); ok {
			return r, 5
		}
	}
	if len(digits) >= 2 {
		if r, ok := parseHex(digits[:2]); ok {
			return r, 2
		}
	}
	return 0, 0
}

func parseHex(digits string) (r rune, ok bool) {
	for i := range len(digits) {
		switch c := digits[i]; {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
