package keystore

import (
	"bytes"
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"slices"
	"time"

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

func (s *Store) find(ctx context.Context, d digest) (Record, error) {
	if st := s.state.Load(); st.fresh(s.mono()) {
		switch r, text, known := st.db.keys.get(d); known {
		case present:
			return Record{d, r, text}, nil
		case absent:
			return Record{}, ErrNotFound
		}
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
		COALESCE(k.last_used_at, 0), k.digest`
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

// Last-used times are bookkeeping: approximate, and lost rather than waited for.
const (
	useInterval    = time.Minute // a key's last use is written at most this often
	maxPendingUses = 8192        // what is noted beyond it is forgotten
	useBatch       = 256         // written at a time, with a pause for requests
	usePause       = 100 * time.Millisecond
)

// use names a key by its digest, since thousands of strings are work for the garbage
// collector.
type use struct {
	digest digest
	at     policy.Time
}

// NoteUse notes that the key was used at now, to the minute. It never waits
// and never fails; the time is written within some seconds, and by Close.
func (s *Store) NoteUse(r *Record, now policy.Time) {
	if now < r.noted.Add(useInterval) {
		return
	}
	if st := s.state.Load(); st.fault == nil {
		noted := false // by another use meanwhile
		st.db.keys.edit(r.digest, func(cached *recordEntry) {
			if noted = now < cached.noted.Add(useInterval); !noted {
				cached.noted = now
			}
		})
		if r.noted = now; noted {
			return
		}
	}
	select {
	case s.uses <- use{r.digest, now}:
	default:
	}
}

// flushUses writes the uses that were noted, some at a time. What cannot be written
// stays for the next time.
func (s *Store) flushUses(ctx context.Context, pause time.Duration) {
	for s.takeUses() {
		noted := make([]use, 0, len(s.pending))
		for d, at := range s.pending {
			noted = append(noted, use{d, at})
		}
		// In the order of the index, of which a batch then touches few pages.
		slices.SortFunc(noted, func(a, b use) int { return bytes.Compare(a.digest[:], b.digest[:]) })
		for batch := range slices.Chunk(noted, useBatch) {
			if s.write(ctx, func(t *txn) error { return writeUses(t, batch) }) != nil {
				return
			}
			for _, u := range batch {
				delete(s.pending, u.digest)
			}
			if pause > 0 {
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
			}
		}
	}
}

// takeUses gathers what was noted, and reports whether there is anything to write.
func (s *Store) takeUses() bool {
	for len(s.pending) < maxPendingUses && len(s.uses) > 0 {
		u := <-s.uses
		s.pending[u.digest] = max(s.pending[u.digest], u.at)
	}
	return len(s.pending) > 0
}

func writeUses(t *txn, batch []use) error {
	for _, u := range batch {
		// Other processes note uses too: here it is decided who writes.
		t.exec(`UPDATE api_keys SET last_used_at = $1 WHERE digest = (SELECT $2) AND COALESCE(last_used_at, 0) <= $3`,
			u.at, u.digest[:], u.at.Add(-useInterval))
	}
	return t.err
}
