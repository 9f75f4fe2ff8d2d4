package keystore

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// FindKey returns the record of the key whose secret this is. The error is
// ErrNotFound if no key has it, and otherwise a fault of the store.
//
// Keys that ended are found too: whether one may be used is for
// [policy.Decide] to say. The secret is to have stood up to [policy.CheckSecret], which
// spares mistyped ones the lookup.
func (s *Store) FindKey(ctx context.Context, secret policy.Secret) (Record, error) {
	return s.find(ctx, s.hash.secret(secret))
}

// Cached is what a store knows without asking its database.
type Cached struct {
	Key      Record // none while it is not known, and where there is known to be none
	KeyKnown bool
	Job      policy.Job // zero while it is not known
	JobKnown bool
}

// Cached says of a secret, and of a job where an ID is given, what [Store.FindKey]
// and [Store.FindJob] say, as far as that is known. It looks for both at the same
// time: each lookup waits for memory that is far away.
func (s *Store) Cached(c *Cached, secret policy.Secret, backend, jobID string) {
	*c = Cached{}
	st := s.state.Load()
	if len(secret.Reveal()) > policy.MaxSecretLen || !s.fresh(st) || s.cache.keys == nil {
		return
	}
	d := s.hash.secret(secret)
	if jobID == "" {
		c.setKey(s.cache.keys.Get(d))
		return
	}
	key, job := recordcache.GetBoth(s.cache.keys, d, s.cache.jobs, jobDigest(backend, jobID))
	if job.State == recordcache.Present {
		c.Job, c.JobKnown = packedJob(job.Record).job(), true
	}
	c.setKey(key)
}

func (c *Cached) setKey(e recordcache.Entry[policy.Time]) {
	c.Key, c.KeyKnown = Record{e.Value, e.Record}, e.State != recordcache.Unknown
}

func (s *Store) find(ctx context.Context, d digest) (Record, error) {
	if s.fresh(s.state.Load()) {
		switch e := s.cache.keys.Get(d); e.State {
		case recordcache.Present:
			return Record{e.Value, e.Record}, nil
		case recordcache.Absent:
			return Record{}, ErrNotFound
		}
	}
	lastUsed, packed, err := lookup(ctx, s, d, s.cache.keys, func(ctx context.Context, db *database) (policy.Time, string, error) {
		r, err := readRecord(ctx, db, d)
		return r.lastUsed, r.packed, err
	})
	if err != nil {
		return Record{}, err
	}
	return Record{lastUsed, packed}, nil
}

func readRecord(ctx context.Context, db *database, d digest) (Record, error) {
	k, stored, err := scanFound(db.reader.QueryRowContext(ctx, keyByDigest, d[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return Record{}, ErrNotFound
	}
	if err != nil {
		return Record{}, err
	}
	if subtle.ConstantTimeCompare(stored, d[:]) != 1 {
		return Record{}, ErrNotFound
	}
	return newRecord(&k, d)
}

const (
	// foundColumns are what a lookup needs.
	foundColumns = `k.id, k.account_id, COALESCE(k.issuer_id, ''), COALESCE(a.closed_at, 0), k.origin, k.allow, k.issuable,
		k.created_at, k.expires_at, COALESCE(k.deleted_at, 0), ` + revocation + `, ` + scheduledEnd + `,
		COALESCE(u.at, 0), k.digest`
	// Compared with a plain parameter, SQLite would prepare the statement anew for
	// every digest: it looks whether the value lets it use a partial index, such as
	// api_keys_issuer.
	keyByDigest = `SELECT ` + foundColumns + ` FROM ` + keyTables + ` WHERE k.digest = (SELECT $1)`
)

// scanFound reads foundColumns.
func scanFound(row scanner) (k policy.Key, stored []byte, err error) {
	var raw rawKey
	err = row.Scan(&k.ID, &k.AccountID, &k.IssuerID, &raw.closed, &raw.origin, &raw.allow, &k.Issuable,
		&k.CreatedAt, &raw.expires, &k.DeletedAt, &k.RevokedAt, &k.RevokeFrom, &k.LastUsedAt, &stored)
	if err != nil {
		return policy.Key{}, nil, err
	}
	k, err = raw.complete(k)
	return k, stored, err
}
