package keystore

import (
	"encoding/binary"

	"github.com/speechgate/speechgate/policy"
)

// packedToken is a token in one string:
//   - the fields of fixed length, at the offsets below
//   - the name of the backend
type packedToken string

// The offsets of the fields in a packed token. The digest is at 0.
const (
	tokenCreatedAt  = digestLen
	tokenExpiresAt  = tokenCreatedAt + timeLen
	tokenOwnerAt    = tokenExpiresAt + timeLen // the digest of the owner
	tokenUpstreamAt = tokenOwnerAt + digestLen // the fingerprint of the upstream key
	tokenBackendAt  = tokenUpstreamAt + fingerprintLen
)

func packToken(d digest, t *foundToken, backend string) packedToken {
	b := appendTime(appendTime(d[:], t.CreatedAt), t.ExpiresAt)
	b = binary.BigEndian.AppendUint32(append(b, t.owner[:]...), uint32(t.UpstreamKey))
	return packedToken(string(b) + backend)
}

func (p packedToken) backend() string { return string(p[tokenBackendAt:]) }

func (p packedToken) token() foundToken {
	s := string(p)
	t := foundToken{Token: policy.Token{CreatedAt: timeAt(s, tokenCreatedAt), ExpiresAt: timeAt(s, tokenExpiresAt), UpstreamKey: policy.Fingerprint(uint32At(s, tokenUpstreamAt))}}
	copy(t.owner[:], s[tokenOwnerAt:])
	return t
}
