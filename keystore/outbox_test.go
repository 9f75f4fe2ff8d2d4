package keystore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// admitting gives a store in PostgreSQL a replica, and lets it take new jobs while the database is away.
func admitting(dir string) func(*Config) {
	return func(c *Config) {
		withReplica(dir)(c)
		c.Postgres.AdmitJobs = true
	}
}

// site is a gateway at an edge site, whose test polls and sends by itself, and another gateway.
type site struct {
	fixture

	server *postgrestest.Server
	dsn    string
	dir    string
	other  fixture
	logs   *observer.ObservedLogs
	owner  policy.Key
	secret policy.Secret
}

func newSite(t *testing.T) *site {
	t.Helper()
	e := &site{server: postgrestest.New(t), dir: t.TempDir()}
	e.dsn = e.server.NewDatabase(t)
	e.other = openStore(t, "", inPostgres(e.dsn))
	e.owner, e.secret = e.other.key(e.other.account().ID)
	e.open(t)
	return e
}

// open opens the store at the site. If the database answers, it waits until the replica is complete.
func (e *site) open(t *testing.T, options ...func(*Config)) {
	t.Helper()
	e.fixture = openStore(t, "", append([]func(*Config){inPostgres(e.dsn), admitting(e.dir), logTo(&e.logs)}, options...)...)
	if e.answers() == nil {
		e.waitForReplica()
	}
}

// leave stops the database, and waits until the store knows it.
func (e *site) leave(t *testing.T) {
	t.Helper()
	e.server.Stop(t)
	waitUntilAway(e.fixture)
	e.takeOverPolling()
}

// comeBack starts the database, and waits until the store and the other one know it.
func (e *site) comeBack(t *testing.T) {
	t.Helper()
	e.server.StartAgain(t)
	e.waitUntilBack(t)
}

// waitUntilBack polls until the store knows that the database answers, and waits until the other one knows it.
func (e *site) waitUntilBack(t *testing.T) {
	t.Helper()
	testutil.Eventually(t, "the database answers", func() bool {
		e.feed.poll(t.Context())
		return e.answers() == nil && e.other.answers() == nil
	})
}

// sendAll sends until no job waits.
func (e *site) sendAll(t *testing.T) {
	t.Helper()
	testutil.Eventually(t, "all jobs are sent on", func() bool {
		e.outbox.step(t.Context())
		return e.waiting().Waiting == 0
	})
	e.outbox.step(t.Context())
}

func (f fixture) waiting() WaitingJobs {
	f.t.Helper()
	n, ok, err := f.WaitingJobs(f.t.Context())
	if err != nil || !ok {
		f.t.Fatalf("the jobs that wait: %t %v", ok, err)
	}
	return n
}

func (f fixture) wantWaiting(want WaitingJobs) {
	f.t.Helper()
	if got := f.waiting(); got != want {
		f.t.Errorf("%+v, want %+v", got, want)
	}
}

// wantJob wants the store to find a job as it is.
func (f fixture) wantJob(what string, want policy.Job) {
	f.t.Helper()
	for _, find := range []func() (policy.Job, error){
		func() (policy.Job, error) { return f.FindJob(f.t.Context(), want.Backend, want.ID) },
		func() (policy.Job, error) { return f.FindJobFor(f.t.Context(), want.AccountID, want.Backend, want.ID) },
	} {
		if got, err := find(); err != nil || got != want {
			f.t.Errorf("%s: %+v %v, want %+v", what, got, err, want)
		}
	}
}

func (f fixture) wantNoJob(accountID, id string, want error) {
	f.t.Helper()
	_, err := f.FindJobFor(f.t.Context(), accountID, "amivoice", id)
	wantIs(f.t, err, want)
	if _, unknown := f.FindJobFor(f.t.Context(), accountID, "amivoice", id+" never made"); err == nil || err.Error() != unknown.Error() {
		f.t.Errorf("the account can tell the job from an unknown one: %v, and %v", err, unknown)
	}
}

// A job that is created while the database is away is on the disk of the site. Its account finds it there, also after a
// restart, and nobody else does. When the database is back, it is sent on with the state that was seen last, and other gateways know it.
func TestAdmitJobs_RecordsAtTheSiteAndSendsOn(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	stranger := e.other.account()
	e.waitForReplica()
	if err := e.CheckJobRoom(); err != nil {
		t.Error(err)
	}
	e.leave(t)
	if err := e.CheckJobRoom(); err != nil {
		t.Errorf("a job is not admitted: %v", err)
	}
	wantIs(t, e.CheckRoom(), ErrUnavailable)
	job := e.job(e.owner, "made away")
	e.wantJob("while the database is away", job)
	e.wantNoJob(stranger.ID, job.ID, ErrUnavailable)
	wantIs(t, e.CreateJob(t.Context(), job), ErrJobExists)
	for _, state := range []policy.JobState{policy.JobProcessing, policy.JobCompleted, policy.JobStarted} {
		if err := e.SetJobState(t.Context(), job.Backend, job.ID, state, start.Add(time.Minute)); err != nil {
			t.Error(err)
		}
	}
	job.State, job.EndedAt = policy.JobCompleted, start.Add(time.Minute)
	e.wantJob("with its state", job)
	e.wantWaiting(WaitingJobs{Waiting: 1})
	if n := e.logs.FilterMessageSnippet("jobs are recorded at this site").FilterLevelExact(zapcore.WarnLevel).Len(); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	e.open(t)
	e.takeOverPolling()
	e.wantJob("after a restart", job)
	if err := e.CheckJobRoom(); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	second := e.job(e.owner, "made after the restart")
	e.comeBack(t)
	for _, j := range []policy.Job{job, second} {
		e.wantJob("before it is sent on", j)
		e.other.wantNoJob(e.owner.AccountID, j.ID, ErrNotFound)
	}
	accounts, err := e.JobAccounts(t.Context(), "amivoice", []string{job.ID, "never made", second.ID})
	if err != nil || len(accounts) != 3 || accounts[0] != e.owner.AccountID || accounts[1] != "" || accounts[2] != e.owner.AccountID {
		t.Errorf("the accounts of a list: %q %v", accounts, err)
	}
	e.sendAll(t)
	for _, j := range []policy.Job{job, second} {
		e.wantJob("after it was sent on", j)
		e.other.wantJob("at another gateway", j)
	}
	if n := e.logs.FilterMessageSnippet("all jobs that were recorded at this site were sent on").Len(); n != 1 {
		t.Errorf("the log says %d times that all were sent on", n)
	}
	third := e.job(e.owner, "made when the database was back")
	e.other.wantJob("at another gateway", third)
	e.wantWaiting(WaitingJobs{})
}

// A job that was sent on is in the replica at the next outage.
func TestAdmitJobs_AJobThatWasSentOnIsInTheReplica(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	job := e.job(e.owner, "made away")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.server.StartAgain(t)
	e.open(t)
	testutil.Eventually(t, "the job is sent on", func() bool { return e.waiting().Waiting == 0 })
	e.waitForItems()
	e.leave(t)
	e.wantJob("at the next outage", job)
}

// The age of the replica bounds for how long jobs are admitted. A job that was admitted before is recorded nevertheless.
func TestAdmitJobs_AdmitsForMaxStaleness(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	e.advance(time.Hour - time.Minute)
	if err := e.CheckJobRoom(); err != nil {
		t.Errorf("within max_staleness: %v", err)
	}
	e.advance(2 * time.Minute)
	wantIs(t, e.CheckJobRoom(), ErrUnavailable)
	e.job(e.owner, "its upload took long")
	e.wantWaiting(WaitingJobs{Waiting: 1})
}

// Only a database that does not answer lets jobs be recorded at the site.
func TestAdmitJobs_ARefusalOfTheDatabaseIsNoOutage(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	j := policy.Job{Backend: "amivoice", ID: "of no key", AccountID: e.owner.AccountID, KeyID: "key_none", CreatedAt: start}
	wantIs(t, e.CreateJob(t.Context(), j), ErrUnavailable)
	wantIs(t, e.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "of no time"}), ErrInvalid)
	e.wantWaiting(WaitingJobs{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := tryStore("", inPostgres(strings.Replace(e.dsn, e.server.Password(), "wrong", 1)), admitting(e.dir))
	if err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("a wrong password: %v", err)
	}
	_, _, err = tryStore("", inPostgres(e.dsn), func(c *Config) { c.Postgres.AdmitJobs = true })
	if err == nil || !strings.Contains(err.Error(), "admit_jobs needs replica") {
		t.Errorf("without a replica: %v", err)
	}
}

// Without the option, jobs are refused while the database is away, and those that wait from before are found and sent on.
func TestAdmitJobs_WithoutTheOptionTheJobsOfBeforeAreSentOn(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	job := e.job(e.owner, "made away")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.open(t, func(c *Config) { c.Postgres.AdmitJobs = false })
	e.takeOverPolling()
	wantIs(t, e.CheckJobRoom(), ErrUnavailable)
	wantIs(t, e.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "new", AccountID: e.owner.AccountID, KeyID: e.owner.ID, CreatedAt: start}), ErrUnavailable)
	e.wantJob("without the option", job)
	e.comeBack(t)
	e.sendAll(t)
	e.other.wantJob("at another gateway", job)
}

// A store without the option makes no file.
func TestAdmitJobs_WithoutTheOptionThereIsNoFile(t *testing.T) {
	t.Parallel()
	f := openStore(t, "", inPostgres(postgrestest.Start(t).NewDatabase(t)), withReplica(t.TempDir()))
	f.waitForReplica()
	f.takeOverPolling()
	f.outbox.step(t.Context())
	if n, ok, err := f.WaitingJobs(t.Context()); ok || err != nil {
		t.Errorf("%+v %v", n, err)
	}
	if names, err := filepath.Glob(filepath.Join(f.cfg.Postgres.Replica, "jobs.db*")); err != nil || len(names) > 0 {
		t.Errorf("%v %v", names, err)
	}
}

// Many jobs at the same time are all recorded, and one whose ID is recorded already fails alone.
func TestAdmitJobs_ManyAtTheSameTime(t *testing.T) {
	t.Parallel()
	e := newSite(t)
	e.leave(t)
	const jobs = 4000 // more than are sent at a time
	var creating sync.WaitGroup
	var mu sync.Mutex
	var next atomic.Int64
	twice := 0
	begun := time.Now()
	for range 64 {
		creating.Go(func() {
			for n := next.Add(1); n <= jobs+50; n = next.Add(1) {
				j := policy.Job{Backend: "amivoice", ID: fmt.Sprint("job ", n%jobs), Dialect: "amivoice", AccountID: e.owner.AccountID, KeyID: e.owner.ID, CreatedAt: start}
				err := e.CreateJob(t.Context(), j)
				mu.Lock()
				if errors.Is(err, ErrJobExists) {
					twice++
				} else if err != nil {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	creating.Wait()
	t.Logf("64 clients: %.0f jobs a second", jobs/time.Since(begun).Seconds())
	if twice != 50 {
		t.Errorf("%d jobs were refused, want 50", twice)
	}
	e.wantWaiting(WaitingJobs{Waiting: jobs})
	e.comeBack(t)
	e.sendAll(t)
	if n := count(t, rawDB(t, e.dsn), `SELECT COUNT(*) FROM jobs`); n != jobs {
		t.Errorf("%d jobs are in the database, want %d", n, jobs)
	}
}
