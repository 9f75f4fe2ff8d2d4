package keystore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
)

// A configuration that is tried while the database is away, and not used, takes the replica from no store for long.
func TestReplica_AConfigurationThatIsTriedGivesItBack(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn, dir := server.NewDatabase(t), t.TempDir()
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	_, secret := f.key(f.account().ID)
	f.waitForReplica()
	server.Stop(t)
	waitUntilAway(f)
	f.wantFound("a key before the trial", secret, keyActive)
	tried, _, err := tryStore("", inPostgres(dsn), withReplica(dir), func(c *Config) { c.MaxStaleness = 2 * time.Hour })
	if err != nil {
		t.Fatal(err)
	}
	if err := tried.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the store writes how old the file is, and finds another owner
		f.advance(2 * replicaEvery)
		testutil.Eventually(t, "the replica is read again", func() bool {
			_, err := f.FindKey(t.Context(), secret)
			return err == nil
		})
	}
}

// A file that was removed is made again.
func TestReplica_AFileThatWasRemoved(t *testing.T) {
	t.Parallel()
	var logs *observer.ObservedLogs
	dsn, dir := postgrestest.Start(t).NewDatabase(t), t.TempDir()
	f := openStore(t, "", inPostgres(dsn), withReplica(dir), logTo(&logs))
	f.waitForReplica()
	path := filepath.Join(dir, "replica.db")
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	testutil.Eventually(t, "there is a file again", func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
	f.waitForReplica()
	if n := logs.FilterMessageSnippet("was removed or replaced").Len(); n != 1 {
		t.Errorf("%d log entries", n)
	}
}

// A replica that another process has locked keeps no gateway from its start.
func TestReplica_AFileThatIsLocked(t *testing.T) {
	t.Parallel()
	dsn, dir := postgrestest.Start(t).NewDatabase(t), t.TempDir()
	fillReplica(t, dsn, dir)
	db := rawDB(t, filepath.Join(dir, "replica.db"))
	db.SetMaxOpenConns(1)
	mustExec(t, db, `BEGIN IMMEDIATE`)
	var logs *observer.ObservedLogs
	f := openStore(t, "", inPostgres(dsn), withReplica(dir), logTo(&logs))
	f.key(f.account().ID)
	if n := logs.FilterMessageSnippet("the replica cannot be opened").Len(); n != 1 {
		t.Errorf("%d log entries", n)
	}
	mustExec(t, db, `ROLLBACK`)
	f.waitForReplica()
}
