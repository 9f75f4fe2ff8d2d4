package keystore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"

	"github.com/speechgate/speechgate/policy"
)

// fingerprintLen is the length of a fingerprint, in bytes.
//
// A fingerprint only has to tell a few keys apart, and must not help to guess one. Four bytes do
// both. A thief of the database can test guesses against them, but of all wrong guesses one in
// four billion passes the test too, so the thief learns 32 bits of the key at most; keys of
// vendors have 128 and more. With a pepper, the thief cannot test a guess at all. The ID of the
// keystore and the backend name are hashed too, so that one key has other fingerprints elsewhere.
const fingerprintLen = 4

// Fingerprints has the fingerprints of upstream keys of one backend, in their order.
type Fingerprints struct {
	store   *Store
	storeID string
	of      []policy.Fingerprint
}

// Fingerprints returns the fingerprints of the upstream keys of a backend. known is an earlier
// result for the same keys, or nil: if it is still right, Fingerprints returns it, and allocates
// nothing. The fingerprints of other keystores, and of other backends, differ. The result is nil
// while the keystore is unavailable, if known is nil too.
func (s *Store) Fingerprints(known *Fingerprints, backend string, keys []policy.Secret) *Fingerprints {
	db := s.state.Load().db
	if db == nil || known != nil && known.store == s && known.storeID == db.id {
		return known
	}
	f := &Fingerprints{s, db.id, make([]policy.Fingerprint, len(keys))}
	for i, key := range keys {
		f.of[i] = s.hash.fingerprint(db.id, backend, key)
	}
	return f
}

// Of returns the fingerprint of the key with this index; 0 if f is nil, or if there is no such key.
func (f *Fingerprints) Of(i int) policy.Fingerprint {
	if f == nil || i < 0 || i >= len(f.of) {
		return 0
	}
	return f.of[i]
}

// Index returns the index of the key with this fingerprint; -1 if no key has it.
func (f *Fingerprints) Index(fingerprint policy.Fingerprint) int {
	if f != nil {
		for i, p := range f.of {
			if p == fingerprint {
				return i
			}
		}
	}
	return -1
}

// fingerprint returns the fingerprint of an upstream key.
func (h hasher) fingerprint(storeID, backend string, key policy.Secret) policy.Fingerprint {
	sum := sha256.Sum256([]byte("speechgate upstream key\x00" + storeID + "\x00" + backend + "\x00" + key.Reveal()))
	return h.sealFingerprint(toFingerprint(sum[:]))
}

// sealFingerprint turns a fingerprint without a pepper into the one that is stored. So the
// fingerprints of a keystore can be sealed when it gets a pepper.
func (h hasher) sealFingerprint(f policy.Fingerprint) policy.Fingerprint {
	if !h.peppered() {
		return f
	}
	sum := h.sum(binary.BigEndian.AppendUint32([]byte("speechgate upstream key\x00"), uint32(f)))
	return toFingerprint(sum[:])
}

// toFingerprint returns the first bytes of a hash. 0 means no key, so it becomes 1.
func toFingerprint(sum []byte) policy.Fingerprint {
	return max(1, policy.Fingerprint(binary.BigEndian.Uint32(sum[:fingerprintLen])))
}

// sealFingerprints seals every fingerprint in the store with the pepper.
func (s *Store) sealFingerprints(ctx context.Context, t *txn) error {
	for _, column := range []struct{ read, write string }{
		{`SELECT DISTINCT upstream_key FROM jobs WHERE upstream_key IS NOT NULL`, `UPDATE jobs SET upstream_key = $1 WHERE upstream_key = $2`},
		{`SELECT DISTINCT upstream_key FROM tokens WHERE upstream_key IS NOT NULL`, `UPDATE tokens SET upstream_key = $1 WHERE upstream_key = $2`},
	} {
		prints, err := queryRows(ctx, t, scanColumn[policy.Fingerprint], column.read)
		if err != nil {
			return err
		}
		for _, f := range prints {
			t.exec(column.write, s.hash.sealFingerprint(f), f)
		}
	}
	return t.err
}

func nullFingerprint(f policy.Fingerprint) sql.Null[int64] {
	return sql.Null[int64]{V: int64(f), Valid: f != 0}
}

// UpstreamKeyNeed says what in the keystore still needs an upstream key.
type UpstreamKeyNeed struct {
	Backend     string
	Fingerprint policy.Fingerprint // 0: the records are from before fingerprints, or the gate had no upstream key
	Jobs        int                // jobs whose end no poll has seen
	LastJob     policy.Time        // when the newest of these jobs was created; zero without one
	Tokens      int                // tokens that have not expired
}

// UpstreamKeyNeeds returns what still needs an upstream key at now, by backend name and key. It
// reads every job. Any error is an ErrUnavailable.
func (s *Store) UpstreamKeyNeeds(ctx context.Context, now policy.Time) ([]UpstreamKeyNeed, error) {
	return query(ctx, s, scanUpstreamKeyNeed, upstreamKeyNeeds, policy.JobCompleted.String(), policy.JobFailed.String(), now)
}

const upstreamKeyNeeds = `SELECT backend, print, SUM(job), MAX(job_at), SUM(token) FROM (
		SELECT backend, COALESCE(upstream_key, 0) AS print, COUNT(*) AS job, MAX(created_at) AS job_at, 0 AS token
			FROM jobs WHERE state <> $1 AND state <> $2 GROUP BY backend, upstream_key
		UNION ALL
		SELECT backend, COALESCE(upstream_key, 0), 0, 0, COUNT(*)
			FROM tokens WHERE expires_at > $3 GROUP BY backend, upstream_key) AS needs
	GROUP BY backend, print ORDER BY backend, print`

func scanUpstreamKeyNeed(row scanner) (n UpstreamKeyNeed, err error) {
	err = row.Scan(&n.Backend, &n.Fingerprint, &n.Jobs, &n.LastJob, &n.Tokens)
	return n, err
}
