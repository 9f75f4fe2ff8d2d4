package keystore

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// If the answer to a commit was lost, the database has the job, and it waits at the site too. The second try is content
// with the first one's row, and brings the state that was seen since.
func TestAdmitJobs_TheAnswerOfTheDatabaseWasLost(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.takeOverPolling()
	away := fault(errAway)
	var jobs []policy.Job
	for _, id := range []string{"without a state", "with a state"} {
		j := e.job(e.owner, id) // committed, and the answer is lost
		if err := e.outbox.create(t.Context(), &j, away); err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	if err := e.SetJobState(t.Context(), "amivoice", "with a state", policy.JobFailed, start.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	jobs[1].State, jobs[1].EndedAt = policy.JobFailed, start.Add(time.Second)
	e.other.wantJob("at another gateway", jobs[0]) // and caches it
	e.sendAll(t)
	for _, j := range jobs {
		e.wantJob("after the second try", j)
	}
	testutil.Eventually(t, "the state counts at another gateway", func() bool {
		j, err := e.other.FindJob(context.Background(), "amivoice", "with a state")
		return err == nil && j == jobs[1]
	})
	if n := count(t, rawDB(t, e.dsn), `SELECT COUNT(*) FROM jobs`); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
	if n := e.logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet("does not take").Len(); n != 0 {
		t.Errorf("%v", e.logs.All())
	}
}

// A job that the database does not take stays in the file with the reason, is logged once, and keeps no other from the database.
func TestAdmitJobs_AJobThatTheDatabaseDoesNotTake(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	stranger, _ := e.other.key(e.other.account().ID)
	gone, _ := e.other.key(e.owner.AccountID)
	e.waitForReplica()
	e.leave(t)
	e.job(gone, "of a key that is gone")
	e.job(e.owner, "twice")
	good := e.job(e.owner, "good")
	e.comeBack(t)
	theirs := e.other.job(stranger, "twice")
	mustExec(t, rawDB(t, e.dsn), `DELETE FROM api_keys WHERE id = $1`, gone.ID)
	e.sendAll(t)
	e.other.wantJob("at another gateway", good)
	e.wantJob("the job of the other account", theirs)
	e.wantNoJob(e.owner.AccountID, "of a key that is gone", ErrNotFound)
	e.wantWaiting(WaitingJobs{Refused: 2})
	e.outbox.step(t.Context())
	logs := e.logs.FilterMessageSnippet("the database does not take a job").FilterLevelExact(zapcore.ErrorLevel)
	for id, reason := range map[string]string{
		"of a key that is gone": "the database does not have the key that has created the job any more",
		"twice":                 "the database has another job with this ID, of account " + stranger.AccountID,
	} {
		if n := logs.FilterField(zap.String("job_id", id)).FilterField(zap.String("reason", reason)).FilterField(zap.String("account_id", e.owner.AccountID)).Len(); n != 1 {
			t.Errorf("the log says %d times that job %q is refused: %v", n, id, logs.All())
		}
		file := rawDB(t, e.dir+"/jobs.db")
		if n := count(t, file, `SELECT COUNT(*) FROM jobs WHERE id = $1 AND refused = $2`, id, reason); n != 1 {
			t.Errorf("the file does not have job %q with its reason", id)
		}
	}
}

// A state that comes while a job is sent on is not lost.
func TestAdmitJobs_AStateThatComesMeanwhileIsSentToo(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	j := e.job(e.owner, "made away")
	e.comeBack(t)
	db := e.state.Load().db
	batch, err := e.outbox.next(t.Context(), e.outbox.file.Load(), db.id)
	if err != nil || len(batch) != 1 {
		t.Fatal(batch, err)
	}
	if err := e.SetJobState(t.Context(), j.Backend, j.ID, policy.JobCompleted, start.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := e.outbox.send(t.Context(), db, batch); err != nil {
		t.Fatal(err)
	}
	e.wantWaiting(WaitingJobs{Waiting: 1})
	e.sendAll(t)
	j.State, j.EndedAt = policy.JobCompleted, start.Add(time.Second)
	e.other.wantJob("at another gateway", j)
}

// Two stores with the same directory, as during a reload, both admit, find and send all jobs. None is lost, and
// sending one twice does no harm. A store that has lost its replica to the other one still records what it has admitted.
func TestAdmitJobs_TwoStoresWithTheSameDirectory(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	second := &site{server: e.server, dsn: e.dsn, dir: e.dir}
	second.open(t)
	second.takeOverPolling()
	e.advance(2 * replicaEvery)
	if _, err := e.replica.advance(t.Context()); err == nil {
		t.Error("the first store has its replica still")
	}
	wantIs(t, e.CheckJobRoom(), ErrUnavailable)
	jobs := []policy.Job{e.job(e.owner, "made by the first"), second.job(e.owner, "made by the second")}
	for _, j := range jobs {
		e.wantJob("at the first", j)
		second.wantJob("at the second", j)
	}
	wantIs(t, e.CreateJob(t.Context(), jobs[1]), ErrJobExists)
	e.comeBack(t)
	testutil.Eventually(t, "the second store knows it", func() bool {
		second.feed.poll(t.Context())
		return second.answers() == nil
	})
	db := second.state.Load().db
	batch, err := second.outbox.next(t.Context(), second.outbox.file.Load(), db.id)
	if err != nil || len(batch) != 2 {
		t.Fatal(batch, err)
	}
	e.sendAll(t)
	if err := second.outbox.send(t.Context(), db, batch); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	for _, j := range jobs {
		second.wantJob("after the first was closed", j)
		e.other.wantJob("at another gateway", j)
	}
	second.wantWaiting(WaitingJobs{})
}

// The jobs of a keystore are sent to no other keystore.
func TestAdmitJobs_AreSentToTheirKeystoreOnly(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	j := e.job(e.owner, "made away")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	elsewhere := openStore(t, "", inPostgres(postgrestest.Start(t).NewDatabase(t)), admitting(e.dir), logTo(&e.logs))
	elsewhere.waitForReplica()
	elsewhere.takeOverPolling()
	elsewhere.outbox.step(t.Context())
	elsewhere.outbox.step(t.Context())
	elsewhere.wantWaiting(WaitingJobs{Foreign: 1})
	elsewhere.wantNoJob(e.owner.AccountID, j.ID, ErrNotFound)
	if n := e.logs.FilterMessageSnippet("jobs of another keystore").Len(); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	if err := elsewhere.Close(); err != nil {
		t.Fatal(err)
	}
	e.server.StartAgain(t)
	e.open(t)
	e.takeOverPolling()
	e.waitUntilBack(t)
	e.sendAll(t)
	e.other.wantJob("at another gateway", j)
}

// Gateways that lose their database together do not all send at once when it is back, and leave it to others between two batches.
func TestAdmitJobs_AreSentWithPauses(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	for range 3 {
		if pause := e.outbox.step(t.Context()); pause != outboxEvery {
			t.Errorf("while the database is away, the pause is %s", pause)
		}
	}
	e.job(e.owner, "made away")
	e.outbox.step(t.Context())
	e.comeBack(t)
	var longest time.Duration
	for range 30 { // gateways that begin to send
		e.outbox.sender.away = true
		longest = max(longest, e.outbox.step(t.Context()))
	}
	if longest <= 2*outboxEvery || longest > outboxSpread {
		t.Errorf("the longest of the first pauses is %s, want up to %s", longest, outboxSpread)
	}
	e.wantWaiting(WaitingJobs{Waiting: 1})
	if pause := e.outbox.step(t.Context()); pause < outboxEvery {
		t.Errorf("after a batch, the pause is %s", pause)
	}
	e.wantWaiting(WaitingJobs{})
}
