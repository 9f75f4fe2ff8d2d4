package keystore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

func TestR17_MustExistMakesNoStore(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	mustExist := func(c *Config) { c.MustExist = true }
	for _, c := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"no directory", func(string) error { return nil }, "there is no file at this path"},
		{"no file", func(p string) error { return os.Mkdir(filepath.Dir(p), 0o700) }, "there is no file at this path"},
		{"a link to nothing", func(p string) error {
			return errors.Join(os.Mkdir(filepath.Dir(p), 0o700), os.Symlink("nowhere", p))
		}, "there is no file at this path"},
		{"an empty file", func(p string) error {
			return errors.Join(os.Mkdir(filepath.Dir(p), 0o700), os.WriteFile(p, nil, 0o600))
		}, "the file is empty"},
		{"a file without tables", func(p string) error {
			if err := errors.Join(os.Mkdir(filepath.Dir(p), 0o700), os.WriteFile(p, nil, 0o600)); err != nil {
				return err
			}
			db := rawDB(t, p)
			_, err := db.Exec(`PRAGMA user_version = 1`)
			return errors.Join(err, db.Close())
		}, "the file is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "dir", "keystore.db")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(path)
			_, _, err := tryStore(path, mustExist)
			wantIs(t, err, ErrNoStore)
			wantIs(t, err, ErrUnavailable)
			if err == nil || !strings.Contains(err.Error(), path+": "+c.want) {
				t.Errorf("error %v, want the path and %q", err, c.want)
			}
			if after, _ := os.ReadFile(path); string(after) != string(before) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestR17_MustExistOpensAStoreThatIsThere(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	mustExist := func(c *Config) { c.MustExist = true }
	for range 2 {
		_, _, err := tryStore(path, mustExist)
		wantIs(t, err, ErrNoStore)
	}
	if err := openStore(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	openStore(t, path, mustExist)
}

// The database file is missing, and its -wal file has changes. The -wal file may be all
// that is left of a keystore.
func TestR17_NoStoreIsMadeBesideTheLogOfAnother(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	for _, empty := range []bool{false, true} {
		path := newPath(t)
		if empty {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(path+"-wal", []byte("the latest changes"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := tryStore(path); err == nil || !strings.Contains(err.Error(), path+"-wal has the latest changes of a keystore") {
			t.Errorf("error %v", err)
		}
		if text, err := os.ReadFile(path + "-wal"); string(text) != "the latest changes" {
			t.Errorf("the log is %q, %v", text, err)
		}
	}
}

func TestOpeningIsLogged(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs))
	db, _ := f.database()
	wantLog := func(level zapcore.Level, message string, fields map[string]any) {
		t.Helper()
		entries := logs.FilterMessage(message).All()
		if len(entries) != 1 || entries[0].Level != level {
			t.Fatalf("%d lines %q, want one of level %s", len(entries), message, level)
		}
		got := entries[0].ContextMap()
		fields["keystore"] = f.cfg.name
		for name, want := range fields {
			if got[name] != want {
				t.Errorf("%q: %s is %v, want %v", message, name, got[name], want)
			}
		}
	}
	const isOpen = "the keystore is open"
	wantLog(zapcore.WarnLevel, "there was no keystore here, and a new, empty one was made: no key is known to it", map[string]any{"store_id": db.id})
	wantLog(zapcore.InfoLevel, isOpen, map[string]any{"store_id": db.id, "schema": int64(engine.SchemaVersion), "accounts": int64(0), "keys": int64(0), "pepper": false})
	if sum, err := f.Summary(t.Context()); err != nil || !sum.Made || sum.ID != db.id {
		t.Errorf("summary %+v, %v", sum, err)
	}
	f.key(f.account().ID)
	f.key(f.account().ID)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	g := openStore(t, path, logTo(&logs), withPepper("salt of the earth"))
	wantLog(zapcore.InfoLevel, isOpen, map[string]any{"store_id": db.id, "accounts": int64(2), "keys": int64(2), "pepper": true})
	wantLog(zapcore.WarnLevel, "the configured pepper was added to the keystore, for good: without it all its keys are lost, so keep it where it is backed up", map[string]any{"digests": int64(4)})
	if n := logs.FilterLevelExact(zapcore.WarnLevel).Len(); n != 1 {
		t.Errorf("%d warnings, want that about the pepper only", n)
	}
	if sum, err := g.Summary(t.Context()); err != nil || sum.Made || !sum.Pepper || sum.Keys != 2 {
		t.Errorf("summary %+v, %v", sum, err)
	}

	openStore(t, path, logTo(&logs), withPepper("salt of the earth"), commandLine)
	if n := logs.Len(); n != 0 {
		t.Errorf("a command logs %d lines: it prints what it does", n)
	}
}

func TestOpen_CountsAccountsAndKeysUpToABound(t *testing.T) {
	t.Parallel()
	var logs *observer.ObservedLogs
	f := openStore(t, newPath(t), logTo(&logs))
	accountID := f.account().ID
	for range 3 {
		f.key(accountID)
	}
	db, err := f.database()
	if err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int]map[string]any{
		2: {"accounts": int64(1), "keys": int64(2), "or_more": true},
		3: {"accounts": int64(1), "keys": int64(3), "or_more": true},
		4: {"accounts": int64(1), "keys": int64(3), "or_more": nil},
	} {
		logs.TakeAll()
		if err := f.logOpening(t.Context(), db, most); err != nil {
			t.Fatal(err)
		}
		got := logs.FilterMessage("the keystore is open").All()[0].ContextMap()
		for field, value := range want {
			if got[field] != value {
				t.Errorf("counting up to %d: %s is %v, want %v", most, field, got[field], value)
			}
		}
	}
}

func TestR18_FaultyPepperIsNeverAdded(t *testing.T) {
	t.Parallel()
	fault := errors.New("it is too short")
	faulty := func(c *Config) { c.PepperFault = fault }
	for _, before := range []bool{false, true} {
		path := newPath(t)
		if before {
			f := openStore(t, path)
			f.key(f.account().ID)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := tryStore(path, withPepper("x"), faulty); !errors.Is(err, fault) {
			t.Errorf("with a store: %t: error %v", before, err)
		}
		if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM meta WHERE name = 'pepper_check'`); n != 0 {
			t.Error("the pepper was added")
		}
	}

	// A store that has this pepper already can be opened: a pepper cannot be changed.
	path := newPath(t)
	old := openStore(t, path, withPepper("x"))
	_, secret := old.key(old.account().ID)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	var logs *observer.ObservedLogs
	f := openStore(t, path, withPepper("x"), faulty, logTo(&logs))
	if f.find(secret) == nil {
		t.Error("the key is not found")
	}
	if n := logs.FilterMessage("the keystore has this pepper already, and keeps it; no other keystore would take it").Len(); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

// Check returns the errors that Open would return.
func TestR10_CheckWritesToTheStore(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	if err := f.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, path)
	if n := count(t, db, `SELECT COUNT(*) FROM meta WHERE name = 'written'`); n != 1 {
		t.Error("nothing was written")
	}
	mend := trigger(t, path, `BEFORE UPDATE ON meta`, `TRUE`, fails)
	if err := f.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "no more") {
		t.Errorf("error %v", err)
	}
	mend()
	if err := f.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestR10_CheckNoticesThatTheFileIsGone(t *testing.T) {
	t.Parallel()
	path := newFile(t, "the file")
	f := openStore(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the store is gone", func() bool {
		err := f.Check(t.Context())
		return errors.Is(err, ErrNoStore) && strings.Contains(err.Error(), path)
	})
}
