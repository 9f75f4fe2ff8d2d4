package keystore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// A list has jobs of the account, of another account and without a record, in any order and number.
func TestJobAccounts_NamesTheOwnerOfEachJob(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	own, _ := f.key(f.account().ID)
	other, _ := f.key(f.account().ID)
	queries := 0
	f.loaded = func() { queries++ }
	var ids, want []string
	for i := range 3 * jobsAtOnce {
		id, account := fmt.Sprint("job-", i), ""
		switch i % 3 {
		case 0:
			account = f.job(own, id).AccountID
		case 1:
			account = f.job(other, id).AccountID
		}
		ids, want = append(ids, id), append(want, account)
	}
	ids, want = append(ids, "job-0", "job-2", "", "job-1"), append(want, own.AccountID, "", "", other.AccountID)
	f.advance(time.Hour) // the cache is not trusted
	if got, err := f.JobAccounts(t.Context(), "amivoice", ids); err != nil || !slices.Equal(got, want) || queries != 4 {
		t.Errorf("%q, %v, %d queries\nwant %q", got, err, queries, want)
	}
	if got, err := f.JobAccounts(t.Context(), "another", []string{"job-0"}); err != nil || got[0] != "" {
		t.Errorf("a job of another backend: %q, %v", got, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := f.JobAccounts(gone, "amivoice", []string{"job-1"}); err != nil || got[0] != other.AccountID {
		t.Errorf("for a client that has gone: %q, %v", got, err)
	}
	if got, err := f.JobAccounts(t.Context(), "amivoice", nil); err != nil || len(got) != 0 {
		t.Errorf("no jobs: %q, %v", got, err)
	}
}

// The jobs that are cached need no query. What has been read is cached.
func TestJobAccounts_CachesWhatItReads(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	own, _ := f.key(f.account().ID)
	mine := f.job(own, "mine")
	f.cache.jobs.DropAll()
	queries := 0
	f.loaded = func() { queries++ }
	for round, want := range []int{1, 0} {
		queries = 0
		got, err := f.JobAccounts(t.Context(), "amivoice", []string{"mine"})
		if err != nil || got[0] != mine.AccountID || queries != want {
			t.Errorf("round %d: %q, %v, %d queries", round, got, err, queries)
		}
	}
	if j, err := f.FindJob(t.Context(), "amivoice", "mine"); err != nil || j != mine || queries != 0 {
		t.Errorf("then FindJob: %+v, %v, %d queries", j, err, queries)
	}
}

// While the database is away, a list waits for it as a lookup does: for 2 s at first, however many lists are asked for, and not at
// all when the database is known to be away.
func TestJobAccounts_WaitAsALookupDoes(t *testing.T) {
	t.Parallel()
	relay := postgrestest.NewRelay(t, postgrestest.Start(t).NewDatabase(t))
	f := openStore(t, "", inPostgres(relay.DSN))
	f.takeOverPolling()
	list := func(most time.Duration) {
		t.Helper()
		begun := time.Now()
		_, err := f.JobAccounts(t.Context(), "amivoice", []string{"unknown"})
		wantIs(t, err, ErrUnavailable)
		if took := time.Since(begun); took > most {
			t.Errorf("a list took %s, want %s at most", took, most)
		}
	}
	relay.SetMute(true)
	var lists sync.WaitGroup
	for range 100 {
		lists.Go(func() { list(lookupLimit + 2*time.Second) })
	}
	lists.Wait()
	f.feed.failures.Store(awayAfter)
	list(time.Second)
}

// While the database is away, a list has the jobs that the replica has. A job that it lacks can have an account.
func TestJobAccounts_FromTheReplica(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	job := e.job(e.owner, "here")
	testutil.Eventually(t, "the replica has the job", func() bool {
		_, err := e.replica.job(t.Context(), jobDigest(job.Backend, job.ID), "", job.Backend, job.ID, fault(errAway))
		return err == nil
	})
	e.other.job(e.owner, "elsewhere")
	e.leave(t)
	e.cache.jobs.DropAll()
	if got, err := e.JobAccounts(t.Context(), job.Backend, []string{"", job.ID}); err != nil || !slices.Equal(got, []string{"", job.AccountID}) {
		t.Errorf("%q, %v", got, err)
	}
	for _, id := range []string{"elsewhere", "never made"} {
		_, err := e.JobAccounts(t.Context(), job.Backend, []string{job.ID, id})
		wantIs(t, err, ErrUnavailable)
	}
}

// BenchmarkJobAccounts looks up the jobs of a piece of a list, which are in the cache or have no record.
func BenchmarkJobAccounts(b *testing.B) {
	s, _, err := tryStore(b.TempDir() + "/keystore.db")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ids := make([]string, 100)
	for i := range ids {
		ids[i] = fmt.Sprintf("5b3a%04x-1c9b-4f0e-8a57-6a1f%08x", i, i)
	}
	run := func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.JobAccounts(b.Context(), "amivoice", ids); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("unknown", run)
	a, _, err := s.CreateAccount(b.Context(), start, operator, "Test")
	if err != nil {
		b.Fatal(err)
	}
	k, _, err := s.IssueKey(b.Context(), start, operator, NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
	if err != nil {
		b.Fatal(err)
	}
	for _, id := range ids {
		if err := s.CreateJob(b.Context(), policy.Job{Backend: "amivoice", ID: id, AccountID: a.ID, KeyID: k.ID, CreatedAt: start}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("cached", run)
}
