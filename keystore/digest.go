package keystore

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"sync"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// digest identifies a record. The digest of a key or of a token is the hash of its secret. The
// database has this digest instead of the secret. The digest of a job is a hash of its backend
// and ID.
type digest = recordcache.Digest

const digestLen = sha256.Size

// hasher makes the digests of secrets.
type hasher struct {
	macs *sync.Pool // of *macState; nil without a pepper
}

// macState is an HMAC and the space for its result, so that a lookup allocates nothing.
type macState struct {
	mac hash.Hash
	buf digest
}

func newHasher(pepper policy.Secret) hasher {
	if pepper.Empty() {
		return hasher{}
	}
	return hasher{&sync.Pool{New: func() any {
		return &macState{mac: hmac.New(sha256.New, []byte(pepper.Reveal()))}
	}}}
}

func (h hasher) peppered() bool { return h.macs != nil }

// secret returns the digest under which s is stored.
func (h hasher) secret(s policy.Secret) digest {
	var buf [128]byte // longer than our secrets, so that hashing one allocates nothing
	return h.seal(sha256.Sum256(append(buf[:0], s.Reveal()...)))
}

// seal turns the SHA-256 of a secret into the digest that is stored.
func (h hasher) seal(d digest) digest {
	if !h.peppered() {
		return d
	}
	m := h.macs.Get().(*macState)
	defer h.macs.Put(m)
	m.buf = d
	m.mac.Reset()
	m.mac.Write(m.buf[:])
	m.mac.Sum(m.buf[:0])
	return m.buf
}

// sum hashes data that is not a secret, with the pepper if there is one.
func (h hasher) sum(data []byte) digest {
	if !h.peppered() {
		return sha256.Sum256(data)
	}
	m := h.macs.Get().(*macState)
	defer h.macs.Put(m)
	m.mac.Reset()
	m.mac.Write(data)
	m.mac.Sum(m.buf[:0])
	return m.buf
}

// check returns the value by which a store recognizes its pepper. The value depends on
// the store's ID, so that two stores with the same pepper have different values.
func (h hasher) check(storeID string) string {
	m := h.macs.Get().(*macState)
	defer h.macs.Put(m)
	m.mac.Reset()
	m.mac.Write([]byte("speechgate pepper check\x00" + storeID))
	return hex.EncodeToString(m.mac.Sum(nil))
}

// accepts reports whether this hasher makes the digests of a store with this check
// value, which is empty for a store without a pepper.
func (h hasher) accepts(check, storeID string) bool {
	if !h.peppered() || check == "" {
		return !h.peppered() && check == ""
	}
	return subtle.ConstantTimeCompare([]byte(check), []byte(h.check(storeID))) == 1
}

// jobDigest returns the digest of a job. The length at the beginning separates backend
// and ID.
func jobDigest(backend, id string) digest {
	buf := make([]byte, 0, 256)
	buf = binary.AppendUvarint(buf, uint64(len(backend)))
	buf = append(buf, backend...)
	buf = append(buf, id...)
	return sha256.Sum256(buf)
}
