package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// nextBatch returns the jobs that the store would send now.
func (e *site) nextBatch() (*database, []waitingJob) {
	e.t.Helper()
	db := e.state.Load().db
	batch, err := e.outbox.next(e.t.Context(), e.outbox.file.Load(), db.id)
	if err != nil || len(batch) == 0 {
		e.t.Fatalf("%d jobs to send: %v", len(batch), err)
	}
	return db, batch
}

// rawFile runs a statement in the file of the jobs that wait.
func (e *site) rawFile(t *testing.T, statement string) {
	t.Helper()
	db := rawDB(t, filepath.Join(e.dir, "jobs.db"))
	mustExec(t, db, statement)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A store that is slow to note what it has sent deletes no job that another store has recorded meanwhile: SQLite gives
// the number of a row again.
func TestAdmitJobs_NoJobIsDeletedThatWasNotSent(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(t *testing.T, e *site){
		"another store has sent the same batch": func(t *testing.T, e *site) {
			t.Helper()
			e.sendAll(t)
		},
		"the file was removed": func(t *testing.T, e *site) {
			t.Helper()
			for _, s := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(filepath.Join(e.dir, "jobs.db"+s)); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newSite(t)
			e.leave(t)
			later := e.job(e.owner, "sent")
			e.comeBack(t)
			db, batch := e.nextBatch()
			meanwhile(t, e)
			later.ID = "made later"
			if err := e.outbox.create(t.Context(), &later, fault(errAway)); err != nil {
				t.Fatal(err)
			}
			if err := e.outbox.send(t.Context(), db, batch); err != nil {
				t.Fatal(err)
			}
			e.wantWaiting(WaitingJobs{Waiting: 1})
			e.wantJob(later.ID, later)
			e.sendAll(t)
			if _, err := e.other.Job(t.Context(), later.Backend, later.ID); err != nil {
				t.Error(err)
			}
		})
	}
}

// While the file cannot be opened, another account's job gets the same answer as an unknown one. What the database has
// goes on.
func TestAdmitJobs_AFileThatCannotBeOpenedTellsNoAccountsApart(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	stranger, _ := e.other.key(e.other.account().ID)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.rawFile(t, `PRAGMA user_version = 1000`)
	e.open(t)
	e.takeOverPolling()
	theirs, mine := e.other.job(stranger, "another account's"), e.job(e.owner, "own")
	for _, id := range []string{theirs.ID, theirs.ID, "never made"} { // also when it is cached
		_, err := e.FindJobFor(t.Context(), e.owner.AccountID, "amivoice", id)
		wantIs(t, err, ErrUnavailable)
	}
	if _, err := e.FindJobFor(t.Context(), e.owner.AccountID, "amivoice", mine.ID); err != nil {
		t.Error(err)
	}
	if err := e.SetJobState(t.Context(), "amivoice", mine.ID, policy.JobCompleted, start); err != nil {
		t.Error(err)
	}
	if j, err := e.other.Job(t.Context(), "amivoice", mine.ID); err != nil || j.State != policy.JobCompleted {
		t.Errorf("the state in the database is %s: %v", j.State, err)
	}
}

// A job that waits is another account's for a stranger, as it is after it was sent.
func TestAdmitJobs_AWaitingJobIsForeignToOtherAccounts(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	stranger := e.other.account()
	e.waitForReplica()
	e.leave(t)
	made := e.job(e.owner, "made away")
	_, ofAnother := e.FindJobFor(t.Context(), stranger.ID, "amivoice", made.ID)
	_, unknown := e.FindJobFor(t.Context(), stranger.ID, "amivoice", "unknown")
	wantIs(t, ofAnother, ErrUnavailable)
	if unknown == nil || ofAnother.Error() != unknown.Error() {
		t.Errorf("while away, another account's job: %v; an unknown one: %v", ofAnother, unknown)
	}
	e.comeBack(t)
	for _, when := range []string{"while it waits", "after it was sent"} {
		if j, err := e.FindJobFor(t.Context(), stranger.ID, "amivoice", made.ID); err != nil || j.AccountID != e.owner.AccountID {
			t.Errorf("%s: %q, %v; want a job of its account", when, j.AccountID, err)
		}
		e.sendAll(t)
	}
}

// A row that cannot be read is put aside with the reason, and the others are sent.
func TestAdmitJobs_ADamagedRowKeepsNoOtherJobBack(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	e.job(e.owner, "damaged")
	good := e.job(e.owner, "good")
	e.rawFile(t, `UPDATE jobs SET state = 'of a newer version' WHERE id = 'damaged'`)
	e.comeBack(t)
	e.sendAll(t)
	if _, err := e.other.Job(t.Context(), "amivoice", good.ID); err != nil {
		t.Error(err)
	}
	e.wantWaiting(WaitingJobs{Refused: 1})
}

// If the file cannot be written, jobs are refused before their upload, all jobs are sent nevertheless, and no poll
// waits for the file.
func TestAdmitJobs_AFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	for i := range outboxBatch + 1 {
		e.job(e.owner, fmt.Sprint("job ", i))
	}
	e.rawFile(t, `CREATE TRIGGER locked BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'a fault'); END`)
	wantIs(t, e.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "refused", AccountID: e.owner.AccountID, KeyID: e.owner.ID, CreatedAt: start}), ErrUnavailable)
	wantIs(t, e.CheckJobRoom(), ErrUnavailable)
	e.advance(fullFor + time.Second)
	wantIs(t, e.CheckJobRoom(), nil)

	holder := rawDB(t, filepath.Join(e.dir, "jobs.db"))
	holder.SetMaxOpenConns(1)
	mustExec(t, holder, `BEGIN IMMEDIATE`)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, e.SetJobState(over, "amivoice", "job 0", policy.JobProcessing, start), ErrUnavailable)
	mustExec(t, holder, `ROLLBACK`)
	testutil.Eventually(t, "the state is recorded later", func() bool {
		j, err := e.FindJob(context.Background(), "amivoice", "job 0")
		return err == nil && j.State == policy.JobProcessing
	})

	e.comeBack(t)
	mustExec(t, holder, `CREATE TRIGGER kept BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'a fault'); END`)
	for range 3 {
		e.outbox.step(t.Context())
	}
	if n := count(t, rawDB(t, e.dsn), `SELECT COUNT(*) FROM jobs`); n != outboxBatch+1 {
		t.Errorf("%d jobs were sent, want %d", n, outboxBatch+1)
	}
}

// If another store is open by the time that a batch is sent, the batch is not sent there.
func TestAdmitJobs_ABatchIsSentToItsStoreOnly(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	e.job(e.owner, "made away")
	e.comeBack(t)
	db, batch := e.nextBatch()
	another := openStore(t, "", inPostgres(e.server.NewDatabase(t)))
	e.state.Store(another.state.Load())
	_ = e.outbox.send(t.Context(), db, batch) // nothing was sent
	e.state.Store(&state{db: db})
	for _, j := range batch {
		if !errors.Is(j.err, ErrUnavailable) || j.refused != "" {
			t.Errorf("the job was sent to another store: %v, refused %q", j.err, j.refused)
		}
	}
	e.wantWaiting(WaitingJobs{Waiting: 1})
	e.sendAll(t)
}

// The answer to the commit of a job was lost, and the job is known here by now: it is recorded.
func TestAdmitJobs_AJobWhoseAnswerWasLostIsRecorded(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.takeOverPolling()
	j := e.job(e.owner, "committed")
	if _, err := e.JobAccounts(t.Context(), j.Backend, []string{j.ID}); err != nil {
		t.Fatal(err)
	}
	if err := e.outbox.create(t.Context(), &j, fault(errAway)); err != nil {
		t.Error(err)
	}
	j.AccountID = "acc_of_another"
	wantIs(t, e.outbox.create(t.Context(), &j, fault(errAway)), ErrJobExists)
}
