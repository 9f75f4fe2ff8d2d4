package keystore

import (
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// If the database commits a job and its answer does not arrive, the job is recorded at the site too, so that the client gets
// its answer. When answers arrive again, the database has the job once.
func TestAdmitJobs_TheDatabaseCommitsAndItsAnswerIsLost(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	direct := server.NewDatabase(t)
	other := openStore(t, "", inPostgres(direct))
	owner, _ := other.key(other.account().ID)
	relay := postgrestest.NewRelay(t, direct)
	f := openStore(t, "", inPostgres(relay.DSN), admitting(t.TempDir()))
	f.waitForReplica()
	f.job(owner, "before") // the connection is open

	relay.SetMute(true)
	j := policy.Job{Backend: "amivoice", ID: "its answer is lost", Dialect: "amivoice", AccountID: owner.AccountID, KeyID: owner.ID, CreatedAt: start}
	begun := time.Now()
	if err := f.CreateJob(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	t.Logf("the job was recorded after %s", time.Since(begun))
	other.wantJob("in the database", j)
	f.wantWaiting(WaitingJobs{Waiting: 1})
	f.wantJob("at the site", j)

	relay.SetMute(false)
	testutil.Eventually(t, "the job is sent on", func() bool { return f.waiting().Waiting == 0 })
	f.wantJob("after it was sent on", j)
	if n := count(t, rawDB(t, direct), `SELECT COUNT(*) FROM jobs`); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}
