package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

func TestOpen_OddFileNames(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	for _, name := range []string{"a?mode=memory", "b#c", "d%41", "e f&_query_only=on", "日本;g=h"} {
		path := filepath.Join(t.TempDir(), name)
		f := openStore(t, path)
		f.account()
		if fi, err := os.Stat(path); err != nil || fi.Size() == 0 {
			t.Errorf("%q: the file is not there: %v", name, err)
		}
	}
}

func TestOpen_OwnerOnly(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	dir := filepath.Join(t.TempDir(), "new", "dirs")
	path := filepath.Join(dir, "keystore.db")
	openStore(t, path).account()
	for name, want := range map[string]os.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
		if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %v", name, fi, err, want)
		}
	}

	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	openStore(t, filepath.Join(open, "keystore.db"))
	if fi, _ := os.Stat(open); fi.Mode().Perm() != 0o755 {
		t.Errorf("the mode of a directory that was there is now %v", fi.Mode())
	}
}

func TestOpen_EmptyFileIsNew(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path := newPath(t)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	openStore(t, path).account()
}

// Open refuses a file that is not a keystore, and does not change it. The error is one line
// that names the file.
func TestOpen_Refuses(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	valid := func(t *testing.T, path string) {
		f := openStore(t, path)
		f.key(f.account().ID)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		make func(t *testing.T, path string) error
		want string
	}{
		{"garbage", func(_ *testing.T, p string) error {
			return os.WriteFile(p, []byte(strings.Repeat("not a database ", 999)), 0o600)
		}, "want a keystore made by this program"},
		{"a few bytes", func(_ *testing.T, p string) error { return os.WriteFile(p, []byte("xyz"), 0o600) }, "want a keystore"},
		{"cut short", func(t *testing.T, p string) error { valid(t, p); return os.Truncate(p, 3*4096) }, "restore it from a backup"},
		{"a directory", func(_ *testing.T, p string) error { return os.Mkdir(p, 0o700) }, "want the name of a file, such as"},
		{"under a file", func(_ *testing.T, p string) error {
			return errors.Join(os.Remove(filepath.Dir(p)), os.WriteFile(filepath.Dir(p), nil, 0o600))
		}, "not a directory"},
		{"a dangling link", func(_ *testing.T, p string) error { return os.Symlink("nowhere", p) }, "there is no file"},
		{"of another program", func(t *testing.T, p string) error {
			if err := os.WriteFile(p, nil, 0o600); err != nil {
				return err
			}
			mustExec(t, rawDB(t, p), `CREATE TABLE accounts (id TEXT)`)
			return nil
		}, "database of another program"},
		{"newer schema", func(t *testing.T, p string) error {
			valid(t, p)
			mustExec(t, rawDB(t, p), `INSERT INTO schema_version (version_id, is_applied) VALUES ($1, 1)`, engine.SchemaVersion+1)
			mustExec(t, rawDB(t, p), `UPDATE meta SET value = $1 WHERE name = 'compatible'`, strconv.Itoa(engine.SchemaVersion+1))
			return nil
		}, fmt.Sprintf("schema is version %d, and this program knows versions up to %d", engine.SchemaVersion+1, engine.SchemaVersion)},
		{"a table lost", func(t *testing.T, p string) error {
			valid(t, p)
			mustExec(t, rawDB(t, p), `ALTER TABLE jobs RENAME TO jabs`)
			return nil
		}, "no such table: jobs"},
		{"the table of last uses lost", func(t *testing.T, p string) error {
			valid(t, p)
			mustExec(t, rawDB(t, p), `ALTER TABLE last_uses RENAME TO lost_uses`)
			return nil
		}, "no such table: last_uses"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "dir", "keystore.db")
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), c.make(t, path)); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			s, _, err := tryStore(path)
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if msg := err.Error(); !strings.Contains(msg, path) || !strings.Contains(msg, c.want) || strings.Contains(msg, "\n") {
				t.Errorf("error %q, want one line with the path and %q", msg, c.want)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOpen_CommandLineRefusesAnotherUsersFile(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path, owner := "/etc/passwd", 0 // only root can give a file away
	if os.Geteuid() == 0 {
		path, owner = newPath(t), 12345
		_ = openStore(t, path).Close()
		if err := os.Chown(path, owner, -1); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err := tryStore(path, commandLine)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("belongs to the user with ID %d", owner)) {
		t.Errorf("error %v", err)
	}
}

// Many processes may start on a new file at once. Stores of one process behave alike,
// because SQLite locks between connections.
func TestOpen_ManyAtOnceOnANewFile(t *testing.T) {
	t.Parallel()
	for range 5 {
		path := newPath(t)
		ids := make([]string, 8)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				s, _, err := tryStore(path, withPepper("a pepper for all of them"))
				if err != nil {
					t.Error(err)
					return
				}
				db, _ := s.database()
				ids[i] = db.id
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id == "" || id != ids[0] {
				t.Fatalf("the store has many IDs: %q", ids)
			}
		}
		if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM audit WHERE action = 'pepper_add'`); n != 1 {
			t.Errorf("the pepper was added %d times", n)
		}
	}
}

func TestOpen_ContextEnds(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	_ = openStore(t, path).Close()
	db := rawDB(t, path)
	tx, err := db.Begin() // holds the write lock
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, configOf(inPlace(path), withPepper("needs the lock"))); err == nil {
		t.Error("it was opened")
	}
}

func TestClose_IsIdempotentAndFinal(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	key, secret := f.key(f.account().ID)
	f.find(secret)
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := f.FindKey(t.Context(), secret)
	wantIs(t, err, ErrClosed)
	_, err = f.FindJob(t.Context(), "b", "j")
	wantIs(t, err, ErrClosed)
	_, err = f.Key(t.Context(), key.ID)
	wantIs(t, err, ErrClosed)
	wantIs(t, f.CreateJob(t.Context(), policy.Job{Backend: "b", ID: "j", CreatedAt: start}), ErrClosed)
	f.NoteUse(&Record{}, start)
}

// replaceFile puts the file from over path, as an operator restores a backup.
func replaceFile(t *testing.T, from, path string) {
	t.Helper()
	if err := os.Rename(from, path); err != nil {
		t.Fatal(err)
	}
}

func TestFileReplaced(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path, other := newPath(t), newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs))
	_, old := f.key(f.account().ID)
	f.find(old)
	g := openStore(t, other)
	_, fresh := g.key(g.account().ID)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}

	// A reader keeps SQLite from emptying the old -wal file. The new file must not get
	// this -wal file.
	db, _ := f.database()
	reading, err := db.reader.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := reading.QueryRow(`SELECT COUNT(*) FROM accounts`).Scan(new(int)); err != nil {
		t.Fatal(err)
	}
	f.key(f.account().ID)

	replaceFile(t, other, path)
	testutil.Eventually(t, "the new file is served", func() bool {
		r, err := f.FindKey(t.Context(), fresh)
		return err == nil && r.Found()
	})
	if f.find(old) != nil {
		t.Error("a key of the old file is still served")
	}
	if err := reading.Rollback(); err != nil {
		t.Error(err)
	}
	a := f.account() // and it can be written
	if n := logs.FilterMessage("the keystore is available again").Len(); n != 1 {
		t.Errorf("%d log lines say that it is available again", n)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(t, path).Account(t.Context(), a.ID); err != nil {
		t.Errorf("what was written after the replacement: %v", err)
	}
}

// Closing tells the watchers, so that they do not go on with a record that nobody updates.
func TestClose_NotifiesWatchers(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	_, secret := f.key(f.account().ID)
	told, r, cancel := f.watch(secret)
	defer cancel()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if told.Load() == 0 {
		t.Error("the watcher was not told")
	}
	_, err := f.Reread(t.Context(), r)
	wantIs(t, err, ErrClosed)
}

// A server follows the changes of others, finds leaps of the clock, writes the last uses,
// keeps a reserve and prunes. A command does nothing in the background.
func TestTasks_AreAllTheBackgroundWork(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, func(c *Config) { c.minFree, c.reserve, c.MaxStaleness = 1, 4096, time.Hour })
	f.takeOverPolling()
	f.room.free = func(string) int64 { return spaceUnknown }
	ending, endingSecret := f.key(f.account().ID)
	_, secret := f.key(ending.AccountID, func(k *NewKey) { k.Expires = policy.Never() })
	f.find(endingSecret)
	beside := openStore(t, path, commandLine)
	if _, err := beside.RevokeKey(t.Context(), start, operator, ending.ID, ""); err != nil {
		t.Fatal(err)
	}
	now := start.Add(200 * day)
	f.NoteUse(f.find(secret), now)
	f.CountUsage(now, &UsageOf{}, UsageCounts{Requests: 1})
	leapt := false
	f.clock.leapt = func() { leapt = true }
	f.clock.check()
	f.clock.clock = func() policy.Time { return now }
	f.cfg.Clock = f.clock.clock
	if err := os.Remove(f.room.reserve); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if statusOf(f.find(endingSecret), start) != keyActive {
		t.Fatal("the change of the other process counts before it was read")
	}
	mustExec(t, rawDB(t, path), `INSERT INTO usage_journal (counts) VALUES ($1)`, encodeUsage([]takenUsage{{UsageCounts: UsageCounts{Requests: 1}}}))
	f.feed.poll(t.Context())
	tasks := f.tasks()
	prune := len(tasks) - 1
	for _, task := range tasks[:prune] {
		task.run(t.Context())
	}
	if r := f.find(endingSecret); r == nil || statusOf(r, start) != "revoked" {
		t.Error("the change of the other process was not read")
	}
	if !leapt {
		t.Error("the leap of the clock was not found")
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM last_uses WHERE at = $1`, now); n != 1 {
		t.Error("the last use was not written")
	}
	if n := f.journal(); n != 0 {
		t.Error("the journal of the usage was not folded")
	}
	if f.sumOf(UsageList{}).Requests != 2 {
		t.Error("the usage was not written")
	}
	if !isPostgres(path) && missing(f.room.reserve) {
		t.Error("there is no reserve")
	}
	tasks[prune].run(t.Context())
	if f.find(endingSecret) != nil {
		t.Error("the key that ended long ago was not pruned")
	}
	if n := len(beside.tasks()); n != 0 {
		t.Errorf("a command has %d tasks in the background", n)
	}
}
