package keystore

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// FindKey returns the record of the key that has this secret. The error is ErrNotFound
// if no key has it. Any other error means that the store failed.
//
// FindKey also returns keys that ended: [policy.Decide] says whether a key may be used.
// Call [policy.CheckSecret] first: it finds most mistyped secrets without a lookup.
func (s *Store) FindKey(ctx context.Context, secret policy.Secret) (Record, error) {
	return s.find(ctx, s.hash.secret(secret))
}

// Cached is the answer of [Store.Cached]: what the cache has for a secret and for a job
// ID.
type Cached struct {
	Key      Record // the zero Record if KeyKnown is false, or if no key has the secret
	KeyKnown bool
	Job      policy.Job // the zero Job if JobKnown is false
	JobKnown bool
}

// Cached sets c to what [Store.FindKey] and [Store.FindJob] would return, as far as the
// cache knows it. It does not read the database. An empty jobID asks for no job.
//
// Cached looks for key and job at the same time, which is faster than one after the
// other, because each lookup waits for memory.
func (s *Store) Cached(c *Cached, secret policy.Secret, backend, jobID string) {
	*c = Cached{}
	st := s.state.Load()
	if len(secret.Reveal()) > policy.MaxSecretLen || !s.fresh(st) {
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
		case recordcache.Unknown: // read the database
		}
	}
	lastUsed, packed, err := lookup(ctx, s, d, s.cache.keys, func(ctx context.Context, db *database) (policy.Time, string, error) {
		r, err := readRecord(ctx, db, d)
		return r.lastUsed, r.packed, err
	})
	if err != nil {
		return s.replica.key(ctx, d, err)
	}
	return Record{lastUsed, packed}, nil
}

func readRecord(ctx context.Context, db *database, d digest) (Record, error) {
	k, stored, err := scanFound(db.reader.QueryRowContext(ctx, db.text(keyByDigest), d[:]))
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
	// foundColumns are the columns that a lookup needs.
	foundColumns = `k.id, k.account_id, COALESCE(k.issuer_id, ''), COALESCE(a.closed_at, 0), k.origin, k.allow, k.issuable,
		k.created_at, k.expires_at, COALESCE(k.deleted_at, 0), ` + revocation + `, ` + scheduledEnd + `,
		COALESCE(u.at, 0), COALESCE(a.suspended_at, 0), COALESCE(k.suspended_at, 0), ` + limitColumns + `, k.digest`
	// keyByDigest compares the digest with (SELECT $1). With a plain $1, SQLite would
	// prepare the statement again for every digest: it checks whether the value allows
	// a partial index, such as api_keys_issuer.
	keyByDigest = `SELECT ` + foundColumns + ` FROM ` + keyTables + ` WHERE k.digest = (SELECT $1)`
)

// scanFound reads foundColumns.
func scanFound(row scanner) (k policy.Key, stored []byte, err error) {
	var raw rawKey
	err = row.Scan(&k.ID, &k.AccountID, &k.IssuerID, &raw.closed, &raw.origin, &raw.allow, &k.Issuable,
		&k.CreatedAt, &raw.expires, &k.DeletedAt, &k.RevokedAt, &k.RevokeFrom, &k.LastUsedAt, &raw.suspended, &k.SuspendedAt,
		&raw.limits, &raw.accountLimits, &stored)
	if err != nil {
		return policy.Key{}, nil, err
	}
	k, err = raw.complete(k)
	return k, stored, err
}
