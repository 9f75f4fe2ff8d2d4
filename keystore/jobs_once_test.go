package keystore

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// together commits writes in one batch, and returns their errors.
func (f fixture) together(retried bool, jobs ...policy.Job) []error {
	batch, errs := make([]*write, len(jobs)), make([]error, len(jobs))
	for i := range jobs {
		batch[i] = &write{job: &jobs[i], beside: true, retried: retried, done: make(chan error, 1)}
	}
	writes := append([]*write(nil), batch...) // commit overwrites the slice
	if f.commits.beside != nil && !retried {
		f.commits.recordJobs(f.t.Context(), batch)
	} else {
		f.commits.commit(f.t.Context(), batch, false)
	}
	for i, w := range writes {
		errs[i] = <-w.done
	}
	return errs
}

// Of the jobs of a batch, one that cannot be recorded is refused alone. A job that is in the batch
// twice is recorded once.
func TestJobs_AreRefusedAlone(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place())
		key, _ := f.key(f.account().ID)
		job := func(id string, edit ...func(*policy.Job)) policy.Job {
			j := policy.Job{Backend: "amivoice", ID: id, Dialect: "amivoice", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start}
			for _, e := range edit {
				e(&j)
			}
			return j
		}
		f.job(key, "earlier")
		errs := f.together(false, job("earlier"), job("one"), job("twice"), job("twice"))
		for i, want := range []error{ErrJobExists, nil, nil, ErrJobExists} {
			wantIs(t, errs[i], want)
		}
		errs = f.together(false, job("two"), job("zero\x00"), job("keyless", func(j *policy.Job) { j.KeyID = "key_none" }), job("three"))
		for i, want := range []error{nil, ErrInvalid, ErrUnavailable, nil} {
			if f.cfg.Postgres == nil && i == 1 {
				want = nil // SQLite stores it
			}
			wantIs(t, errs[i], want)
		}
		for _, id := range []string{"earlier", "one", "twice", "two", "three"} {
			if _, err := f.Job(t.Context(), "amivoice", id); err != nil {
				t.Errorf("job %s: %v", id, err)
			}
		}
	})
}

// If a transaction may have been committed although its connection broke, its jobs are recorded
// again: a job that is there as it was asked for is no other job.
func TestJobs_AreRecordedOnceIfAConnectionBreaks(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place())
		key, _ := f.key(f.account().ID)
		committed := f.job(key, "committed")
		foreign := f.job(key, "foreign")
		foreign.AccountID = f.account().ID
		lost := committed
		lost.ID = "lost"
		for i, want := range []error{nil, ErrJobExists, nil} {
			wantIs(t, f.together(true, []policy.Job{committed, foreign, lost}[i])[0], want)
		}
		errs := f.together(true, committed, foreign, lost)
		for i, want := range []error{nil, ErrJobExists, nil} {
			wantIs(t, errs[i], want)
		}
		if j, err := f.Job(t.Context(), "amivoice", "lost"); err != nil || j != lost {
			t.Errorf("%+v, %v", j, err)
		}
	})
}

// A restart of the server breaks the connections for jobs. The next jobs do not fail by that.
func TestJobs_AreRecordedAfterARestartOfTheServer(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	f := openStore(t, "", inPostgres(server.NewDatabase(t)))
	key, _ := f.key(f.account().ID)
	create := func(prefix string) {
		t.Helper()
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				j := policy.Job{Backend: "amivoice", ID: fmt.Sprint(prefix, i), Dialect: "amivoice", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start}
				if err := f.CreateJob(context.Background(), j); err != nil {
					t.Errorf("job %s: %v", j.ID, err)
				}
			})
		}
		all.Wait()
	}
	create("before")
	server.Restart(t)
	create("after")
}

// A connection that breaks within the transaction of a job, such as when the follower of the feed comes to another
// server, costs no job.
func TestJobs_AreRecordedIfTheirConnectionBreaksWithinTheTransaction(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	f := openStore(t, "", inPostgres(dsn))
	key, _ := f.key(f.account().ID)
	f.takeOverPolling()
	admin, err := sql.Open("pgx", server.AdminDSN(t, dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close() }()
	lock, err := admin.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	if _, err := lock.Exec(`LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	recorded := make(chan error, 1)
	go func() {
		recorded <- f.CreateJob(context.Background(), policy.Job{Backend: "amivoice", ID: "j", Dialect: "amivoice", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start})
	}()
	for range 3 { // the statement of the job alone, and then two transactions
		testutil.Eventually(t, "the job waits for its table", func() bool {
			var broken bool
			err := admin.QueryRow(`SELECT COALESCE(bool_or(pg_terminate_backend(pid)), FALSE) FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%jobs%'`).Scan(&broken)
			return err == nil && broken
		})
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-recorded; err != nil {
		t.Error(err)
	}
	if _, err := f.Job(t.Context(), "amivoice", "j"); err != nil {
		t.Error(err)
	}
}
