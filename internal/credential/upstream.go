package credential

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// Mode says what Rewrite does with the client's key.
type Mode uint8

// The modes. In every mode, a key in a place that the operation does not read is removed.
const (
	Drop    Mode = iota // remove every occurrence
	Pass                // leave the key as it came
	Replace             // replace every occurrence with the upstream key
)

// Upstream says what the backend gets in place of the client's key. The zero value
// removes the key.
type Upstream struct {
	Mode Mode
	Key  policy.Secret // the upstream key, if Mode is Replace

	// ReplaceWith makes these once. Without them, each request makes its own.
	bearer  policy.Secret // Key after bearerScheme
	escaped policy.Secret // Key for a query
}

const bearerScheme = "Bearer"

// ReplaceWith returns an Upstream that replaces the client's key with key.
func ReplaceWith(key policy.Secret) Upstream {
	return Upstream{
		Mode: Replace, Key: key,
		bearer:  policy.NewSecret(bearerScheme + " " + key.Reveal()),
		escaped: policy.NewSecret(url.QueryEscape(key.Reveal())),
	}
}

// inHeader returns the upstream key as the value of a header field with the scheme and the user of
// this place.
func (up *Upstream) inHeader(place *dialect.Place) string {
	switch {
	case place.User != "":
		return place.Scheme + " " + basicCredentials(place.User, up.Key.Reveal())
	case place.Scheme == "":
		return up.Key.Reveal()
	case place.Scheme == bearerScheme && !up.bearer.Empty():
		return up.bearer.Reveal()
	}
	return place.Scheme + " " + up.Key.Reveal()
}

// inQuery returns the upstream key as the value of a query parameter. A pair has the
// same form, because an upstream key has no spaces.
func (up *Upstream) inQuery() string {
	if !up.escaped.Empty() {
		return up.escaped.Reveal()
	}
	return url.QueryEscape(up.Key.Reveal())
}

// CheckUpstreamKey returns an error if key cannot be an upstream key. Every place of an
// API must be able to have it, a header field too: 1 to [policy.MaxSecretLen] visible
// ASCII characters. The error does not quote the key.
func CheckUpstreamKey(key policy.Secret) error {
	if key.Empty() {
		return errors.New("the upstream key is empty")
	}
	text := key.Reveal()
	if len(text) > policy.MaxSecretLen {
		return fmt.Errorf("the upstream key is longer than %d bytes", policy.MaxSecretLen)
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' {
			return fmt.Errorf("the upstream key has a space, a control character or a character that is not ASCII, at byte %d: want visible ASCII characters only", i+1)
		}
	}
	return nil
}
