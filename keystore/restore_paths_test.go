package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// beforeName is the name of the backup that a restore of a backup at this time makes.
func (f fixture) beforeName(from string, now policy.Time) string {
	return f.copyPath(from) + ".before-restore-" + now.Std().Format(beforeTime)
}

// wantNothingLeft makes sure that a file of a store has no file beside it but its log.
func (f fixture) wantNothingLeft() {
	f.t.Helper()
	if !isPostgres(f.place) {
		wantFiles(f.t, filepath.Dir(f.place), "keystore.db", "keystore.db-shm", "keystore.db-wal")
	}
}

// A file with the name of the backup that the restore makes is not overwritten, and
// nothing is restored.
func TestRestore_OverwritesNoOtherBackup(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	b := f.backup()
	_, secret := f.key(f.account().ID)
	name := f.beforeName(b.Path, later)
	if err := os.WriteFile(name, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := f.Restore(t.Context(), later, operator, b.Path)
	if wantIs(t, err, ErrInvalid); !strings.Contains(err.Error(), name+" exists already") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
	if f.find(secret) == nil {
		t.Error("a key was removed")
	}
}

// While another process writes, a restore waits. It gives up after lockWait, and then
// leaves no file.
func TestRestore_WaitsForTheLock(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	b := f.backup()
	f.account()
	for _, gives := range []bool{false, true} {
		unlock := lockFromOutside(t, path)
		done := make(chan error, 1)
		go func() {
			_, err := f.Restore(t.Context(), later, operator, b.Path)
			done <- err
		}()
		testutil.Eventually(t, "the restore has made its copy", func() bool {
			_, err := os.Lstat(f.beforeName(b.Path, later))
			return err == nil
		})
		if gives {
			unlock()
			if err := <-done; err != nil {
				t.Errorf("after the other process: %v", err)
			}
			break
		}
		f.advance(lockWait + time.Second)
		err := <-done
		if wantIs(t, err, ErrUnavailable); !strings.Contains(err.Error(), "lock") {
			t.Errorf("after %s: %v", lockWait, err)
		}
		f.wantNothingLeft()
		unlock()
	}
}

// The copy from before the restore has all that the restore removes, also if others write
// at that time. If they write each time, the copy is made while they must wait.
func TestRestore_TheCopyHasAllThatIsRemoved(t *testing.T) {
	t.Parallel()
	for _, writes := range []int{0, 1, unlockedCopies - 1, unlockedCopies, unlockedCopies + 1} {
		path := newPath(t)
		f := openStore(t, path, commandLine)
		b := f.backup()
		f.account()
		db, err := f.database()
		if err != nil {
			t.Fatal(err)
		}
		opened, err := f.openBackup(t.Context(), b.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer removeTemp(opened.temp)
		if err := opened.close(); err != nil {
			t.Fatal(err)
		}
		writeBeside := openStore(t, path, commandLine).account
		begun, copied := 0, 0
		err = db.Attach(t.Context(), opened.temp, func(begin func(context.Context) (*sql.Tx, error)) error {
			r, err := f.mergeAttached(t.Context(), db, func(ctx context.Context) (*sql.Tx, error) {
				begun++
				if _, err := os.Lstat(f.beforeName(b.Path, later)); err == nil {
					copied++
				}
				if begun <= writes {
					writeBeside()
				}
				return begin(ctx)
			}, later, operator, opened)
			if err == nil && r.Accounts.Removed != 1+min(writes, begun) {
				t.Errorf("%d writes: %d accounts were removed", writes, r.Accounts.Removed)
			}
			return err
		})
		if err != nil {
			t.Errorf("%d writes: %v", writes, err)
		}
		if want := min(writes, unlockedCopies) + 1; begun != want || copied != min(want, unlockedCopies) {
			t.Errorf("%d writes: the restore began %d times, %d times with a copy; want %d", writes, begun, copied, want)
		}
		before, err := sql.Open("sqlite3", f.beforeName(b.Path, later))
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, before, `SELECT COUNT(*) FROM accounts`); n != 1+min(writes, begun) {
			t.Errorf("%d writes: the copy has %d accounts", writes, n)
		}
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A backup whose last entry is the last one that was pruned is not too old.
func TestRestore_AsOldAsTheTrail(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	empty := f.backup()
	_, secret := f.key(f.account().ID, func(k *NewKey) { k.Expires = policy.Never() })
	full := f.backup()
	f.restore(empty.Path, start+1)
	if err := f.Prune(t.Context(), start.Add(auditKept)); err != nil {
		t.Fatal(err)
	}
	if first := f.verify(nil).First; first != full.Head.Seq+1 {
		t.Fatalf("the trail begins at entry %d, want that after %s", first, full.Head)
	}
	now := start.Add(auditKept + time.Hour)

	forged := filepath.Join(t.TempDir(), "forged.db")
	if err := copyInto(full.Path, forged); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, forged)
	mustExec(t, db, `UPDATE audit SET hash = $1 WHERE seq = $2`, make([]byte, 32), full.Head.Seq)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := f.Restore(t.Context(), now, operator, forged)
	if wantIs(t, err, ErrInvalid); err == nil || !strings.Contains(err.Error(), "went apart") {
		t.Errorf("with another head: %v", err)
	}

	if r := f.restore(full.Path, now); r.Keys != (RestoreCount{1, 0}) || r.Accounts != (RestoreCount{1, 0}) || f.find(secret) == nil {
		t.Errorf("got %+v", r)
	}
}

// If the caller gives up, the error does not blame the file.
func TestRestore_TheCallerGivesUp(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	b, empty := f.backup(), newPath(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, restore := range map[string]func() error{
		"into a store": func() error { _, err := f.Restore(ctx, later, operator, b.Path); return err },
		"into nothing": func() error {
			_, err := RestoreNew(ctx, bareConfig(empty), later, operator, b.Path)
			return err
		},
	} {
		err := restore()
		wantIs(t, err, context.Canceled)
		if errors.Is(err, ErrInvalid) || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.wantNothingLeft()
}

func TestRestore_OfAClosedStoreIsErrClosed(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	b := f.backup()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := f.Restore(t.Context(), later, operator, b.Path)
	wantIs(t, err, ErrClosed)
	_, err = f.Backup(t.Context(), filepath.Join(t.TempDir(), "new"))
	wantIs(t, err, ErrClosed)
}

func TestRestoreNew_RefusesAndLeavesNothing(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), withPepper("salt"))
	good := f.backup()
	dir := t.TempDir()
	file, other := filepath.Join(dir, "file"), filepath.Join(dir, "other")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(other, 0o700)); err != nil {
		t.Fatal(err)
	}
	salted := configOf(inPlace(filepath.Join(other, "new.db")), withPepper("salt"))
	for name, c := range map[string]struct {
		cfg  Config
		by   Actor
		from string
		kind error
		want string
	}{
		"by an account":    {salted, Actor{Kind: ActorAccount, ID: "acc_1"}, good.Path, ErrInvalid, "restoring a backup is for the operator only"},
		"below a file":     {bareConfig(filepath.Join(file, "new.db")), operator, good.Path, ErrUnavailable, "not a directory"},
		"without a backup": {salted, operator, filepath.Join(dir, "none"), ErrInvalid, "no such file"},
		"an empty file":    {salted, operator, file, ErrInvalid, "it is empty"},
		"another pepper":   {configOf(inPlace(filepath.Join(other, "new.db")), withPepper("sugar")), operator, good.Path, ErrInvalid, "its pepper is not the one"},
		"below nothing":    {bareConfig(filepath.Join(other, "dir", "dir", "new.db")), operator, file, ErrInvalid, "it is empty"},
	} {
		for _, dry := range []bool{true, false} {
			restore := RestoreNew
			if dry {
				restore = PlanRestoreNew
			}
			r, err := restore(t.Context(), c.cfg, later, c.by, c.from)
			if wantIs(t, err, c.kind); err == nil || !strings.Contains(err.Error(), c.want) || r != (Restored{}) {
				t.Errorf("%s, dry %v: %+v, %v; want an error with %q", name, dry, r, err, c.want)
			}
			if dry || name != "below nothing" {
				wantFiles(t, other)
			}
		}
		if err := os.RemoveAll(filepath.Join(other, "dir")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := RestoreNew(t.Context(), salted, later, operator, good.Path); err != nil {
		t.Error(err)
	}
}

// A restore tries again as long as another process has the lock, up to lockWait. Any other
// error ends it.
func TestRestore_TriesAgainForTheLockOnly(t *testing.T) {
	t.Parallel()
	f, e := fullStore(t, func(error) bool { return false })
	locked, other := errors.New("locked, says the test"), errors.New("no")
	e.locked = locked
	for _, c := range []struct {
		name     string
		errs     []error // of one call after another; the last of all others
		advance  time.Duration
		want     error
		attempts int
	}{
		{"at once", []error{nil}, 0, nil, 1},
		{"after the other process", []error{locked, locked, nil}, 0, nil, 3},
		{"another error", []error{other, nil}, 0, other, 1},
		{"another error later", []error{locked, other, nil}, 0, other, 2},
		{"never", []error{locked}, lockWait/2 + time.Second, locked, 2},
	} {
		attempts := 0
		_, err := f.lockMerge(t.Context(), func(context.Context) (*sql.Tx, error) {
			err := c.errs[min(attempts, len(c.errs)-1)]
			attempts++
			f.advance(c.advance)
			return nil, err
		})
		if !errors.Is(err, c.want) || attempts != c.attempts {
			t.Errorf("%s: %v after %d attempts, want %v after %d", c.name, err, attempts, c.want, c.attempts)
		}
	}
}

// What a restore removes is gone from the caches when Restore returns, and watchers know.
func TestRestore_CountsAtOnce(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	b := f.backup()
	key, secret := f.key(f.account().ID)
	f.job(key, "j")
	told, _, cancel := f.watch(secret)
	defer cancel()
	if _, err := f.FindJob(t.Context(), "amivoice", "j"); err != nil {
		t.Fatal(err)
	}
	f.takeOverPolling()
	f.restore(b.Path, later)
	if f.find(secret) != nil {
		t.Error("the key is found")
	}
	_, err := f.FindJob(t.Context(), "amivoice", "j")
	wantIs(t, err, ErrNotFound)
	if told.Load() == 0 {
		t.Error("the watcher was not told")
	}
}

// A backup whose copy is not whole in one file is not used. A caller that gives up is no
// fault of the backup.
func TestRestore_SaysWhatIsWrongWithTheCopy(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	from := f.backup().Path
	for _, whole := range []bool{true, false} {
		b, err := f.openBackup(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		reading, err := rawDB(t, b.temp).Conn(t.Context()) // keeps the -wal file
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, rawDB(t, b.temp), `SELECT COUNT(*) FROM accounts`); n != 0 {
			t.Fatalf("%d accounts", n)
		}
		if !whole {
			if _, err := reading.ExecContext(t.Context(), `BEGIN; SELECT COUNT(*) FROM accounts`); err != nil {
				t.Fatal(err)
			}
			if _, err := b.sign(t.Context(), start, operator); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.close(); (err == nil) != whole {
			t.Errorf("whole %t: %v", whole, err)
		}
		if err := reading.Close(); err != nil {
			t.Fatal(err)
		}
		removeTemp(b.temp)
	}
	b := backup{from: "name"}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		wantFault(t, "a caller that gave up", b.unusable(fmt.Errorf("reading: %w", err)))
	}
	if err := b.unusable(errors.New("bad")); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "want a whole file") {
		t.Errorf("another error: %v", err)
	}
}
