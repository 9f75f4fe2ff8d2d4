package credential

import (
	"strconv"
	"strings"
	"unicode"
)

// What a lax parser would read, where ours is strict. It decides what is
// refused and what is masked, never what a key is.

// sameName reports whether a lax parser would take a for b: one that ignores
// case, and white space and the like around a name or a second "?" before it,
// or one that ends names at a NUL (C) or at a bracket (PHP's arrays).
func sameName(a, b string) bool {
	if isPlain(a) { // as nearly all are; what follows would leave it as it is
		return strings.EqualFold(a, b)
	}
	a = strings.TrimLeftFunc(a, func(r rune) bool { return r == '?' || isInvisible(r) })
	if i := strings.IndexAny(a, "\x00["); i >= 0 {
		a = a[:i]
	}
	return strings.EqualFold(strings.TrimRightFunc(a, isInvisible), b)
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

func isInvisible(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }

// decodeLax decodes the percent-escapes that there are and leaves the rest. It
// knows IIS's %u0041 as well.
func decodeLax(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(text, "%")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		digits := after
		if len(digits) >= 5 && (digits[:3] == "u00" || digits[:3] == "U00") {
			digits = digits[3:]
		}
		b, err := strconv.ParseUint(digits[:min(2, len(digits))], 16, 8)
		if err != nil || len(digits) < 2 {
			out.WriteByte('%')
			text = after
			continue
		}
		out.WriteByte(byte(b))
		text = digits[2:]
	}
}
