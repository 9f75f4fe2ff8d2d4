package keystore

import "github.com/speechgate/speechgate/policy"

// packedToken is a token in one string:
//   - the fields of fixed length, at the offsets below
//   - the name of the backend
type packedToken string

// The offsets of the fields in a packed token. The digest is at 0.
const (
	tokenCreatedAt = digestLen
	tokenExpiresAt = tokenCreatedAt + timeLen
	tokenOwnerAt   = tokenExpiresAt + timeLen // the digest of the owner
	tokenBackendAt = tokenOwnerAt + digestLen
)

func packToken(d digest, t *foundToken, backend string) packedToken {
	b := appendTime(appendTime(d[:], t.CreatedAt), t.ExpiresAt)
	return packedToken(string(append(b, t.owner[:]...)) + backend)
}

func (p packedToken) backend() string { return string(p[tokenBackendAt:]) }

func (p packedToken) token() foundToken {
	s := string(p)
	t := foundToken{Token: policy.Token{CreatedAt: timeAt(s, tokenCreatedAt), ExpiresAt: timeAt(s, tokenExpiresAt)}}
	copy(t.owner[:], s[tokenOwnerAt:])
	return t
}
