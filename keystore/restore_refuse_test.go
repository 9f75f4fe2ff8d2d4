package keystore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A restore that is refused changes nothing, and leaves no file beside the store.
func TestRestore_Refuses(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, withPepper("salt"))
	a := f.account()
	good := f.backup()
	other := openStore(t, newPath(t), withPepper("salt"))
	other.account()
	foreign := other.backup()
	bytes, err := os.ReadFile(good.Path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	edited := func(name string, queries ...string) string {
		t.Helper()
		name = file(name, bytes)
		db := rawDB(t, name)
		for _, q := range queries {
			mustExec(t, db, q)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return name
	}
	damaged := append([]byte{}, bytes...)
	for i := 4096 * 3; i < 4096*9; i++ {
		damaged[i] ^= 0x5a
	}
	loop := filepath.Join(dir, "loop")
	used := file("used", bytes)
	file("used-wal", []byte("frames"))
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	f.key(a.ID)
	diverged := filepath.Join(dir, "diverged")
	if err := copyInto(f.backup().Path, diverged); err != nil {
		t.Fatal(err)
	}
	{ // a copy of the store that has changed in another way
		d := openStore(t, diverged, withPepper("salt"))
		d.key(a.ID)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ahead := filepath.Join(dir, "ahead")
	if err := copyInto(diverged, ahead); err != nil {
		t.Fatal(err)
	}
	head := f.verify(nil).Head
	refused := func(from, want string) {
		t.Helper()
		_, err := f.Restore(t.Context(), later, operator, from)
		if wantIs(t, err, ErrInvalid); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), from) {
			t.Errorf("restoring %q: %v, want %q", from, err, want)
		}
	}
	refused(ahead, "is newer than this keystore")
	f.key(a.ID)
	head = f.verify(&head).Head
	for from, want := range map[string]string{
		"":                            "no such file",
		filepath.Join(dir, "nothing"): "no such file",
		loop:                          "too many levels",
		dir:                           "is no regular file",
		os.DevNull:                    "is no regular file",
		file("empty", nil):            "it is empty",
		file("text", []byte(strings.Repeat("no database\n", 99))): "is not a database",
		file("short", bytes[:len(bytes)-4096]):                    "cannot be restored",
		file("damaged", damaged):                                  "cannot be restored",
		used:                                                      "is beside it",
		foreign.Path:                                              "is a backup of another keystore",
		edited("app", `PRAGMA application_id = 1`):                "another program",
		edited("newer", `INSERT INTO schema_version (version_id, is_applied) VALUES (99, 1)`): "its schema is version 99",
		edited("pepper", `UPDATE meta SET value = '00' WHERE name = 'pepper_check'`):          "its pepper is not the one",
		edited("audit", `UPDATE audit SET hash = x'00' WHERE seq = 2`):                        "went apart",
		diverged: "went apart",
	} {
		refused(from, want)
	}
	_, err = f.Restore(t.Context(), later, Actor{Kind: ActorAccount, ID: a.ID}, good.Path)
	wantIs(t, err, ErrInvalid)
	wantWhole(t, f.verify(&head), int(head.Seq))
	if f.verify(nil).Head != head {
		t.Error("the store was changed")
	}
	if !isPostgres(path) {
		link := filepath.Join(dir, "link")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		refused(path, "is the keystore itself")
		refused(link, "is the keystore itself")
	}
	f.wantNothingLeft()
	// A link to a backup can be restored too.
	if err := os.Symlink(good.Path, filepath.Join(dir, "fine")); err != nil {
		t.Fatal(err)
	}
	f.restore(filepath.Join(dir, "fine"), later)
}

func copyInto(from, to string) error {
	if err := os.WriteFile(to, nil, 0o600); err != nil {
		return err
	}
	return copyFile(from, to)
}

// An error in the middle of a restore undoes all changes, and removes the copy from before
// the restore.
func TestRestore_RollsBack(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	b := f.backup()
	key, secret := f.key(f.account().ID)
	f.job(key, "j")
	head := f.verify(nil).Head
	for name, event := range map[string]string{
		"at once":    `BEFORE DELETE ON jobs`,
		"in between": `BEFORE DELETE ON accounts`,
		"at the end": `BEFORE INSERT ON feed`,
	} {
		mend := trigger(t, path, event, `TRUE`, fails)
		_, err := f.Restore(t.Context(), later, operator, b.Path)
		if wantIs(t, err, ErrUnavailable); err == nil || !strings.Contains(err.Error(), "no more") {
			t.Errorf("%s: %v", name, err)
		}
		mend()
		if f.status(secret, start) != keyActive || f.verify(nil).Head != head {
			t.Errorf("%s: half of it was done", name)
		}
		f.wantNothingLeft()
	}
	if r := f.restore(b.Path, later); r.Keys.Removed != 1 {
		t.Errorf("then: %+v", r)
	}
}
