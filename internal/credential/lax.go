package credential

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file says how the most lenient parsers read a name. Queries, forms, pairs,
// commands and masks all ask here, so that a name is the same name for all of them.
// A lenient reading decides what is refused and what is masked, never what a key is.

// sameName reports whether any parser could take raw, a name as it came, for name.
// A parser may:
//   - decode percent-escapes, also twice, and plus signs
//   - ignore case as Unicode folds it: U+0131 is an i to Java and Python, U+017F an
//     s, U+212A a k, and the full-width letters are letters to Windows
//   - drop white space, quotation marks, brackets and a second "?" in front of the
//     name, and white space and quotation marks behind it: qs and Rack read "[u]"
//     and "u]" as u
//   - end the name at a NUL (C) or a bracket (PHP's arrays)
//   - drop characters that do not show, and bytes that are no UTF-8
func sameName(raw, name string) bool {
	if isPlain(raw) { // as nearly all are; what follows would leave it as it is
		return strings.EqualFold(raw, name)
	}
	read := strings.TrimLeftFunc(decodeAll(raw), func(r rune) bool { return isAround(r) || strings.ContainsRune("?![]", r) })
	if i := strings.IndexAny(read, "\x00[]"); i >= 0 {
		read = read[:i]
	}
	return strings.EqualFold(fold(strings.TrimRightFunc(read, isAround)), name)
}

// isPlain reports whether a name has nothing but ASCII letters, digits, "-" and "_".
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

// isAround reports whether some parsers drop r around a name.
func isAround(r rune) bool {
	return unicode.IsSpace(r) || isInvisible(r) || r == '"' || r == '\'' || r == '`' || r == '\\'
}

// isInvisible reports whether some parsers drop r within a name.
func isInvisible(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) }

// fold spells a decoded text as lenient parsers compare it: in small letters, in
// whichever of Unicode's ways they get there, and without what does not show. White
// space of any kind becomes a space.
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

// isFolded reports whether text is of visible ASCII without capitals.
func isFolded(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return true
}

// unquote takes out what some parsers take for quoting.
var unquote = strings.NewReplacer(`"`, "", `'`, "", "`", "", `\`, "")

// countPairs counts the spots of text at which any parser could find name=value, and
// those at which the name is without a value. The name, which is given in small
// letters, may be escaped, quoted, in brackets, in other letters, or have spaces
// behind it.
func countPairs(text, name string) (pairs, bare int) {
	for i := range len(text) {
		switch c := text[i]; {
		case mayHide[c]:
			return countHidden(text, name)
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

// mayHide has the bytes of spellings that fold, unquote and decodeAll undo.
var mayHide = func() (table [256]bool) {
	for c := range table {
		table[c] = c < ' ' || c > '~' || strings.IndexByte("%\"'`\\", byte(c)) >= 0
	}
	return table
}()

// countHidden is countPairs for any text.
func countHidden(text, name string) (pairs, bare int) {
	rest := unquote.Replace(fold(decodeAll(text)))
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

// holdsPair reports whether any parser could find name=value in text.
func holdsPair(text, name string) bool {
	pairs, _ := countPairs(text, name)
	return pairs > 0
}

// decodeAll decodes percent-escapes and plus signs as many times as they are escaped.
func decodeAll(text string) string {
	if isPlain(text) {
		return text
	}
	text = strings.ReplaceAll(text, "+", " ")
	if !strings.Contains(text, "%25") {
		return decodeLax(text)
	}
	var once strings.Builder // with percent signs that were escaped, once or more
	for {
		before, after, ok := strings.Cut(text, "%25")
		once.WriteString(before)
		if !ok {
			return decodeLax(once.String())
		}
		once.WriteByte('%')
		for strings.HasPrefix(after, "25") {
			after = after[2:]
		}
		text = after
	}
}

// decodeLax decodes the percent-escapes that there are, IIS's %u0041 among them, and
// leaves the rest.
func decodeLax(text string) string {
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
		r, n := unescape(after)
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

// unescape reads the digits behind a percent sign: two, or u and four. It returns how
// many bytes it has read, which is 0 where there is no escape.
func unescape(digits string) (r rune, n int) {
	if len(digits) >= 5 && digits[0]|0x20 == 'u' {
		if r, ok := hexadecimal(digits[1:5]); ok {
			return r, 5
		}
	}
	if len(digits) >= 2 {
		if r, ok := hexadecimal(digits[:2]); ok {
			return r, 2
		}
	}
	return 0, 0
}

func hexadecimal(digits string) (r rune, ok bool) {
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
