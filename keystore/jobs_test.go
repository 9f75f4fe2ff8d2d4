package keystore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

func TestJobNames_DoNotRunTogether(t *testing.T) {
	t.Parallel()
	if jobDigest("a", "bc") == jobDigest("ab", "c") || jobDigest("", "a") == jobDigest("a", "") || jobDigest("a", "c") == jobDigest("b", "c") {
		t.Error("two jobs share a cache entry")
	}
}

// A job that is cached for one backend is not found for another.
func TestFindJob_OfItsBackendOnly(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	key, _ := f.key(f.account().ID)
	j := f.job(key, "j")
	for range 2 { // the second time it is cached
		if got, err := f.FindJob(t.Context(), j.Backend, j.ID); err != nil || got != j {
			t.Errorf("got %+v, %v", got, err)
		}
		_, err := f.FindJob(t.Context(), "amivoicf", j.ID)
		wantIs(t, err, ErrNotFound)
	}
}

func TestCreateJob_TakesNamesUpTo512Bytes(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	key, _ := f.key(f.account().ID)
	long := strings.Repeat("x", 512)
	for _, c := range []struct {
		backend, id string
		want        error
	}{{long, "j", nil}, {"b", long, nil}, {long + "x", "j", ErrInvalid}, {"b", long + "x", ErrInvalid}, {"", "j", ErrInvalid}, {"b", "", ErrInvalid}} {
		err := f.CreateJob(t.Context(), policy.Job{Backend: c.backend, ID: c.id, AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start})
		if !errors.Is(err, c.want) {
			t.Errorf("names of %d and %d bytes: %v, want %v", len(c.backend), len(c.id), err, c.want)
		}
	}
}

func TestSetJobState_AnEndIsFinal(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, beside := openStore(t, path), openStore(t, path)
	key, _ := f.key(f.account().ID)
	f.job(key, "j")
	state := func(s fixture) policy.Job {
		j, err := s.FindJob(t.Context(), "amivoice", "j")
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	state(beside)
	db := rawDB(t, path)
	feed := func() int { return count(t, db, `SELECT COUNT(*) FROM feed WHERE kind = 'job'`) }
	for i, c := range []struct {
		set, want policy.JobState
		ended     policy.Time
		changes   int
	}{
		{policy.JobQueued, policy.JobQueued, 0, 1},
		{policy.JobQueued, policy.JobQueued, 0, 1},
		{policy.JobUnseen, policy.JobQueued, 0, 1},
		{policy.JobProcessing, policy.JobProcessing, 0, 2},
		{policy.JobCompleted, policy.JobCompleted, start + 4, 3},
		{policy.JobCompleted, policy.JobCompleted, start + 4, 3},
		{policy.JobFailed, policy.JobCompleted, start + 4, 3},
		{policy.JobProcessing, policy.JobCompleted, start + 4, 3},
	} {
		if err := f.SetJobState(t.Context(), "amivoice", "j", c.set, start+policy.Time(i)); err != nil {
			t.Fatal(err)
		}
		if j := state(f); j.State != c.want || j.EndedAt != c.ended || feed() != c.changes {
			t.Errorf("step %d: %s, ended %d, %d changes; want %s, %d, %d", i, j.State, j.EndedAt, feed(), c.want, c.ended, c.changes)
		}
	}
	testutil.Eventually(t, "another process sees the end", func() bool { return state(beside).EndedAt == start+4 })
	// Another process, whose cache has the old state, does not undo the end either.
	stale := state(f)
	stale.State, stale.EndedAt = policy.JobProcessing, 0
	d, jobs := jobDigest("amivoice", "j"), beside.cache.jobs
	old, err := packJob(&stale, d)
	if err != nil {
		t.Fatal(err)
	}
	jobs.Put(d, jobs.Generation(d), struct{}{}, string(old))
	if err := beside.SetJobState(t.Context(), "amivoice", "j", policy.JobFailed, start+99); err != nil {
		t.Fatal(err)
	}
	if j, _ := f.Job(t.Context(), "amivoice", "j"); j.State != policy.JobCompleted || j.EndedAt != start+4 {
		t.Errorf("after a late writer: %s, ended %d", j.State, j.EndedAt)
	}
	wantIs(t, f.SetJobState(t.Context(), "amivoice", "none", policy.JobQueued, start), ErrNotFound)
}

// The state of a job that is gone is not written, also if the job is still cached.
func TestSetJobState_OfAJobThatIsGone(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	key, _ := f.key(f.account().ID)
	f.job(key, "j")
	if _, err := f.FindJob(t.Context(), "amivoice", "j"); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, path)
	mustExec(t, db, `DELETE FROM jobs`)
	wantIs(t, f.SetJobState(t.Context(), "amivoice", "j", policy.JobCompleted, start), ErrNotFound)
	wantIs(t, f.SetJobState(t.Context(), "amivoice", "none", policy.JobCompleted, start), ErrNotFound)
	if n := count(t, db, `SELECT COUNT(*) FROM feed WHERE kind = 'job'`); n != 0 {
		t.Errorf("%d changes of jobs were announced", n)
	}
}

// A cached job is used while the feed can be read, and not after MaxStaleness without it.
func TestR17_ACachedJobIsTrustedForAWhile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, func(c *Config) { c.MaxStaleness = time.Hour })
	key, _ := f.key(f.account().ID)
	f.job(key, "j")
	f.takeOverPolling()
	find := map[string]func() (policy.Job, error){
		"FindJob":    func() (policy.Job, error) { return f.FindJob(t.Context(), "amivoice", "j") },
		"FindJobFor": func() (policy.Job, error) { return f.FindJobFor(t.Context(), key.AccountID, "amivoice", "j") },
	}
	want := func(when string, state policy.JobState) {
		t.Helper()
		for name, find := range find {
			if j, err := find(); err != nil || j.State != state {
				t.Errorf("%s: %s finds it %s, %v; want %s", when, name, j.State, err, state)
			}
		}
	}
	f.feed.poll(t.Context())
	want("at first", policy.JobUnseen)
	mustExec(t, rawDB(t, path), `UPDATE jobs SET state = 'completed'`) // and nothing in the feed
	want("while it is trusted", policy.JobUnseen)
	f.advance(f.cfg.MaxStaleness)
	want("without the feed", policy.JobCompleted)
}
