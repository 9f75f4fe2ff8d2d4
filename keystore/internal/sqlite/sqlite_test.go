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
		{"/var/lib/k.db", purposeWrite, "file:/var/lib/k.db?_busy_timeout=0&_foreign_keys=on&_journal_mode=WAL&_stmt_cache_size=64&_synchronous=FULL&_txlock=immediate&mode=rw"},
		{"/var/lib/k.db", purposeWriteRelaxed, "file:/var/lib/k.db?_busy_timeout=0&_foreign_keys=on&_journal_mode=WAL&_stmt_cache_size=64&_synchronous=NORMAL&_txlock=immediate&mode=rw"},
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
	tx, err := db.Begin(ctx, engine.Relaxed)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(t.Context(), tx); err != nil {
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
		return db.Follow(t.Context(), func(engine.Querier, bool) error { return nil })
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

// Follow reads when another connection has written, and reads again what could not be read.
func TestFollow_ReadsWhatIsNew(t *testing.T) {
	t.Parallel()
	db := open(t)
	reads := 0
	var fails error
	follow := func() error {
		return db.Follow(t.Context(), func(engine.Querier, bool) error { reads++; return fails })
	}
	want := func(what string, err error, n int) {
		t.Helper()
		if got := follow(); !errors.Is(got, err) || reads != n {
			t.Errorf("%s: %v after %d reads, want %v after %d", what, got, reads, err, n)
		}
	}
	want("at first", nil, 1)
	want("nothing is new", nil, 1)
	if _, err := db.writer.Exec(`INSERT INTO meta (name, value) VALUES ('a', 'b')`); err != nil {
		t.Fatal(err)
	}
	fails = errors.New("no")
	want("it cannot be read", fails, 2)
	fails = nil
	want("again", nil, 3)
	want("then nothing is new", nil, 3)
}

// A file that is gone, or is another one, is lost: nothing is written to it or read from it.
func TestPlace_IsCheckedFirst(t *testing.T) {
	t.Parallel()
	for _, replaced := range []bool{false, true} {
		db := open(t)
		if err := os.Rename(db.path, db.path+".away"); err != nil {
			t.Fatal(err)
		}
		want := errGone
		if replaced {
			want = engine.ErrReplaced
			if err := os.WriteFile(db.path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, beginErr := db.Begin(t.Context(), 0)
		_, relaxedErr := db.Begin(t.Context(), engine.Relaxed)
		followErr := db.Follow(t.Context(), func(engine.Querier, bool) error { t.Error("it was read"); return nil })
		exportErr := db.Export(t.Context(), filepath.Join(t.TempDir(), "copy"))
		for what, err := range map[string]error{"Begin": beginErr, "relaxed": relaxedErr, "Follow": followErr} {
			if !errors.Is(err, want) || !engine.IsLost(err) {
				t.Errorf("replaced %t: %s returns %v, want %v", replaced, what, err, want)
			}
		}
		if exportErr == nil {
			t.Errorf("replaced %t: another file was exported", replaced)
		}
		if err := os.Rename(db.path+".away", db.path); err != nil {
			t.Fatal(err)
		}
	}
}

// A state that SQLite's own writes explain is accepted, and becomes the one to compare with.
func TestFollow_AcceptsWhatSQLiteExplains(t *testing.T) {
	t.Parallel()
	db := open(t)
	now, err := db.readState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(db.path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	changed, err := os.Stat(db.path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit      func(*fileState)
		explained bool
	}{
		"unchanged":             {func(*fileState) {}, true},
		"frames were moved":     {func(f *fileState) { f.info = changed; f.checkpointed++ }, true},
		"the log begins again":  {func(f *fileState) { f.info = changed; f.frames-- }, true},
		"others have written":   {func(f *fileState) { f.info = changed; f.version++ }, true},
		"nothing explains it":   {func(f *fileState) { f.info = changed }, false},
		"frames were added":     {func(f *fileState) { f.info = changed; f.frames++ }, false},
		"only frames are added": {func(f *fileState) { f.frames++ }, true},
	} {
		state := now
		c.edit(&state)
		db.follower.file, db.follower.unexplained = now, 3
		if err := db.checkOverwritten(t.Context(), state); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, unexplained := state, 0
		if !c.explained {
			want, unexplained = now, 4
		}
		if f := db.follower; f.file != want || f.unexplained != unexplained {
			t.Errorf("%s: %d unexplained, and the new state is the one to compare with: %t", name, f.unexplained, f.file == state)
		}
	}
	db.follower.file = now
}

// A file with the tables of another store was overwritten. A reader whose time is over does
// not say so.
func TestFollow_ReadsTheFileWithoutACache(t *testing.T) {
	t.Parallel()
	db := open(t)
	if err := db.checkReadable(t.Context()); err != nil {
		t.Errorf("a whole file: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.checkReadable(ended); err == nil || engine.IsLost(err) {
		t.Errorf("a reader that gave up: %v", err)
	}
	id := db.follower.storeID
	db.follower.storeID = "another"
	if err := db.checkReadable(t.Context()); !errors.Is(err, errOverwritten) {
		t.Errorf("another store: %v", err)
	}
	db.follower.storeID = id
	if _, err := db.writer.Exec(`ALTER TABLE feed RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	if err := db.checkReadable(t.Context()); !errors.Is(err, errOverwritten) {
		t.Errorf("without its feed: %v", err)
	}
}

// Only the files of this database are removed, and not those of the next one at the path.
func TestRemoveBeside_LeavesTheFilesOfOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := &database{path: filepath.Join(dir, "keystore.db")}
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(name, []byte("frames"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(d.path + "-wal")
	write(d.path + "-shm")
	d.noteBeside()
	if err := os.Rename(d.path+"-wal", d.path+".kept"); err != nil { // keeps its inode in use
		t.Fatal(err)
	}
	write(d.path + "-wal")
	d.removeBeside()
	if !hasContent(d.path + "-wal") {
		t.Error("the -wal file of another database was removed")
	}
	if hasContent(d.path + "-shm") {
		t.Error("the -shm file is there")
	}
}
