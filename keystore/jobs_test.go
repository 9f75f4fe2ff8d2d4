package keystore

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/policy"
)

func TestR10_JobIsThereWhenCreateReturns(t *testing.T) {
	path := newPath(t)
	f, beside := openStore(t, path), openStore(t, path)
	key, _ := f.key(f.account().ID)
	for range 2 { // absence is not remembered
		_, err := f.FindJob(t.Context(), "amivoice", "job-1")
		wantIs(t, err, ErrNotFound)
		_, err = beside.FindJob(t.Context(), "amivoice", "job-1")
		wantIs(t, err, ErrNotFound)
	}
	want := f.job(key, "job-1")
	for _, s := range []fixture{f, beside, beside} {
		got, err := s.FindJob(t.Context(), "amivoice", "job-1")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpPolicy); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestR10_AJobIDIsRecordedOnce(t *testing.T) {
	f := openStore(t, newPath(t))
	a, b := f.account(), f.account()
	key, _ := f.key(a.ID)
	thief, _ := f.key(b.ID)
	want := f.job(key, "same")
	clash := want
	clash.AccountID, clash.KeyID = b.ID, thief.ID
	err := f.CreateJob(t.Context(), clash)
	wantIs(t, err, ErrJobExists)
	if got, _ := f.Job(t.Context(), "amivoice", "same"); got.AccountID != a.ID {
		t.Error("a clash took the job over")
	}
	clash.Backend = "another"
	if err := f.CreateJob(t.Context(), clash); err != nil {
		t.Errorf("the same ID of another backend: %v", err)
	}
	if jobs, err := f.JobsByID(t.Context(), "same"); err != nil || len(jobs) != 2 {
		t.Errorf("jobs by ID: %v, %v", jobs, err)
	}
	if jobs, _, err := f.Jobs(t.Context(), JobList{AccountID: b.ID}); err != nil || len(jobs) != 1 || jobs[0].Backend != "another" {
		t.Errorf("jobs of the account: %v, %v", jobs, err)
	}
}

func TestCreateJob_Refuses(t *testing.T) {
	f := openStore(t, newPath(t))
	key, _ := f.key(f.account().ID)
	for _, edit := range []func(*policy.Job){
		func(j *policy.Job) { j.ID = "" },
		func(j *policy.Job) { j.Backend = "" },
		func(j *policy.Job) { j.ID = strings.Repeat("x", 513) },
		func(j *policy.Job) { j.CreatedAt = 0 },
	} {
		j := policy.Job{Backend: "b", ID: "j", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start}
		edit(&j)
		wantIs(t, f.CreateJob(t.Context(), j), ErrInvalid)
	}
	// A key or an account that is not there, such as after the file was replaced.
	wantIs(t, f.CreateJob(t.Context(), policy.Job{Backend: "b", ID: "j", AccountID: key.AccountID, KeyID: "key_none", CreatedAt: start}), ErrUnavailable)
}

func TestJobNames_DoNotRunTogether(t *testing.T) {
	if jobDigest("a", "bc") == jobDigest("ab", "c") || jobDigest("", "a") == jobDigest("a", "") {
		t.Error("two jobs share a cache entry")
	}
}

func TestSetJobState_AnEndIsFinal(t *testing.T) {
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
	waitFor(t, 250*time.Millisecond, "another process sees the end", func() bool { return state(beside).EndedAt == start+4 })
	// Another process that has not heard of the end does not undo it either.
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
