package keystore

import (
	"errors"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// A job of another account and an unknown job take the same number of queries. The queries
// take nearly all of the time.
func TestR11_AForeignJobCostsWhatAnUnknownOneDoes(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	own, _ := f.key(f.account().ID)
	other, _ := f.key(f.account().ID)
	queries := 0
	f.loaded = func() { queries++ }
	find := func(id string) (policy.Job, error) {
		queries = 0
		return f.FindJobFor(t.Context(), own.AccountID, "amivoice", id)
	}
	mine, foreign := f.job(own, "mine"), f.job(other, "foreign")
	f.job(other, "foreign-and-not-cached")
	for _, id := range []string{"mine", "foreign"} {
		if _, err := f.FindJob(t.Context(), "amivoice", id); err != nil { // into the cache
			t.Fatal(err)
		}
	}
	for _, fresh := range []bool{true, false} {
		if !fresh {
			f.advance(time.Hour) // the caches are not trusted
		}
		for range 3 {
			if j, err := find("mine"); err != nil || j != mine || fresh && queries != 0 {
				t.Errorf("one's own: %+v, %v, %d queries", j, err, queries)
			}
			if j, err := find("foreign"); err != nil || j != foreign || queries != 1 {
				t.Errorf("foreign: %+v, %v, %d queries", j, err, queries)
			}
			if _, err := find("unknown"); !errors.Is(err, ErrNotFound) || queries != 1 {
				t.Errorf("unknown: %v, %d queries", err, queries)
			}
			if _, err := find("foreign-and-not-cached"); err != nil || queries != 1 {
				t.Errorf("foreign, not cached: %v, %d queries", err, queries)
			}
		}
	}
}

// BenchmarkRefuseJob finds that a job is not the client's.
func BenchmarkRefuseJob(b *testing.B) {
	s, _, err := tryStore(b.TempDir() + "/keystore.db")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	a, _, err := s.CreateAccount(b.Context(), start, operator, "Test")
	if err != nil {
		b.Fatal(err)
	}
	k, _, err := s.IssueKey(b.Context(), start, operator, NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
	if err != nil {
		b.Fatal(err)
	}
	if err := s.CreateJob(b.Context(), policy.Job{Backend: "amivoice", ID: "foreign", AccountID: a.ID, KeyID: k.ID, CreatedAt: start}); err != nil {
		b.Fatal(err)
	}
	for _, id := range []string{"foreign", "unknown"} {
		b.Run(id, func(b *testing.B) {
			for b.Loop() {
				_, _ = s.FindJobFor(b.Context(), "acc_other", "amivoice", id)
			}
		})
	}
}
