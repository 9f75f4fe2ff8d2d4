package keystore

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// muteRelay is a TCP proxy in front of a server that can lose all answers of the server.
type muteRelay struct {
	dsn  string // through the relay
	mute atomic.Bool
}

func newMuteRelay(t *testing.T, dsn string) *muteRelay {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := u.Host
	u.Host = listener.Addr().String()
	r := &muteRelay{dsn: u.String()}
	var copies sync.WaitGroup
	pass := func(to, from net.Conn, lost func() bool) {
		defer func() { _, _ = to.Close(), from.Close() }()
		buffer := make([]byte, 4096)
		for {
			n, err := from.Read(buffer)
			if n > 0 && !lost() {
				_, err = to.Write(buffer[:n])
			}
			if err != nil {
				return
			}
		}
	}
	copies.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			copies.Go(func() { pass(server, client, func() bool { return false }) })
			copies.Go(func() { pass(client, server, r.mute.Load) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		copies.Wait() // the store is closed
	})
	return r
}

// If the database commits a job and its answer does not arrive, the job is recorded at the site too, so that the client gets
// its answer. When answers arrive again, the database has the job once.
func TestAdmitJobs_TheDatabaseCommitsAndItsAnswerIsLost(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	direct := server.NewDatabase(t)
	other := openStore(t, "", inPostgres(direct))
	owner, _ := other.key(other.account().ID)
	relay := newMuteRelay(t, direct)
	f := openStore(t, "", inPostgres(relay.dsn), admitting(t.TempDir()))
	f.waitForReplica()
	f.job(owner, "before") // the connection is open

	relay.mute.Store(true)
	j := policy.Job{Backend: "amivoice", ID: "its answer is lost", Dialect: "amivoice", AccountID: owner.AccountID, KeyID: owner.ID, CreatedAt: start}
	begun := time.Now()
	if err := f.CreateJob(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	t.Logf("the job was recorded after %s", time.Since(begun))
	other.wantJob("in the database", j)
	f.wantWaiting(WaitingJobs{Waiting: 1})
	f.wantJob("at the site", j)

	relay.mute.Store(false)
	testutil.Eventually(t, "the job is sent on", func() bool { return f.waiting().Waiting == 0 })
	f.wantJob("after it was sent on", j)
	if n := count(t, rawDB(t, direct), `SELECT COUNT(*) FROM jobs`); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}
