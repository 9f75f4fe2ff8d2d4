package credential

import (
	"net/url"
	"strings"

	"github.com/speechgate/speechgate/dialect"
)

// A sub-key is a key in a list of name=value pairs. Single spaces separate the pairs, and
// each value is percent-encoded. A token without "=" is a bare name. This is the grammar
// of AmiVoice's parameter d.

// pair is one pair with the name of a sub-key.
type pair struct {
	token span   // the whole pair
	value span   // the value, as it came
	key   string // the value, decoded
}

// addValue adds the key, or the sub-keys, in the decoded value of a place. It reports
// whether there was one.
func (f *Found) addValue(place *dialect.Place, value string) (hasKey bool, fault *Fault) {
	if place.SubKey == "" {
		return f.addKey(place, value), nil
	}
	pairs, fault := findPairs(value, place.SubKey)
	for _, p := range pairs {
		hasKey = f.addKey(place, p.key) || hasKey
	}
	return hasKey, fault
}

// findPairs finds the pairs with this name. It refuses a text that two parsers could split
// differently, unless no parser could find such a pair in it.
func findPairs(text, name string) ([]pair, *Fault) {
	possible, bare := countPairs(text, name)
	if bare > 0 {
		if fault := checkBareName(text, name); fault != nil {
			return nil, fault
		}
	}
	if possible == 0 {
		return nil, nil
	}
	if hasControl(text) {
		return nil, malformed("a control character among name=value pairs that hold a key: single spaces separate them")
	}
	if strings.Contains(text, "  ") {
		return nil, malformed("a run of spaces among name=value pairs that hold a key: single spaces separate them")
	}
	var found []pair
	for start := 0; start <= len(text); {
		end := start + strings.IndexByte(text[start:], ' ')
		if end < start {
			end = len(text)
		}
		token := span{start, end}
		start = end + 1
		value, ok := strings.CutPrefix(token.of(text), name)
		if ok {
			value, ok = strings.CutPrefix(value, "=")
		}
		if !ok {
			continue
		}
		key, err := url.PathUnescape(value)
		if err != nil {
			return nil, malformed("the value of the pair " + name + " has a broken percent-escape")
		}
		found = append(found, pair{token, span{token.to - len(value), token.to}, key})
	}
	// possible also counts names that only lenient parsers find: in upper case or in
	// full-width letters, escaped, or after a quotation mark or another separator. If
	// possible differs from the number of pairs, two parsers can see different keys.
	if possible != len(found) {
		return nil, malformed("the pair " + name + " is spelled in another way, or hidden")
	}
	if strings.Contains(text, `"`) {
		return nil, malformed("a quotation mark among name=value pairs that hold a key: their values are percent-encoded")
	}
	return found, nil
}

// hasControl reports whether text has an ASCII control character.
func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// hasControlOtherThanTab reports whether text has an ASCII control character that no value of a
// header field can have.
func hasControlOtherThanTab(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// checkBareName refuses the name of a sub-key without a value. Some parsers split at
// spaces and at "=" alike, and would take the next token for its value.
func checkBareName(text, name string) *Fault {
	for token := range strings.FieldsSeq(text) {
		if len(token) >= len(name) && strings.IndexByte(token, '=') < 0 && sameName(token, name) {
			return malformed("the pair " + name + " has no value")
		}
	}
	return nil
}

// editPairs changes every pair of this name in raw, and returns the result. If replace
// is true, the pair gets the new value, which the caller has encoded. Otherwise the
// pair is removed, together with one space beside it. A pair with an empty value stays.
// The argument decoded is raw after decoding.
func editPairs(raw string, decoded decodedWithOffsets, name string, replace bool, value string) string {
	pairs, _ := findPairs(decoded.text, name) // without fault, because the scan had none
	var out strings.Builder
	out.Grow(len(raw) + len(value))
	done := 0 // how much of raw is in out
	for _, p := range pairs {
		if p.key == "" {
			continue
		}
		if replace {
			v := decoded.rawSpan(p.value)
			out.WriteString(raw[done:v.from])
			out.WriteString(value)
			done = v.to
			continue
		}
		removed := decoded.rawSpan(p.token)
		switch {
		case p.token.from > 0 && done <= decoded.rawOffset(p.token.from-1): // and the space before it
			removed.from = decoded.rawOffset(p.token.from - 1)
		case p.token.to < len(decoded.text): // that space has gone already: and the space after it
			removed.to = decoded.rawOffset(p.token.to + 1)
		}
		out.WriteString(raw[done:removed.from])
		done = removed.to
	}
	out.WriteString(raw[done:])
	return out.String()
}

// decodedWithOffsets is a decoded text. It knows from which byte of the raw text each of
// its bytes came.
type decodedWithOffsets struct {
	text    string
	offsets []int // len(text)+1 offsets into the raw text; nil if the raw text is text
}

// decodeWithOffsets decodes the value of a query parameter, which must have no broken
// percent-escape.
func decodeWithOffsets(raw string) decodedWithOffsets {
	var text strings.Builder
	var offsets []int
	for i := 0; i < len(raw); i++ {
		offsets = append(offsets, i)
		switch raw[i] {
		case '+':
			text.WriteByte(' ')
		case '%':
			b, _ := url.QueryUnescape(raw[i : i+3])
			text.WriteString(b)
			i += 2
		default:
			text.WriteByte(raw[i])
		}
	}
	return decodedWithOffsets{text.String(), append(offsets, len(raw))}
}

func (d decodedWithOffsets) rawSpan(s span) span {
	return span{d.rawOffset(s.from), d.rawOffset(s.to)}
}

func (d decodedWithOffsets) rawOffset(i int) int {
	if d.offsets == nil {
		return i
	}
	return d.offsets[i]
}
