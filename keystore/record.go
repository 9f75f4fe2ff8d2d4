package keystore

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"

	"github.com/speechgate/speechgate/policy"
)

// FindKey returns the record of the key whose secret this is. The error is
// ErrNotFound if no key has it, and otherwise a fault of the store.
//
// Keys that ended are found too: whether one may be used is for
// [policy.Decide] to say.
func (s *Store) FindKey(ctx context.Context, secret policy.Secret) (Record, error) {
	return s.find(ctx, s.hash.secret(secret))
}

// CachedKey is [Store.FindKey] as far as that need not ask the store: known reports
// whether it says the same. The record is none if the key is known not to exist.
func (s *Store) CachedKey(secret policy.Secret) (r Record, known bool) {
	r, is := s.cached(s.hash.secret(secret))
	return r, is != unknown
}

func (s *Store) cached(d digest) (Record, known) {
	if st := s.state.Load(); st.fresh(s.mono()) {
		if r, text, known := st.db.keys.get(d); known == present {
			return Record{d, r, text}, present
		} else if known == absent {
			return Record{}, absent
		}
	}
	return Record{}, unknown
}

func (s *Store) find(ctx context.Context, d digest) (Record, error) {
	switch r, known := s.cached(d); known {
	case present:
		return r, nil
	case absent:
		return Record{}, ErrNotFound
	}
	r, text, err := lookup(ctx, s, d, (*database).keyCache, func(ctx context.Context, db *database) (recordEntry, string, error) {
		r, err := readRecord(ctx, db, d)
		return r.recordEntry, r.text, err
	})
	if err != nil {
		return Record{}, err
	}
	return Record{d, r, text}, nil
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
		k.created_at, k.expires_at, COALESCE(k.deleted_at, 0), COALESCE(k.revoked_at, 0), COALESCE(k.revoke_from, 0),
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
