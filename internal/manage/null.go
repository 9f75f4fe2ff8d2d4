package manage

import (
	"encoding/json"

	"github.com/speechgate/speechgate/policy"
)

// Time is an instant in a result. In JSON it is RFC 3339 in UTC with milliseconds, or
// null if it never happened.
type Time struct{ policy.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return json.Marshal(nil)
	}
	return json.Marshal(t.String())
}

// Expiry is an expiry in a result. In JSON it is like a [Time], or null if the key does
// not expire.
type Expiry struct{ policy.Expiry }

// MarshalJSON implements json.Marshaler.
func (e Expiry) MarshalJSON() ([]byte, error) {
	if _, ok := e.Time(); !ok {
		return json.Marshal(nil)
	}
	return json.Marshal(e.String())
}

// OrNull is a text in a result. In JSON it is null if it is empty.
type OrNull string

// MarshalJSON implements json.Marshaler.
func (t OrNull) MarshalJSON() ([]byte, error) {
	if t == "" {
		return json.Marshal(nil)
	}
	return json.Marshal(string(t))
}

// ShownOnce is a secret that was just made. JSON shows its text; everything else prints
// REDACTED.
type ShownOnce struct{ policy.Secret }

// MarshalJSON implements json.Marshaler.
func (s ShownOnce) MarshalJSON() ([]byte, error) { return json.Marshal(s.Reveal()) }
