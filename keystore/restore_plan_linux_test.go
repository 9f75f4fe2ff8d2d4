package keystore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
)

// The plan of a restore to a new keystore finds what the restore would find at the path, and
// uses no other directory.
func TestPlanRestoreNew_TriesThePathItself(t *testing.T) {
	postgrestest.OfSQLite(t, "the file")
	dir := testutil.SmallDisk(t, 64<<10)
	if dir == "" {
		return // the test ran in the other process
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := openStore(t, newPath(t))
	f.account()
	b := f.backup()
	shared := filepath.Join(t.TempDir(), "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	fine := t.TempDir()
	t.Setenv("TMPDIR", "/proc/nope") // a trial in the temporary directory fails
	for path, want := range map[string]string{
		filepath.Join(dir, "new.db"):          "no space left on device",
		filepath.Join(dir, "a", "b", "c.db"):  "no space left on device",
		filepath.Join(shared, "new.db"):       "/shared can be written by all users",
		"/proc/nope/new.db":                   "keystore /proc/nope/new.db: no file can be made in /proc",
		filepath.Join(fine, "new.db"):         "",
		filepath.Join(fine, "a", "b", "c.db"): "",
	} {
		for name, err := range map[string]error{
			"plan":  plan(t, path, b.Path),
			"check": CheckNew(t.Context(), bareConfig(path)),
		} {
			switch {
			case want == "" || name == "check" && strings.HasPrefix(path, dir): // the disk has some room
				if err != nil {
					t.Errorf("%s of %s: %v", name, path, err)
				}
			case err == nil || name == "plan" && !strings.Contains(err.Error(), want):
				t.Errorf("%s of %s: %v, want an error with %q", name, path, err, want)
			}
		}
	}
	wantFiles(t, dir)
	wantFiles(t, fine)
	wantFiles(t, shared)
	full, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = full.Write(make([]byte, 4096))
	}
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	if err := CheckNew(t.Context(), bareConfig(filepath.Join(dir, "new.db"))); err == nil || !strings.Contains(err.Error(), "its file system is full") {
		t.Errorf("on a full disk: %v", err)
	}
}

func plan(t *testing.T, path, from string) error {
	t.Helper()
	_, err := PlanRestoreNew(t.Context(), bareConfig(path), later, operator, from)
	return err
}
