package credential

import (
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Masked replaces a credential in logs.
const Masked = "REDACTED"

// MaskURI masks every value of a URI that can be a key, in one of the places, and every
// secret that a gateway of this project makes. It is for logs. It accepts a broken URI,
// and if in doubt it masks.
func MaskURI(uri string, places []dialect.Place) string {
	if strings.IndexByte(uri, '=') < 0 && strings.IndexByte(uri, '%') < 0 && !strings.Contains(uri, policy.KeyPrefix) && !strings.Contains(uri, policy.ServicePasswordPrefix) && !strings.Contains(uri, policy.SetupPrefix) {
		return uri // such as the path of a poll
	}
	var array [256]byte
	out := array[:0]
	rest, more := uri, true
	for more {
		var segment string
		segment, rest, more = strings.Cut(rest, "&")
		if start := keyStart(segment, places); start >= 0 {
			out = append(append(out, segment[:start]...), Masked...)
		} else {
			out = append(out, segment...)
		}
		if more {
			out = append(out, '&')
		}
	}
	return maskOwnSecrets(string(out))
}

// keyStart returns the position of the first value in a segment that can be a key, or -1.
// The rest of the segment from there is masked, because a key can contain separators.
func keyStart(segment string, places []dialect.Place) int {
	name, done := 0, -1 // the start of the current name, and of the last name that has a value
	pairs := pairMemo{text: segment}
	for i := 0; i < len(segment); {
		if !startsSeparator[segment[i]] {
			i++
			continue
		}
		kind, n := readSeparator(segment[i:])
		switch {
		case kind == beforeName:
			name = i + n
		case kind == afterName && name != done: // a second "=" is part of the value
			if canHoldKey(segment[name:i], &pairs, places) {
				return i + n
			}
			done = name
		}
		i += n
	}
	return -1
}

// separatorKind says what a separator is for some parser.
type separatorKind uint8

const (
	noSeparator separatorKind = iota
	beforeName                // a parameter can start after it: ? ; # &
	afterName                 // the name ends before it, and a value follows: =
)

// startsSeparator is true for each byte with which a separator, escaped or not, can
// start.
var startsSeparator = [256]bool{'%': true, '?': true, ';': true, '#': true, '=': true}

// readSeparator reads the separator, escaped or not, at the start of text. n is its
// length.
func readSeparator(text string) (kind separatorKind, n int) {
	c, n := text[0], 1
	if c == '%' && len(text) >= 3 {
		high, low := text[1], text[2]
		switch {
		case high == '3' && low|0x20 == 'f', high == '3' && low|0x20 == 'b', high == '2' && (low == '3' || low == '6'):
			return beforeName, 3
		case high == '3' && low|0x20 == 'd':
			return afterName, 3
		}
	}
	switch c {
	case '?', ';', '#':
		return beforeName, n
	case '=':
		return afterName, n
	}
	return noSeparator, 1
}

// canHoldKey reports whether the value of a query parameter with this name can be a key.
// Any place counts, because clients put keys of other places into the query by mistake. If
// the place has a sub-key, a parameter with the sub-key's name counts too, and one with
// the place's name counts only if the segment mentions the sub-key.
func canHoldKey(name string, pairs *pairMemo, places []dialect.Place) bool {
	return slices.ContainsFunc(places, func(p dialect.Place) bool {
		if p.SubKey == "" {
			return p.Name != "" && sameName(name, p.Name)
		}
		return sameName(name, p.SubKey) ||
			sameName(name, p.Name) && pairs.mention(p.SubKey)
	})
}

// pairMemo remembers whether a text mentions a pair, because the same question comes for
// each name in the text.
type pairMemo struct {
	text, name string // name is the pair of the last question
	found      bool
}

func (m *pairMemo) mention(name string) bool {
	if m.name != name {
		withValue, bare := countPairs(m.text, name)
		m.name, m.found = name, withValue+bare > 0
	}
	return m.found
}

// maskOwnSecrets masks the secrets that this project makes, wherever they are in a text.
func maskOwnSecrets(text string) string {
	var out strings.Builder
	done := 0
	for i := 0; i < len(text); {
		next := strings.Index(text[i:], "sg")
		if next < 0 {
			break
		}
		i += next
		n := ownSecretLen(text[i:])
		if n == 0 {
			i++
			continue
		}
		out.WriteString(text[done:i])
		out.WriteString(Masked)
		i += n
		done = i
	}
	if done == 0 {
		return text
	}
	out.WriteString(text[done:])
	return out.String()
}

// ownSecretLen returns the length of the secret of this project at the start of text, or
// 0 without a secret. The secret may be cut short, its underscore may be escaped, and its
// prefix may be there twice.
func ownSecretLen(text string) int {
	for _, prefix := range []string{policy.KeyPrefix, policy.ServicePasswordPrefix, policy.SetupPrefix} {
		word, _ := strings.CutSuffix(prefix, "_")
		rest, ok := strings.CutPrefix(text, word)
		if !ok || rest == "" {
			continue
		}
		switch {
		case rest[0] == '_':
			rest = rest[1:]
		case len(rest) >= 3 && strings.EqualFold(rest[:3], "%5f"):
			rest = rest[3:]
		default:
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return !isAlphanumeric(r) && r != '%' && r != '_' })
		if end < 0 {
			end = len(rest)
		}
		if end > 0 {
			return len(text) - len(rest) + end
		}
	}
	return 0
}
