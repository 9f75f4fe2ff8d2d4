package sqlite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// open makes a new database and closes it when the test ends.
func open(t *testing.T) *database {
	t.Helper()
	opened, err := New(filepath.Join(t.TempDir(), "keystore.db"), false).Open(t.Context(), engine.Setup{
		Create:   true,
		Migrated: func(context.Context, engine.Conn, int64) error { return nil },
		Prepare:  func(context.Context, engine.Database) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return opened.(*database)
}

func TestDSN(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path    string
		purpose purpose
		want    string
	}{
		{"/var/lib/k.db", purposeWrite, "file:/var/lib/k.db?_busy_timeout=250&_foreign_keys=on&_journal_mode=WAL&_stmt_cache_size=64&_synchronous=FULL&_txlock=immediate&mode=rw"},
		{"/var/lib/k.db", purposeWriteRelaxed, "file:/var/lib/k.db?_busy_timeout=250&_foreign_keys=on&_journal_mode=WAL&_stmt_cache_size=64&_synchronous=NORMAL&_txlock=immediate&mode=rw"},
		{"/var/lib/k.db", purposeRead, "file:/var/lib/k.db?_busy_timeout=5000&_foreign_keys=on&_query_only=on&_stmt_cache_size=64&mode=ro"},
		{"/a b?mode=memory#x%41", purposeRead, "file:/a%20b%3Fmode=memory%23x%2541?_busy_timeout=5000&_foreign_keys=on&_query_only=on&_stmt_cache_size=64&mode=ro"},
	} {
		if got := dsn(c.path, c.purpose); got != c.want {
			t.Errorf("dsn(%q, %d)\n got %s\nwant %s", c.path, c.purpose, got, c.want)
		}
	}
}

func TestOpen_Pragmas(t *testing.T) {
	t.Parallel()
	db := open(t)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := db.writer.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", pragma, got, err, want)
		}
	}
	for pragma, want := range map[string]string{"synchronous": "1", "foreign_keys": "1", "wal_autocheckpoint": "4000"} {
		var got string
		if err := db.relaxed.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("relaxed: %s is %q, %v; want %q", pragma, got, err, want)
		}
	}
	if _, err := db.reader.Exec(`DELETE FROM accounts`); err == nil {
		t.Error("the read-only pool writes")
	}
}

// A relaxed write does not wait for a durable transaction that has not written yet.
func TestBegin_RelaxedHasAConnectionOfItsOwn(t *testing.T) {
	t.Parallel()
	db := open(t)
	durable, err := db.writer.Conn(t.Context()) // the only one
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = durable.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	tx, err := db.Begin(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(tx); err != nil {
		t.Error(err)
	}
}

// The limit is a number of calls, and not a time, because a machine may be suspended.
// While this process commits, the file may differ for any time, because the disk may be
// slow.
func TestFollow_SlowCheckpointIsNotOverwriting(t *testing.T) {
	t.Parallel()
	db := open(t)
	follow := func() error {
		return db.Follow(t.Context(), func(engine.Querier) error { return nil })
	}
	if err := follow(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(db.path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	db.committing.Store(true)
	for range 2 * maxUnexplained {
		if err := follow(); err != nil {
			t.Fatalf("while the writer commits: %v", err)
		}
	}
	db.committing.Store(false)
	for n := range maxUnexplained {
		if err := follow(); err != nil {
			t.Fatalf("at call %d: %v", n, err)
		}
	}
	if err := follow(); !errors.Is(err, errOverwritten) || !engine.IsLost(err) {
		t.Fatalf("after %d calls: got %v, want %v", maxUnexplained, err, errOverwritten)
	}
}
