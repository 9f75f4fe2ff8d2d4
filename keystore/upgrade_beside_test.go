package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

const nextVersion = engine.SchemaVersion + 1

// migrateToNext changes tables as a newer program does: it adds a table and a column, and writes a
// kind of change that this program does not know. compatible is the oldest version of programs that
// work with these tables.
func migrateToNext(t *testing.T, place func(*Config), compatible int) {
	t.Helper()
	db, versions, applied := rawOf(t, place), "schema_version", "1"
	if cfg := configOf(place); cfg.Postgres != nil {
		versions, applied = "speechgate_schema", "TRUE"
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	for _, statement := range []string{
		`CREATE TABLE added (id TEXT PRIMARY KEY, key_id TEXT REFERENCES api_keys (id) ON DELETE CASCADE)`,
		`ALTER TABLE api_keys ADD COLUMN added INTEGER NOT NULL DEFAULT 7`,
		fmt.Sprintf(`INSERT INTO %s (version_id, is_applied) VALUES (%d, %s)`, versions, nextVersion, applied),
		fmt.Sprintf(`UPDATE meta SET value = '%d' WHERE name = 'compatible'`, compatible),
		`INSERT INTO feed (at, kind, ref) VALUES (1, 'novelty', '')`,
	} {
		if _, err := tx.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// A program goes on, and starts, on the tables of a newer version that say so.
func TestUpgrade_AnOlderProgramWorksWithNewerTables(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		t.Helper()
		at := place()
		f := openStore(t, "", at)
		a := f.account()
		k, secret := f.key(a.ID)
		if f.find(secret) == nil {
			t.Fatal("a new key is not found")
		}
		migrateToNext(t, at, engine.SchemaVersion)
		f.waitForPoll()
		var logs *observer.ObservedLogs
		started := openStore(t, "", at, logTo(&logs))
		if n := logs.FilterMessageSnippet("newer than this program").Len(); n != 1 {
			t.Errorf("%d lines of the log say that the tables are newer, want 1", n)
		}
		if c, err := Inspect(t.Context(), configOf(at)); err != nil || c.Schema != nextVersion || !c.Usable {
			t.Errorf("Inspect: %+v, %v", c, err)
		}
		for name, f := range map[string]fixture{"a program that goes on": f, "a program that starts": started} {
			other, otherSecret := f.key(a.ID)
			if r := f.find(secret); r == nil || statusOf(r, start) != keyActive {
				t.Errorf("%s: the key is not found", name)
			}
			f.job(k, name)
			f.job(other, name+", again")
			if _, err := f.RevokeKey(t.Context(), start, operator, other.ID, "leaked"); err != nil {
				t.Errorf("%s: revoking: %v", name, err)
			}
			if statusOf(f.find(otherSecret), start) == keyActive {
				t.Errorf("%s: the revoked key is active", name)
			}
			if c := f.verify(nil); c.Fault != "" {
				t.Errorf("%s: the audit trail: %s", name, c.Text)
			}
		}
		if n := count(t, rawOf(t, at), `SELECT COUNT(*) FROM api_keys WHERE added <> 7`); n != 0 {
			t.Errorf("%d keys do not have the default of the new column", n)
		}
		mustExec(t, rawOf(t, at), `INSERT INTO added (id, key_id) SELECT id, id FROM api_keys`)
		err := f.Prune(t.Context(), start.Add(1000*day))
		if n := count(t, rawOf(t, at), `SELECT (SELECT COUNT(*) FROM api_keys) + (SELECT COUNT(*) FROM added)`); err != nil || n != 0 {
			t.Errorf("%d rows are left, %v", n, err)
		}
	})
}

// What must have all tables and columns is refused on newer ones: the program knows only its own.
func TestUpgrade_AnOlderProgramCopiesNoNewerTables(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		t.Helper()
		at := place()
		f := openStore(t, "", at)
		_, secret := f.key(f.account().ID)
		dir := t.TempDir()
		before, err := f.Backup(t.Context(), filepath.Join(dir, "before"))
		if err != nil {
			t.Fatal(err)
		}
		migrateToNext(t, at, engine.SchemaVersion)
		refused := func(what string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), "do this with the newer program") {
				t.Errorf("%s: %v, want a refusal", what, err)
			}
		}
		_, err = f.Restore(t.Context(), start, operator, before.Path)
		refused("restoring into newer tables", err)
		_, err = f.PlanRestore(t.Context(), start, operator, before.Path)
		refused("planning to restore into newer tables", err)
		to := newPath(t)
		if cfg := configOf(at); cfg.Postgres == nil {
			// A copy of the whole file has what the program does not know.
			after, err := f.Backup(t.Context(), filepath.Join(dir, "after"))
			if err != nil {
				t.Fatal(err)
			}
			opened := filepath.Join(dir, "opened")
			if err := copyInto(after.Path, opened); err != nil {
				t.Fatal(err)
			}
			if n := count(t, rawDB(t, opened), `SELECT COUNT(*) FROM api_keys WHERE added = 7`); n != 1 {
				t.Errorf("the backup has %d keys with the new column", n)
			}
			_, err = RestoreNew(t.Context(), bareConfig(to), start, operator, after.Path)
			refused("restoring a backup of newer tables", err)
		} else {
			_, err := f.Backup(t.Context(), filepath.Join(dir, "after"))
			refused("a backup", err)
			_, err = f.CopyTo(t.Context(), bareConfig(to), CopyOptions{})
			refused("a copy", err)
		}
		if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a keystore was made: %v", err)
		}
		_, _, err = tryStore("", at, withPepper("salt"))
		refused("adding a pepper", err)
		if f.find(secret) == nil {
			t.Error("the key is lost")
		}
	})
}

// A running program leaves tables alone that need a newer program, and works again when they do not.
func TestUpgrade_ARunningProgramStopsAtTablesForNewerProgramsOnly(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		t.Helper()
		at := place()
		var logs *observer.ObservedLogs
		f := openStore(t, "", at, logTo(&logs))
		command := openStore(t, "", at, commandLine)
		k, secret := f.key(f.account().ID)
		if f.find(secret) == nil {
			t.Fatal("a new key is not found")
		}
		migrateToNext(t, at, nextVersion)
		// A command does not read the change feed.
		_, err := command.RevokeKey(t.Context(), start, operator, k.ID, "")
		if wantIs(t, err, ErrUnavailable); err == nil || !strings.Contains(err.Error(), "run the newer program") {
			t.Errorf("a command writes: %v", err)
		}
		testutil.Eventually(t, "the program finds out", func() bool { return f.state.Load().fault != nil })
		_, err = f.FindKey(t.Context(), secret)
		if wantIs(t, err, ErrUnavailable); err == nil || !strings.Contains(err.Error(), "run the newer program") {
			t.Errorf("a lookup: %v", err)
		}
		wantIs(t, f.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "job", AccountID: k.AccountID, KeyID: k.ID, CreatedAt: start}), ErrUnavailable)
		if _, _, err := tryStore("", at); err == nil || !strings.Contains(err.Error(), "run the newer program") {
			t.Errorf("a program starts: %v", err)
		}
		testutil.Eventually(t, "the log says why", func() bool {
			return logs.FilterLevelExact(zapcore.ErrorLevel).FilterMessageSnippet("unavailable").Len() > 0
		})

		db := rawOf(t, at)
		mustExec(t, db, fmt.Sprintf(`UPDATE meta SET value = '%d' WHERE name = 'compatible'`, engine.SchemaVersion))
		testutil.Eventually(t, "the program works again", func() bool {
			_, err := f.FindKey(context.Background(), secret)
			return err == nil
		})
	})
}

// Without the row that says for which programs the tables are, they are for programs that know their version.
func TestUpgrade_TablesThatDoNotSayForWhichPrograms(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		at := place()
		if err := openStore(t, "", at).Close(); err != nil {
			t.Fatal(err)
		}
		mustExec(t, rawOf(t, at), `DELETE FROM meta WHERE name = 'compatible'`)
		f := openStore(t, "", at)
		f.key(f.account().ID)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		migrateToNext(t, at, engine.SchemaVersion)
		_, _, err := tryStore("", at)
		if wantIs(t, err, ErrUnavailable); err == nil || !strings.Contains(err.Error(), "run the newer program") {
			t.Errorf("newer tables: %v", err)
		}
	})
}

// The files beside a database that this program leaves alone may be in use: without them, the
// writes of other processes would be lost.
func TestUpgrade_AStoppedProgramKeepsTheLogOfOthers(t *testing.T) {
	t.Parallel()
	path := newFile(t, "the log beside the file")
	f := openStore(t, path)
	f.key(f.account().ID)
	f.takeOverPolling()
	f.feed.poll(t.Context())
	at := inPlace(path)
	migrateToNext(t, at, nextVersion)
	newer := rawDB(t, path)
	mustExec(t, newer, `UPDATE meta SET value = value WHERE name = 'store_id'`)
	was, err := os.Stat(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if f.feed.poll(t.Context()); f.state.Load().fault == nil {
		t.Fatal("the program works on")
	}
	if is, err := os.Stat(path + "-wal"); err != nil || !os.SameFile(was, is) {
		t.Errorf("the log of changes is another file, %v", err)
	}
	mustExec(t, newer, `INSERT INTO meta (name, value) VALUES ('mark', '1')`)
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM meta WHERE name = 'mark'`); n != 1 {
		t.Error("a write of another process is lost")
	}
}
