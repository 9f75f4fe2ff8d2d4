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
	jobsKept  = 8 * 24 * time.Hour   // from their creation, at the least
	jobSlack  = 24 * time.Hour       // beyond that of KeepJobs, for clocks that differ
	feedKept  = time.Hour            // a reader behind by more drops everything
	auditKept = 400 * 24 * time.Hour // a year, and time to look at it
	deadKept  = 400 * 24 * time.Hour // the digests of pruned keys from the issuance API
)

// pruneBatch is how many rows go in one transaction, so that no request's
// write waits long behind it.
const (
	pruneBatch = 200
	auditBatch = 1000 // cheaper, being a stretch
)

// firstEnd is when a key ends, spelled as in the index that finds it.
const firstEnd = `MIN(
	COALESCE(expires_at, 9223372036854775807), COALESCE(deleted_at, 9223372036854775807),
	COALESCE(revoked_at, 9223372036854775807), COALESCE(revoke_from, 9223372036854775807))`

func (s *Store) pruneInBackground(ctx context.Context) {
	if err := s.Prune(ctx, s.cfg.Clock()); err != nil && ctx.Err() == nil {
		s.log.Warn("pruning the keystore; it goes on in an hour", zap.Error(err))
	}
}

// Prune removes what the retention times in the package's description no
// longer keep at now. A running store does so by itself every hour.
func (s *Store) Prune(ctx context.Context, now policy.Time) error {
	// Jobs go first: a key stays as long as a job of it does.
	for _, prune := range []func(context.Context, policy.Time) (more bool, err error){
		s.pruneJobs, s.pruneKeys, s.pruneDigests, s.pruneFeed, s.pruneAudit,
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

// KeepJobs has no job pruned within d of its creation, the longest grace of any
// gate, or within 8 days. A reload can change it.
func (s *Store) KeepJobs(d time.Duration) { s.jobKeep.Store(int64(d)) }

func (s *Store) pruneJobs(ctx context.Context, now policy.Time) (more bool, err error) {
	kept := max(jobsKept, s.cfg.Retention, time.Duration(s.jobKeep.Load())+jobSlack)
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

func (s *Store) pruneKeys(ctx context.Context, now policy.Time) (more bool, err error) {
	// The search may be long, so it runs beside the writer. What has ended
	// stays ended, and the writer looks again at the jobs.
	type ended struct {
		id, origin string
		digest     []byte
	}
	keys, err := query(ctx, s, func(row scanner) (k ended, err error) {
		return k, row.Scan(&k.id, &k.digest, &k.origin)
	}, endedKeys, now.Add(-s.cfg.Retention), pruneBatch)
	if err != nil || len(keys) == 0 {
		return false, err
	}
	pruned := 0
	err = s.write(ctx, func(t *txn) error {
		pruned = 0
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

// endedKeys finds keys that ended by themselves or with their
// account, both by an index.
const endedKeys = `SELECT k.id, k.digest, k.origin FROM api_keys k
	WHERE ` + firstEnd + ` <= $1 AND ` + unneeded + `
	UNION ALL
	SELECT k.id, k.digest, k.origin FROM api_keys k
	WHERE k.account_id IN (SELECT id FROM accounts WHERE closed_at <= $1) AND ` + unneeded + `
	LIMIT $2`

// unneeded is true of a key k without jobs, and without keys that it issued:
// these are found by it.
const unneeded = `NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.key_id = k.id)
	AND NOT EXISTS (SELECT 1 FROM api_keys c WHERE c.issuer_id = k.id)`

// pruneDigests forgets keys of which there were many, and which nobody keeps a
// list of to import again. Digests of other keys are kept for ever.
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
		// Numbers run with time, but for clocks that differ: what is pruned is
		// a stretch of them, so that "pruned up to" says it all.
		f, err := readFeedPosition(ctx, t)
		if err != nil {
			return err
		}
		var upTo int64
		err = t.queryRow(`SELECT COALESCE(MAX(seq), 0) FROM (SELECT seq FROM feed WHERE at <= $1 AND seq <= $2)`,
			now.Add(-feedKept), f.pruned+pruneBatch).Scan(&upTo)
		if err != nil || upTo <= f.pruned {
			return err
		}
		more = true
		t.exec(`DELETE FROM feed WHERE seq <= $1`, upTo)
		t.exec(`UPDATE meta SET value = $1 WHERE name = 'feed_pruned'`, strconv.FormatInt(upTo, 10))
		return t.err
	})
	return more, err
}
