package keystore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

const (
	pruneFirst = time.Minute // after the opening, so that the start is not slowed
	pruneEvery = time.Hour
)

// How long records are kept.
const (
	jobsKept  = 8 * 24 * time.Hour   // after their creation, at least
	jobSlack  = 24 * time.Hour       // added to the time of KeepJobs, because clocks differ
	tokenKept = time.Hour            // after their expiry, so that the log can say that a token has expired
	feedKept  = time.Hour            // a process that is behind by more drops all its cached records
	auditKept = 400 * 24 * time.Hour // a year, and some time to read it
	deadKept  = 400 * 24 * time.Hour // the digests of pruned keys from the issuance API
)

// How many rows are removed in one transaction. The numbers are small so that the writes
// of requests do not wait long.
const (
	pruneBatch = 200
	auditBatch = 1000 // consecutive rows, which are cheaper to remove
)

// firstEnd is the SQL expression for when a key ends: at its expiry, deletion or
// revocation, whichever is first. It must be the same as in the indexes api_keys_ended
// and api_keys_account. Otherwise SQLite does not use them.
const firstEnd = `MIN(
	COALESCE(expires_at, 9223372036854775807), COALESCE(deleted_at, 9223372036854775807),
	COALESCE(revoked_at, 9223372036854775807), COALESCE(revoke_from, 9223372036854775807))`

func (s *Store) pruneInBackground(ctx context.Context) {
	if err := s.Prune(ctx, s.cfg.Clock()); err != nil && ctx.Err() == nil {
		s.log.Warn("pruning the keystore; it goes on in an hour", zap.Error(err))
	}
}

// Prune removes the records whose retention is over at now: see Retention in the
// package comment. A server's store calls it every hour.
func (s *Store) Prune(ctx context.Context, now policy.Time) error {
	// The journal first, because it can name keys that are pruned.
	if err := s.foldUsage(ctx, foldPause); err != nil {
		return err
	}
	// Then jobs, because a key is kept as long as it has a job.
	for _, prune := range []func(context.Context, policy.Time) (more bool, err error){
		s.pruneJobs, s.pruneTokens, s.pruneSessions, s.pruneKeys, s.pruneDigests, s.pruneFeed, s.pruneAudit,
		s.rollUpUsage, s.pruneUsage,
	} {
		for more := true; more; {
			var err error
			if more, err = prune(ctx, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// KeepJobs keeps every job for at least d after its creation: the longest grace
// window of any gate. A reload can change d.
func (s *Store) KeepJobs(d time.Duration) { s.jobKeep.Store(int64(d)) }

// jobsKept returns how long jobs are kept after their creation.
func (s *Store) jobsKept() time.Duration {
	return max(jobsKept, s.cfg.Retention, time.Duration(s.jobKeep.Load())+jobSlack)
}

func (s *Store) pruneJobs(ctx context.Context, now policy.Time) (more bool, err error) {
	kept := s.jobsKept()
	err = s.write(ctx, func(t *txn) error {
		n, err := t.count(`DELETE FROM jobs WHERE (id, backend) IN
			(SELECT id, backend FROM jobs WHERE created_at <= $1 ORDER BY created_at LIMIT $2)`, now.Add(-kept), pruneBatch)
		if more = n == pruneBatch; err != nil || n == 0 {
			return err
		}
		return t.changed(now, changedJobs, []byte{})
	})
	return more, err
}

// pruneTokens removes tokens that have expired. The tokens of a key that is pruned go with it.
func (s *Store) pruneTokens(ctx context.Context, now policy.Time) (more bool, err error) {
	err = s.write(ctx, func(t *txn) error {
		n, err := t.count(`DELETE FROM tokens WHERE (digest, backend) IN
			(SELECT digest, backend FROM tokens WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)`, now.Add(-tokenKept), pruneBatch)
		if more = n == pruneBatch; err != nil || n == 0 {
			return err
		}
		return t.changed(now, changedTokens, []byte{})
	})
	return more, err
}

func (s *Store) pruneKeys(ctx context.Context, now policy.Time) (more bool, err error) {
	// The search may take long, so it does not run in the writer's transaction. A
	// key that has ended stays ended, and the DELETE checks again for jobs.
	type ended struct {
		id, accountID, origin string
		digest                []byte
	}
	keys, err := query(ctx, s, func(row scanner) (k ended, err error) {
		err = row.Scan(&k.id, &k.accountID, &k.digest, &k.origin)
		return k, err
	}, endedKeys, now.Add(-s.cfg.Retention), pruneBatch)
	if err != nil || len(keys) == 0 {
		return false, err
	}
	pruned := 0
	err = s.write(ctx, func(t *txn) error {
		for _, k := range keys {
			n, err := t.count(`DELETE FROM api_keys AS k WHERE k.id = $1 AND `+unneeded, k.id)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			pruned++
			var forget policy.Time
			if k.origin == policy.OriginAPI.String() {
				forget = now.Add(deadKept)
			}
			t.exec(`INSERT INTO dead_digests (digest, at, forget_at) VALUES ($1, $2, $3)`, k.digest, now, nullTime(forget))
			t.exec(`DELETE FROM usage_scopes WHERE account_id = $1 AND key_id = $2`, k.accountID, k.id)
			if err := t.changed(now, changedKey, k.digest); err != nil {
				return err
			}
		}
		if pruned == 0 {
			return nil
		}
		t.audit(now, Actor{Kind: ActorStore}, actionKeyPrune, "", "", fmt.Sprintf("%d keys", pruned))
		return t.err
	})
	return len(keys) == pruneBatch && pruned > 0, err
}

// endedKeys finds keys that have ended, or whose account is closed. Both searches
// use an index.
const endedKeys = `SELECT k.id, k.account_id, k.digest, k.origin FROM api_keys k
	WHERE ` + firstEnd + ` <= $1 AND ` + unneeded + `
	UNION ALL
	SELECT k.id, k.account_id, k.digest, k.origin FROM api_keys k
	WHERE k.account_id IN (SELECT id FROM accounts WHERE closed_at <= $1) AND ` + unneeded + `
	LIMIT $2`

// unneeded is true for a key k that has no jobs and has issued no keys. Issued keys
// read their issuer's row.
const unneeded = `NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.key_id = k.id)
	AND NOT EXISTS (SELECT 1 FROM api_keys c WHERE c.issuer_id = k.id)`

// pruneDigests removes the digests of pruned keys from the issuance API. These keys
// are many, and no one keeps a list of them to import again. The digests of other keys
// are kept without end.
func (s *Store) pruneDigests(ctx context.Context, now policy.Time) (more bool, err error) {
	err = s.write(ctx, func(t *txn) error {
		n, err := t.count(`DELETE FROM dead_digests WHERE digest IN
			(SELECT digest FROM dead_digests WHERE forget_at <= $1 LIMIT $2)`, now, pruneBatch)
		more = n == pruneBatch
		return err
	})
	return more, err
}

func (s *Store) pruneFeed(ctx context.Context, now policy.Time) (more bool, err error) {
	err = s.write(ctx, func(t *txn) error {
		// Remove the entries below one number, so that this number alone says what was
		// pruned. Numbers mostly follow time, except when clocks differ. The last entry that is old
		// enough stays: a process that has seen it finds out whether the feed is still the same.
		f, err := readFeedPosition(ctx, t, 0)
		if err != nil {
			return err
		}
		var last int64
		err = t.queryRow(`SELECT COALESCE(MAX(seq), 0) FROM (SELECT seq, at FROM feed ORDER BY seq LIMIT $1) AS oldest WHERE at <= $2`,
			pruneBatch+1, now.Add(-feedKept)).Scan(&last)
		if err != nil || last-1 <= f.pruned {
			return err
		}
		more = true
		t.exec(`DELETE FROM feed WHERE seq < $1`, last)
		t.exec(`UPDATE meta SET value = $1 WHERE name = 'feed_pruned'`, strconv.FormatInt(last-1, 10))
		return t.err
	})
	return more, err
}
