package policy

import (
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
)

// Secret is a string that must not be shown: an API key, a service password, a
// pepper. Printing, logging and marshalling a Secret all give REDACTED. Only Reveal
// returns the text. The text is behind a pointer, because fmt calls no methods on
// unexported struct fields and would print a plain string.
type Secret struct{ text *string }

const redacted = "REDACTED"

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{&text} }

// SecretIn wraps *text without an allocation. The Secret changes when *text does.
func SecretIn(text *string) Secret { return Secret{text} }

// Reveal returns the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether the text is empty. An empty credential counts as a missing
// credential.
func (s Secret) Empty() bool { return s.Reveal() == "" }

// String implements fmt.Stringer. It returns REDACTED.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter. It writes REDACTED for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText implements encoding.TextMarshaler, which encoding/json also uses. It
// returns REDACTED.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Prefixes of the secrets that this gateway makes.
const (
	KeyPrefix             = "sgk_" // API keys
	ServicePasswordPrefix = "sgs_" // service passwords
	SetupPrefix           = "sgi_" // tokens in the set-up links of the console
)

const (
	randomLen   = 32
	checksumLen = 6
	ourLen      = len(KeyPrefix) + randomLen + checksumLen
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// MaxSecretLen is the longest credential of a client, in bytes. A longer
	// credential is malformed.
	MaxSecretLen = 1024
	// MaxTokenLen is the longest token of a backend, in bytes. Tokens are longer than keys:
	// many are signed texts (JWT, RFC 7519) with claims, and a signature of some 350 bytes.
	MaxTokenLen = 4096
)

// GenerateSecret generates a secret: the prefix, 32 base62 characters from random
// (190 bits), and a checksum of the text before it. It returns an error only if
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
	// 62 does not divide 256, so the bytes from 248 on are discarded. Otherwise the
	// first characters of the alphabet would come more often than the others.
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
	// This is crc32.ChecksumIEEE for a string, without an allocation for the bytes.
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

// The errors of [CheckSecret].
var (
	errSecretChecksum = phrase.Errorf("has the form of a Speechgate key, but its checksum is wrong: it was mistyped or cut off")
	errSecretChars    = phrase.Errorf("has a space, a control character or a character that is not ASCII: want visible ASCII characters only")
	errSecretLength   = phrase.Errorf("is longer than %d bytes", MaxSecretLen)
	errTokenLength    = phrase.Errorf("is longer than %d bytes", MaxTokenLen)
)

// CheckSecret checks whether s can be a credential, so that a mistyped key costs no
// lookup. A key that this gateway has issued has a checksum; an imported key can
// have any form. The error says what is wrong: the checksum, a character or the length.
// It never quotes s.
func CheckSecret(s Secret) error { return checkSecret(s, MaxSecretLen, errSecretLength) }

// CheckToken does what [CheckSecret] does, for a credential that can be a key or a token: it
// can have up to [MaxTokenLen] bytes.
func CheckToken(s Secret) error { return checkSecret(s, MaxTokenLen, errTokenLength) }

func checkSecret(s Secret, longest int, tooLong error) error {
	text := s.Reveal()
	if len(text) > longest {
		return tooLong
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' {
			return errSecretChars
		}
	}
	if hasForm(text) && !isOurs(text) {
		return errSecretChecksum
	}
	return nil
}

// HoldsSecret reports whether text contains a secret that this gateway has
// generated. An operator could paste a key into the reason for its revocation.
func HoldsSecret(text string) bool {
	for i := range max(0, len(text)-ourLen+1) {
		if isOurs(text[i : i+ourLen]) {
			return true
		}
	}
	return false
}

// hasForm reports whether text has the prefix of a secret of this gateway.
func hasForm(text string) bool {
	return strings.HasPrefix(text, KeyPrefix) || strings.HasPrefix(text, ServicePasswordPrefix) || strings.HasPrefix(text, SetupPrefix)
}

// isOurs reports whether text is a secret of this gateway: prefix, length and
// checksum are right.
func isOurs(text string) bool {
	if len(text) != ourLen || !hasForm(text) {
		return false
	}
	body := len(text) - checksumLen
	sum := checksum(text[:body])
	return string(sum[:]) == text[body:]
}
