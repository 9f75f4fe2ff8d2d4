package keystoretest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func testR10JobIsThereWhenCreateReturns(t *testing.T, place Place) {
	path := place(t)
	f, beside := openStore(t, path), openStore(t, path)
	key, _ := f.key(f.account().ID)
	for range 2 { // absence is not remembered
		_, err := f.FindJob(t.Context(), "amivoice", "job-1")
		wantIs(t, err, keystore.ErrNotFound)
		_, err = beside.FindJob(t.Context(), "amivoice", "job-1")
		wantIs(t, err, keystore.ErrNotFound)
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

func testR10AJobIDIsRecordedOnce(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a, b := f.account(), f.account()
	key, _ := f.key(a.ID)
	thief, _ := f.key(b.ID)
	want := f.job(key, "same")
	clash := want
	clash.AccountID, clash.KeyID = b.ID, thief.ID
	err := f.CreateJob(t.Context(), clash)
	wantIs(t, err, keystore.ErrJobExists)
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
	if jobs, _, err := f.Jobs(t.Context(), keystore.JobList{AccountID: b.ID}); err != nil || len(jobs) != 1 || jobs[0].Backend != "another" {
		t.Errorf("jobs of the account: %v, %v", jobs, err)
	}
}

func testCreateJobRefuses(t *testing.T, place Place) {
	f := openStore(t, place(t))
	key, _ := f.key(f.account().ID)
	for _, edit := range []func(*policy.Job){
		func(j *policy.Job) { j.ID = "" },
		func(j *policy.Job) { j.Backend = "" },
		func(j *policy.Job) { j.ID = strings.Repeat("x", 513) },
		func(j *policy.Job) { j.CreatedAt = 0 },
	} {
		j := policy.Job{Backend: "b", ID: "j", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start}
		edit(&j)
		wantIs(t, f.CreateJob(t.Context(), j), keystore.ErrInvalid)
	}
	// A key that does not exist, as after the file was replaced.
	wantIs(t, f.CreateJob(t.Context(), policy.Job{Backend: "b", ID: "j", AccountID: key.AccountID, KeyID: "key_none", CreatedAt: start}), keystore.ErrUnavailable)
}
