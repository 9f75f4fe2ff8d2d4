package credential

import (
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Masked stands in logs where a credential was.
const Masked = "REDACTED"

// MaskURI masks every place of a URI where one of the places can hold a key,
// and every secret of this gateway's own. It is for logs: it takes a broken
// URI as well, and rather masks too much than too little.
func MaskURI(uri string, places []dialect.Place) string {
	if strings.IndexByte(uri, '=') < 0 && strings.IndexByte(uri, '%') < 0 && !strings.Contains(uri, policy.KeyPrefix) && !strings.Contains(uri, policy.ServicePasswordPrefix) {
		return uri // the path of a poll, for one
	}
	var room [256]byte
	out := room[:0]
	rest, more := uri, true
	for more {
		var segment string
		segment, rest, more = strings.Cut(rest, "&")
		if end := keyIn(segment, places); end >= 0 {
			out = append(append(out, segment[:end]...), Masked...)
		} else {
			out = append(out, segment...)
		}
		if more {
			out = append(out, '&')
		}
	}
	return maskOurs(string(out))
}

// keyIn is where in a segment the first value begins that can be a key, or -1.
// All that follows is masked: a key may itself hold what separates parameters
// elsewhere.
func keyIn(segment string, places []dialect.Place) int {
	name, done := 0, -1 // where the current name begins, and that of the last value
	pairs := mentions{text: segment}
	for i := 0; i < len(segment); {
		if !maySeparate[segment[i]] {
			i++
			continue
		}
		mark, n := separator(segment[i:])
		switch {
		case mark == beginsName:
			name = i + n
		case mark == endsName && name != done: // what follows the first "=" is a value
			if holdsKey(segment[name:i], &pairs, places) {
				return i + n
			}
			done = name
		}
		i += n
	}
	return -1
}

// mark is what a separator does, for one parser or another.
type mark uint8

const (
	noMark     mark = iota
	beginsName      // behind it a parameter's name can begin: ? ; # &
	endsName        // in front of it the name ends, if a value follows: =
)

// maySeparate has the bytes with which a separator can begin.
var maySeparate = [256]bool{'%': true, '?': true, ';': true, '#': true, '=': true}

// separator reads the separator, escaped or not, that text begins with.
func separator(text string) (m mark, n int) {
	c, n := text[0], 1
	if c == '%' && len(text) >= 3 {
		high, low := text[1], text[2]
		switch {
		case high == '3' && low|0x20 == 'f', high == '3' && low|0x20 == 'b', high == '2' && (low == '3' || low == '6'):
			return beginsName, 3
		case high == '3' && low|0x20 == 'd':
			return endsName, 3
		}
	}
	switch c {
	case '?', ';', '#':
		return beginsName, n
	case '=':
		return endsName, n
	}
	return noMark, 1
}

// holdsKey reports whether a parameter of this name can hold a key, in one of
// the places or misplaced. A parameter of pairs can if the segment mentions the pair.
func holdsKey(name string, pairs *mentions, places []dialect.Place) bool {
	return slices.ContainsFunc(places, func(p dialect.Place) bool {
		if p.SubKey == "" {
			return sameName(name, p.Name)
		}
		return sameName(name, p.SubKey) ||
			sameName(name, p.Name) && pairs.of(p.SubKey)
	})
}

// mentions remembers whether a text mentions a pair, since it is asked at each of the
// text's names.
type mentions struct {
	text, pair string // pair is the one that was asked for last
	found      bool
}

func (m *mentions) of(pair string) bool {
	if m.pair != pair {
		withValue, bare := countPairs(m.text, pair)
		m.pair, m.found = pair, withValue+bare > 0
	}
	return m.found
}

// maskOurs masks the secrets that this gateway makes, wherever they stand.
func maskOurs(text string) string {
	var out strings.Builder
	done := 0
	for i := 0; i < len(text); {
		next := strings.Index(text[i:], "sg")
		if next < 0 {
			break
		}
		i += next
		n := ourSecret(text[i:])
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

// ourSecret is the length of a secret of ours that text begins with, whole or
// not and with its underscore escaped or not; 0 where there is none.
func ourSecret(text string) int {
	for _, prefix := range []string{policy.KeyPrefix, policy.ServicePasswordPrefix} {
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
		end := strings.IndexFunc(rest, func(r rune) bool { return !isAlphanumeric(r) && r != '%' })
		if end < 0 {
			end = len(rest)
		}
		if end > 0 {
			return len(text) - len(rest) + end
		}
	}
	return 0
}
