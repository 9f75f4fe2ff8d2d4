package policy

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Secret is a string that must not be seen: an API key, a service password, a
// pepper. However it is printed, logged or marshalled, it shows as REDACTED;
// only Reveal gives the text. It is held behind a pointer because fmt prints
// the fields of a struct that it may not call methods on.
type Secret struct{ text *string }

const redacted = "REDACTED"

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{&text} }

// SecretIn wraps the text that is in *text, for as long as it is: this allocates
// nothing.
func SecretIn(text *string) Secret { return Secret{text} }

// Reveal returns the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is no text; an empty credential counts as none.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter, so that no verb reaches the text.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, and with it JSON's encoding.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Prefixes of the secrets that this gateway makes.
const (
	KeyPrefix             = "sgk_" // API keys
	ServicePasswordPrefix = "sgs_" // service passwords
)

const (
	randomLen   = 32
	checksumLen = 6
	ourLen      = len(KeyPrefix) + randomLen + checksumLen
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// MaxSecretLen bounds a client's credential, in bytes. Longer ones are
	// malformed.
	MaxSecretLen = 1024
)

// GenerateSecret makes a secret from random: prefix, 32 random base62
// characters (190 bits) and a checksum of what precedes it. It fails only when
// random does.
func GenerateSecret(prefix string, random io.Reader) (Secret, error) {
	text, err := RandomText(randomLen, random)
	if err != nil {
		return Secret{}, err
	}
	body := prefix + text
	sum := checksum(body)
	return NewSecret(body + string(sum[:])), nil
}

// RandomText returns n base62 characters from random, each equally likely.
func RandomText(n int, random io.Reader) (string, error) {
	// 62 does not divide 256: bytes from the last, incomplete run are thrown
	// away, or the first characters of the alphabet would come more often.
	const limit = 256 - 256%len(base62)
	out := make([]byte, 0, n)
	buf := make([]byte, n+n/4)
	for len(out) < n {
		if _, err := io.ReadFull(random, buf); err != nil {
			return "", fmt.Errorf("reading random bytes: %w", err)
		}
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, base62[int(b)%len(base62)])
			}
		}
	}
	return string(out), nil
}

func checksum(body string) (digits [checksumLen]byte) {
	// As crc32.ChecksumIEEE, to which every call would have to allocate the bytes.
	sum := ^uint32(0)
	for i := range len(body) {
		sum = crc32.IEEETable[byte(sum)^body[i]] ^ sum>>8
	}
	sum = ^sum
	for i := checksumLen - 1; i >= 0; i-- {
		digits[i] = base62[sum%uint32(len(base62))]
		sum /= uint32(len(base62))
	}
	return digits
}

// What can be wrong with the text of a credential.
var (
	ErrSecretChecksum = errors.New("has the form of a Speechgate key, but its checksum is wrong: it was mistyped or cut off")
	ErrSecretChars    = errors.New("has a space, a control character or a character beyond ASCII: only the visible ASCII characters may stand in a key")
	ErrSecretLength   = fmt.Errorf("is longer than %d bytes", MaxSecretLen)
)

// CheckSecret says whether s can be a credential at all, so that a mistyped one
// costs no lookup. Imported keys have any form; ours carry a checksum. The
// error is one of those above, and never quotes s.
func CheckSecret(s Secret) error {
	text := s.Reveal()
	if len(text) > MaxSecretLen {
		return ErrSecretLength
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' {
			return ErrSecretChars
		}
	}
	if hasForm(text) && !isOurs(text) {
		return ErrSecretChecksum
	}
	return nil
}

// HoldsSecret reports whether a secret that this gateway made stands anywhere
// in text, such as in the reason for revoking it.
func HoldsSecret(text string) bool {
	for i := range max(0, len(text)-ourLen+1) {
		if isOurs(text[i : i+ourLen]) {
			return true
		}
	}
	return false
}

// hasForm reports whether text begins as our secrets do.
func hasForm(text string) bool {
	return strings.HasPrefix(text, KeyPrefix) || strings.HasPrefix(text, ServicePasswordPrefix)
}

func isOurs(text string) bool {
	if len(text) != ourLen || !hasForm(text) {
		return false
	}
	body := len(text) - checksumLen
	sum := checksum(text[:body])
	return string(sum[:]) == text[body:]
}
