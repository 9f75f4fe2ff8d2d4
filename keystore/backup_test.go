package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// backup makes a backup in a directory of its own.
func (f fixture) backup() Copy {
	f.t.Helper()
	c, err := f.Backup(f.t.Context(), filepath.Join(f.t.TempDir(), "backup.db"))
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// wantFiles makes sure that a directory has these files and no others.
func wantFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), reserveSuffix) { // the server may have made the reserve
			got = append(got, e.Name())
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		t.Errorf("%s has %q, want %q", dir, got, names)
	}
}

func TestBackup_StandsAlone(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]func(*Config){"plain": nil, "peppered": {withPepper("salt")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openStore(t, newPath(t), options...)
			key, secret := f.key(f.account().ID)
			f.job(key, "j")
			c := f.backup()
			fi, err := os.Stat(c.Path)
			if err != nil || fi.Mode().Perm() != 0o600 || fi.Size() != c.Bytes {
				t.Errorf("the file is %v, %v", fi, err)
			}
			if head := f.verify(nil).Head; c.Accounts != 1 || c.Keys != 1 || c.Jobs != 1 || c.Head != head {
				t.Errorf("got %+v; the head is %s", c, head)
			}
			wantFiles(t, filepath.Dir(c.Path), "backup.db")

			// The file alone is a whole store.
			g := openStore(t, c.Path, options...)
			if g.find(secret) == nil {
				t.Error("a key is not found in the copy")
			}
			wantWhole(t, g.verify(&c.Head), int(c.Head.Seq))
		})
	}
}

// Each copy has one state of the store. It never has an account without the key of the
// same transaction, or a part of a batch.
func TestBackup_WhileOthersWrite(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, other := openStore(t, path), openStore(t, path)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for _, s := range []fixture{f, other} {
		for range 2 {
			wg.Go(func() {
				for !stop.Load() {
					if err := s.write(context.Background(), func(tx *txn) error {
						id, err := newID("acc_")
						if err != nil {
							return err
						}
						for i := range 5 {
							tx.exec(`INSERT INTO accounts (id, name, service_id, spw_digest, created_at) VALUES ($1, 'x', $1, $2, 1)`, fmt.Sprint(id, i), []byte{})
							tx.audit(start, operator, "account_create", "", id, "")
						}
						return tx.err
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	last := 0
	for range 5 {
		c := f.backup()
		if c.Accounts%5 != 0 || c.Accounts != int(c.Head.Seq) || c.Accounts < last {
			t.Errorf("a copy has %d accounts and the head %s, after one with %d", c.Accounts, c.Head, last)
		}
		last = c.Accounts
	}
	stop.Store(true)
	wg.Wait()
	if last == 0 {
		t.Error("nothing was written meanwhile")
	}
}

func TestBackup_Refuses(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	dir := t.TempDir()
	taken, link := filepath.Join(dir, "taken"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(taken, []byte("mine"), 0o600), os.Symlink(filepath.Join(dir, "nowhere"), link)); err != nil {
		t.Fatal(err)
	}
	refused := map[string]string{
		taken:                             "exists already",
		link:                              "exists already",
		dir:                               "exists already",
		"":                                "no name",
		filepath.Join(dir, "none", "new"): "does not exist",
		filepath.Join(taken, "new"):       "not a directory",
	}
	beside := filepath.Join(dir, "beside") // another name of the directory of the file
	if err := os.Symlink(filepath.Dir(path), beside); err != nil {
		t.Fatal(err)
	}
	if !isPostgres(path) {
		const part = "taken for a part of the keystore"
		refused[path], refused[path+"-journal"] = "exists already", part
		refused[filepath.Join(beside, filepath.Base(path)+"-journal")] = part
	}
	for name, want := range refused {
		_, err := f.Backup(t.Context(), name)
		if wantIs(t, err, ErrInvalid); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("backup to %q: %v, want %q", name, err, want)
		}
	}
	if text, err := os.ReadFile(taken); err != nil || string(text) != "mine" {
		t.Errorf("the file that was there is now %q, %v", text, err)
	}
	wantFiles(t, dir, "beside", "link", "taken")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Backup(ctx, filepath.Join(dir, "new"))
	wantIs(t, err, ErrUnavailable)
	wantFiles(t, dir, "beside", "link", "taken")
}

// A file that another process makes at the path meanwhile is not overwritten.
func TestMoveInto_OverwritesNothing(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(temp, path string) error{"link": moveInto, "claim": claim} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "path")
			for _, text := range []string{"old", "new"} {
				temp := filepath.Join(dir, text)
				if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := move(temp, path); text == "old" && err != nil {
					t.Fatal(err)
				} else if text == "new" {
					wantIs(t, err, os.ErrExist)
				}
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != "old" {
				t.Errorf("it has %q, %v", text, err)
			}
		})
	}
}

// If the sync of a backup fails, the command reports an error, so there is no file at the path.
func TestMoveInto_NamesNoFileThatIsNotSynced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// The symbolic link can get another name, but no file can be opened and synced.
	temp, path := filepath.Join(dir, "temp"), filepath.Join(dir, "path")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), temp); err != nil {
		t.Fatal(err)
	}
	wantIs(t, moveInto(temp, path), os.ErrNotExist)
	wantFiles(t, dir, "temp")
}
