package keystore

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// A store whose database is away begins with a replica only if it may be trusted.
func TestReplica_AStoreBeginsWithItOnlyIfItMayBeTrusted(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	filled := filepath.Join(t.TempDir(), "filled")
	f := openStore(t, "", inPostgres(dsn), withReplica(filled))
	_, secret := f.key(f.account().ID)
	f.waitForReplica()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	at := func(now policy.Time) func(*Config) {
		return func(c *Config) { c.Clock = func() policy.Time { return now } }
	}
	file := func(change func(*testing.T, *sql.DB)) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			db := rawDB(t, path)
			change(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, path string)
		cfg    func(*Config)
		want   string // empty: it begins
	}{
		{"as it was", nil, nil, ""},
		{"within max_staleness", nil, at(start.Add(time.Hour - 2*time.Minute)), ""},
		{"after max_staleness", nil, at(start.Add(time.Hour)), "more than max_staleness"},
		{"the clock was set back a little", nil, at(start.Add(-time.Second)), ""},
		{"the clock was set back", nil, at(start.Add(-3 * time.Second)), "the clock is behind"},
		{"no file", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, nil, "it is not complete"},
		{"not complete", file(func(t *testing.T, db *sql.DB) {
			t.Helper()
			mustExec(t, db, `UPDATE position SET phase = 1`)
		}), nil, "it is not complete"},
		{"with another pepper", nil, withPepper("0123456789abcdef"), "its pepper is not the one that is configured"},
		{"of a database with another name", file(func(t *testing.T, db *sql.DB) {
			t.Helper()
			mustExec(t, db, `UPDATE position SET place = 'postgres://other.example.com/speechgate'`)
		}), nil, "it is the copy of postgres://other.example.com/speechgate"},
		{"of a newer version", file(func(t *testing.T, db *sql.DB) {
			t.Helper()
			mustExec(t, db, `UPDATE position SET compatible = 1000`)
		}), nil, "run the newer program"},
		{"of another format", file(func(t *testing.T, db *sql.DB) {
			t.Helper()
			mustExec(t, db, `PRAGMA user_version = 1000`)
		}), nil, "it is not complete"},
		{"old by the time that the store before has counted", file(func(t *testing.T, db *sql.DB) {
			t.Helper()
			mustExec(t, db, `UPDATE position SET age = 3600000`)
		}), nil, "more than max_staleness"},
		{"no database", func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(strings.Repeat("damaged ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, "it is not complete"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			content, err := os.ReadFile(filepath.Join(filled, "replica.db"))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "replica.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(t, path)
			}
			cfg := []func(*Config){inPostgres(dsn), withReplica(dir)}
			if c.cfg != nil {
				cfg = append(cfg, c.cfg)
			}
			s, _, err := tryStore("", cfg...)
			if err == nil {
				defer func() { _ = s.Close() }()
			}
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "":
				if _, err := s.FindKey(t.Context(), secret); err != nil {
					t.Error(err)
				}
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Errorf("error %v, want %q", err, c.want)
			default:
				wantIs(t, err, ErrUnavailable)
			}
		})
	}
}

// A store that began with its replica falls silent when the replica is as old as max_staleness: live streams end.
func TestReplica_AStoreThatBeganWithItFallsSilent(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn, dir := server.NewDatabase(t), t.TempDir()
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	_, secret := f.key(f.account().ID)
	f.waitForReplica()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	const old = 20 * time.Minute
	g := openStore(t, "", inPostgres(dsn), withReplica(dir), func(c *Config) { c.Clock = func() policy.Time { return start.Add(old) } })
	g.takeOverPolling()
	told, _, cancel := g.watch(secret)
	defer cancel()
	g.advance(time.Hour - old - 2*time.Minute)
	g.feed.poll(t.Context())
	if n, silence := told.Load(), g.Silence(); n != 0 || silence != 0 {
		t.Errorf("within max_staleness: told %d times, silent for %s", n, silence)
	}
	g.advance(2 * time.Minute)
	g.feed.poll(t.Context())
	if n, silence := told.Load(), g.Silence(); n != 1 || silence < time.Hour || silence > time.Hour+5*time.Minute {
		t.Errorf("after max_staleness: told %d times, silent for %s; want once, and for an hour", n, silence)
	}
	server.StartAgain(t)
	testutil.Eventually(t, "the store hears the database", func() bool {
		g.feed.poll(t.Context())
		return g.Silence() == 0
	})
}

// A database that answers and refuses is not one that is away.
func TestReplica_ARefusalOfTheDatabaseIsNoReasonToBeginWithIt(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn, dir := server.NewDatabase(t), t.TempDir()
	fillReplica(t, dsn, dir)
	for name, other := range map[string]string{
		"the password is wrong":     strings.Replace(dsn, server.Password(), "wrong", 1),
		"there is no such database": dsn[:strings.LastIndex(dsn, "/")] + "/missing" + dsn[strings.IndexByte(dsn, '?'):],
	} {
		s, _, err := tryStore("", inPostgres(other), withReplica(dir))
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: the store begins with its replica", name)
		}
	}
}

// A replica of another keystore, or one whose changes were undone, is not used, and made again.
func TestReplica_IsMadeAgainForAnotherKeystore(t *testing.T) {
	t.Parallel()
	server, dir := postgrestest.Start(t), t.TempDir()
	one := openStore(t, "", inPostgres(server.NewDatabase(t)), withReplica(dir))
	_, secret := one.key(one.account().ID)
	one.waitForReplica()
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	var logs *observer.ObservedLogs
	f := openStore(t, "", inPostgres(server.NewDatabase(t)), withReplica(dir), logTo(&logs))
	_, other := f.key(f.account().ID)
	f.waitForReplica()
	if logs.FilterMessageSnippet("the replica is set aside").Len() != 1 {
		t.Errorf("the log is %v", logs.All())
	}
	away := fault(errAway)
	if _, err := f.replica.key(t.Context(), f.hash.secret(secret), away); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a key of the other keystore: %v", err)
	}
	if _, err := f.replica.key(t.Context(), f.hash.secret(other), away); err != nil {
		t.Errorf("a key of this keystore: %v", err)
	}
}

// A directory that cannot be used is an error that says what is wrong.
func TestReplica_ADirectoryThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	for _, c := range []struct {
		name string
		dir  func(t *testing.T) string
		want string
	}{
		{"relative", func(*testing.T) string { return "replica" }, `replica "replica": want the whole path of a directory`},
		{"a file", func(t *testing.T) string {
			t.Helper()
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "not a directory"},
		{"that all users can write", func(t *testing.T) string {
			t.Helper()
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "can be written by all users"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, _, err := tryStore("", inPostgres(dsn), withReplica(c.dir(t)))
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "replica") {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	dir := filepath.Join(t.TempDir(), "new", "dir")
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	f.waitForReplica()
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "replica.db"): 0o600} {
		if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v %v, want %v", path, fi, err, mode)
		}
	}
}
