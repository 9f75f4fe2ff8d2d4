package manage

import (
	"bytes"
	"encoding/json"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/policy"
)

// Time is an instant in a result. In JSON it is RFC 3339 in UTC with milliseconds. A zero
// Time is null: the event has not happened.
type Time struct{ policy.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return null, nil
	}
	return quote(t.String())
}

// Expiry is an expiry in a result. In JSON it is like a [Time], or null if the key does
// not expire.
type Expiry struct{ policy.Expiry }

// MarshalJSON implements json.Marshaler.
func (e Expiry) MarshalJSON() ([]byte, error) {
	if _, ok := e.Time(); !ok {
		return null, nil
	}
	return quote(e.String())
}

// OrNull is a text in a result. In JSON it is null if it is empty.
type OrNull string

// MarshalJSON implements json.Marshaler.
func (t OrNull) MarshalJSON() ([]byte, error) {
	if t == "" {
		return null, nil
	}
	return quote(string(t))
}

// Sentence is a text for people in a result. In JSON it is the English text.
type Sentence struct{ phrase.Text }

// MarshalJSON implements json.Marshaler.
func (s Sentence) MarshalJSON() ([]byte, error) { return quote(s.String()) }

// ShownOnce is a secret that was just made. JSON shows its text; everything else prints
// REDACTED.
type ShownOnce struct{ policy.Secret }

// MarshalJSON implements json.Marshaler.
func (s ShownOnce) MarshalJSON() ([]byte, error) { return quote(s.Reveal()) }

// null is null in JSON. The slice is shared, and must not be changed.
var null = []byte("null")

// quote returns a text in JSON. It leaves HTML characters as they are: the encoder that
// calls MarshalJSON escapes them if it should.
func quote(text string) ([]byte, error) {
	if plain(text) {
		quoted := append(make([]byte, 0, len(text)+2), '"')
		return append(append(quoted, text...), '"'), nil
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(text)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// plain reports whether JSON escapes no character of a text.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
