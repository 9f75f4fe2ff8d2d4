package keystore

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// silentSite is a gateway at an edge site, whose way to the database can fall silent, and another gateway, which has another way.
type silentSite struct {
	fixture

	direct string // connection string of the other gateway
	other  fixture
	relay  *postgrestest.Relay
	owner  policy.Key
}

func newSilentSite(t *testing.T, parameters string) *silentSite {
	t.Helper()
	s := &silentSite{direct: postgrestest.Start(t).NewDatabase(t)}
	s.other = openStore(t, "", inPostgres(s.direct))
	s.owner, _ = s.other.key(s.other.account().ID)
	s.relay = postgrestest.NewRelay(t, strings.Replace(s.direct, "sslmode=disable", parameters, 1))
	s.fixture = openStore(t, "", inPostgres(s.relay.DSN), admitting(t.TempDir()))
	s.waitForReplica()
	s.fixture.job(s.owner, "before") // a connection is open
	return s
}

// job records a job. It fails if the client waits much longer than 10 s.
func (s *silentSite) job(id string) policy.Job {
	s.t.Helper()
	begun := time.Now()
	j := s.fixture.job(s.owner, id)
	if took := time.Since(begun); took > 13*time.Second {
		s.t.Errorf("job %q was recorded after %s, want 10 s", id, took)
	}
	return j
}

// If the database falls silent, a job that it gets is recorded at the site after 10 s, whatever the state of the connections.
func TestAdmitJobs_AClientWaits10SecondsForASilentDatabase(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		parameters string // of the connection
		broken     bool   // no connection is open
	}{
		"on a connection that was idle":            {"sslmode=prefer", false},
		"while it connects, which may take longer": {"sslmode=prefer&connect_timeout=20", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSilentSite(t, test.parameters)
			s.takeOverPolling() // the store does not learn that the database is away
			waitFor(t, 1100*time.Millisecond)
			if test.broken {
				s.relay.BreakAll()
			}
			s.relay.SetMute(true)
			s.job("late")
			s.wantWaiting(WaitingJobs{Waiting: 1})
		})
	}
}

func waitFor(t *testing.T, wait time.Duration) {
	t.Helper()
	begun := time.Now()
	testutil.Eventually(t, wait.String()+" go by", func() bool { return time.Since(begun) > wait })
}

// Jobs behind others that wait for a silent database do not wait for it in their turn.
func TestAdmitJobs_JobsBehindOthersWaitNoLonger(t *testing.T) {
	t.Parallel()
	s := newSilentSite(t, "connect_timeout=10") // so each of the first jobs waits for 10 s
	s.relay.SetMute(true)
	const jobs = 12
	var clients sync.WaitGroup
	for i := range jobs {
		clients.Go(func() { s.job(fmt.Sprint("late ", i)) })
		waitFor(t, 250*time.Millisecond)
	}
	clients.Wait()
	s.wantWaiting(WaitingJobs{Waiting: jobs})
}

// If the database commits a job and its answer does not arrive, the job is recorded at the site too, so that the client gets
// its answer. When answers arrive again, the database has the job once.
func TestAdmitJobs_TheDatabaseCommitsAndItsAnswerIsLost(t *testing.T) {
	t.Parallel()
	f := newSilentSite(t, "sslmode=disable")
	f.relay.SetMute(true)
	j := f.job("its answer is lost")
	f.other.wantJob("in the database", j)
	f.wantWaiting(WaitingJobs{Waiting: 1})
	f.wantJob("at the site", j)

	f.relay.SetMute(false)
	testutil.Eventually(t, "the job is sent on", func() bool { return f.waiting().Waiting == 0 })
	f.wantJob("after it was sent on", j)
	if n := count(t, rawDB(t, f.direct), `SELECT COUNT(*) FROM jobs`); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}
