package keystore

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

func TestPrune_KeysAndJobs(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, func(c *Config) { c.Retention = 10 * day })
	f.KeepJobs(99 * day)
	f.KeepJobs(20 * day) // a reload makes the grace window shorter
	a, closed := f.account(), f.account()
	expires := func(e policy.Expiry) func(*NewKey) { return func(k *NewKey) { k.Expires = e } }
	never, _ := f.key(a.ID, expires(policy.Never()))
	expired, expiredSecret := f.key(a.ID, expires(policy.ExpiresAt(start.Add(day))))
	deleted, _ := f.key(a.ID, expires(policy.Never()))
	revoked, _ := f.key(a.ID, expires(policy.Never()))
	withJob, _ := f.key(a.ID, expires(policy.ExpiresAt(start.Add(day))))
	orphan, _ := f.key(closed.ID, expires(policy.Never()))
	job := f.job(withJob, "j")
	f.find(expiredSecret)
	if _, err := f.FindJob(t.Context(), job.Backend, job.ID); err != nil {
		t.Fatal(err)
	}
	_, err1 := f.DeleteKey(t.Context(), start.Add(day), operator, deleted.ID)
	_, err2 := f.RevokeKey(t.Context(), start.Add(day), operator, revoked.ID, "")
	_, err3 := f.CloseAccount(t.Context(), start.Add(day), operator, closed.ID)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	left := func(now policy.Time) map[string]bool {
		t.Helper()
		if err := f.Prune(t.Context(), now); err != nil {
			t.Fatal(err)
		}
		keys, _, err := f.Keys(t.Context(), KeyList{})
		if err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for _, k := range keys {
			ids[k.ID] = true
		}
		return ids
	}
	if ids := left(start.Add(11*day - 1)); len(ids) != 6 {
		t.Errorf("before the retention is over %d keys are left", len(ids))
	}
	ids := left(start.Add(11 * day))
	if len(ids) != 2 || !ids[never.ID] || !ids[withJob.ID] {
		t.Errorf("after it these are left: %v, want %s and %s", ids, never.ID, withJob.ID)
	}
	if ids[expired.ID] || ids[orphan.ID] || f.find(expiredSecret) != nil {
		t.Error("a pruned key is still found")
	}
	if accounts, _, _ := f.Accounts(t.Context(), AccountList{}); len(accounts) != 2 {
		t.Error("a closed account is gone")
	}
	// Jobs are kept longer than the grace window, and their keys as long as the jobs.
	if ids := left(start.Add(21*day - 1)); !ids[withJob.ID] {
		t.Error("the job's key is gone before the job")
	}
	if ids := left(start.Add(21 * day)); ids[withJob.ID] {
		t.Error("the key stays after its last job")
	}
	_, err := f.FindJob(t.Context(), job.Backend, job.ID)
	wantIs(t, err, ErrNotFound)
	if entries := actions(t, f, "", "key_prune"); len(entries) != 2 || entries[1].Detail != "4 keys" {
		t.Errorf("audit entries %v", entries)
	}

	// A dead key never comes back.
	imported, err := f.ImportKeys(t.Context(), start.Add(21*day), operator, Import{AccountID: a.ID, Expires: policy.Never(), Secrets: []policy.Secret{expiredSecret}})
	if err != nil || len(imported) != 1 || imported[0].Result != ImportDead {
		t.Errorf("importing a pruned key: %+v, %v", imported, err)
	}
	left(start.Add(422 * day))
	if entries, _, _ := f.Audit(t.Context(), AuditList{Limit: 100}); len(entries) != 1 || entries[0].Action != actionAuditPrune {
		t.Errorf("audit entries after 422 days: %v, want the one about those that went", entries)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM dead_digests`); n != 5 {
		t.Errorf("%d dead digests, want 5", n)
	}
}

func TestPrune_JobsNeverBefore8Days(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), func(c *Config) { c.Retention = time.Millisecond })
	key, _ := f.key(f.account().ID)
	for i := range 2*pruneBatch + 1 {
		f.job(key, strconv.Itoa(i))
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{8*day - 1, 2*pruneBatch + 1}, {8 * day, 0}} {
		if err := f.Prune(t.Context(), start.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		if jobs, _, err := f.Jobs(t.Context(), JobList{}); err != nil || len(jobs) != c.want {
			t.Errorf("after %s %d jobs are left, %v; want %d", c.after, len(jobs), err, c.want)
		}
	}
}

// The feed is pruned in batches, up to its last entry. The numbers have gaps.
func TestPrune_TheFeedInBatches(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	db := rawDB(t, path)
	mustExec(t, db, `WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO feed (seq, at, kind, ref) SELECT CASE WHEN i > 1 THEN i + $1 ELSE i END, $2, 'jobs', $3 FROM n`, 2*pruneBatch+1, start, []byte{})
	for _, c := range []struct {
		at   policy.Time
		want int
	}{{start.Add(feedKept) - 1, 2*pruneBatch + 1}, {start.Add(feedKept), 1}} {
		if err := f.Prune(t.Context(), c.at); err != nil {
			t.Fatal(err)
		}
		if n := count(t, db, `SELECT COUNT(*) FROM feed`); n != c.want {
			t.Errorf("at %s %d changes are left, want %d", c.at, n, c.want)
		}
	}
	if p, err := readFeedPosition(t.Context(), db, 0); err != nil || p.pruned != 4*pruneBatch+1 || p.last != p.pruned+1 {
		t.Errorf("then the feed is at %+v, %v", p, err)
	}
}

// A key that gets a job after the search for ended keys stays, and its secret is not dead.
func TestPrune_KeepsAKeyThatGetsAJobMeanwhile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	key, secret := f.key(f.account().ID)
	running, release := make(chan struct{}), make(chan struct{})
	held, pruned := make(chan error, 1), make(chan error, 1)
	go func() {
		held <- f.write(context.Background(), func(tx *txn) error {
			close(running)
			<-release
			tx.exec(`INSERT INTO jobs (backend, id, dialect, account_id, key_id, client, created_at, state) VALUES ('b', 'j', '', $1, $2, '', $3, 'queued')`,
				key.AccountID, key.ID, start)
			return tx.err
		})
	}()
	<-running
	go func() {
		more, err := f.pruneKeys(context.Background(), start.Add(200*day))
		if more {
			t.Error("there is more to prune")
		}
		pruned <- err
	}()
	testutil.Eventually(t, "the search has found the key", func() bool { return len(f.commits.queue) == 1 })
	close(release)
	if err := errors.Join(<-held, <-pruned); err != nil {
		t.Fatal(err)
	}
	if f.find(secret) == nil || count(t, rawDB(t, path), `SELECT COUNT(*) FROM dead_digests`) != 0 {
		t.Error("the key was pruned")
	}
	if n := len(actions(t, f, "", actionKeyPrune)); n != 0 {
		t.Errorf("%d entries about pruning", n)
	}
}

// The log says that pruning has failed, unless the process ends.
func TestPrune_LogsItsFailure(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs), commandLine)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	said := func() int { return logs.FilterMessageSnippet("pruning the keystore").Len() }
	f.pruneInBackground(t.Context())
	f.pruneInBackground(ended)
	if n := said(); n != 0 {
		t.Errorf("%d lines without a failure", n)
	}
	mustExec(t, rawDB(t, path), `ALTER TABLE jobs RENAME TO away`)
	f.pruneInBackground(t.Context())
	if n := said(); n != 1 {
		t.Errorf("%d lines about a failure, want 1", n)
	}
}

// Ended keys that cannot be pruned, because they have got jobs, do not keep the pruning busy.
func TestPrune_EndsWhenNothingCanBePruned(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	f.issueMany(path, root, pruneBatch)
	db := rawDB(t, path)
	release := trigger(t, path, `BEFORE DELETE ON api_keys`, `TRUE`, nothing)
	if more, err := f.pruneKeys(t.Context(), start.Add(200*day)); more || err != nil {
		t.Errorf("there is more to prune: %t, %v", more, err)
	}
	if n := count(t, db, `SELECT COUNT(*) FROM dead_digests`); n != 0 {
		t.Errorf("%d keys are dead", n)
	}
	release()
	if more, err := f.pruneKeys(t.Context(), start.Add(200*day)); !more || err != nil {
		t.Errorf("after a whole batch there is more to prune: %t, %v", more, err)
	}
}
