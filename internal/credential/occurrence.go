package credential

import (
	"crypto/subtle"
	"slices"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// span is a range of bytes in a text.
type span struct{ from, to int }

func (s span) of(text string) string { return text[s.from:s.to] }

// occurrence says where in a query or a form the key is. Rewrite needs it.
type occurrence struct {
	place *dialect.Place
	whole span // what goes if the key is removed: the parameter, or the part
	value span // the value of the parameter, or the content of the part
	// length is the value of the part's own Content-Length; empty if it has none.
	length span
}

// addKey notes that a place has this key, and compares it with the keys before it. It
// reports false for an empty value, which is no key.
func (f *Found) addKey(place *dialect.Place, key string) bool {
	if key == "" {
		return false
	}
	if f.key != "" && !sameKey(f.key, key) {
		f.fail(errTwoKeys)
	}
	f.key = key
	if f.reads(place) {
		f.authenticates = true
		f.takesKey = f.takesKey || place.Takes != dialect.TokensOnly
		f.takesToken = f.takesToken || place.Takes != dialect.Keys
	} else {
		f.unreadPlace = place
	}
	return true
}

// errTwoKeys is the fault of a request with two keys that differ.
var errTwoKeys = &Fault{Reason: policy.CredentialAmbiguous, Detail: "two keys that differ"}

// sameKey compares two keys in constant time.
func sameKey(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// reads reports whether the operation reads its key from this place.
func (f *Found) reads(place *dialect.Place) bool { return slices.Contains(f.read, *place) }

// modeAt returns what Rewrite does with the key at this place.
func (f *Found) modeAt(place *dialect.Place, up *Upstream) Mode {
	if !f.reads(place) {
		return Drop
	}
	return up.Mode
}
