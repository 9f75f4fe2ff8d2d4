package credential

import (
	"net/url"
	"strings"
)

// A value of pairs is a list of name=value tokens, separated by single spaces,
// each value percent-encoded; a token without "=" is a bare name. This is the
// grammar of AmiVoice's parameter d.

// pair is the token of a key in a value of pairs.
type pair struct {
	token span   // the whole token
	value span   // what follows its "="
	text  string // that, decoded
}

// findPairs finds the tokens with a name. A value in which no parser could find such
// a token is of no interest, whatever else is in it. In any other, findPairs refuses
// what two parsers could split differently.
func findPairs(text, name string) ([]pair, *Fault) {
	possible, bare := countPairs(text, name)
	if bare > 0 {
		if fault := checkBare(text, name); fault != nil {
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
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return nil, malformed("the value of the pair " + name + " has a broken percent-escape")
		}
		found = append(found, pair{token, span{token.to - len(value), token.to}, decoded})
	}
	// In other letters, escaped, behind a quote or a separator that is none for
	// us, the name shows to some parsers. Only what was found may be there.
	if possible != len(found) {
		return nil, malformed("the pair " + name + " is spelled in another way, or hidden")
	}
	if strings.Contains(text, `"`) {
		return nil, malformed("a quotation mark among name=value pairs that hold a key: their values are percent-encoded")
	}
	return found, nil
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// checkBare refuses the name of a pair as a token of its own: some parsers split at
// spaces and at "=" alike, and would read the next token as its value.
func checkBare(text, name string) *Fault {
	for token := range strings.FieldsSeq(text) {
		if len(token) >= len(name) && strings.IndexByte(token, '=') < 0 && sameName(token, name) {
			return malformed("the pair " + name + " has no value")
		}
	}
	return nil
}
