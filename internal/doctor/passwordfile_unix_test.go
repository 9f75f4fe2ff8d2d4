//go:build unix

package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// The owner alone may write the password of the database, and a group may read it.
func TestDoctor_FindsAPasswordThatOthersReadOrWrite(t *testing.T) {
	t.Parallel()
	for mode, warns := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: false, 0o440: false, 0o644: true, 0o604: true, 0o660: true, 0o602: true, 0o666: true} {
		path := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(path, []byte("canary\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		e := &examination{Subject: Subject{Store: keystore.Config{Postgres: &keystore.Postgres{PasswordFile: path}}}}
		if e.checkPasswordFile(); len(e.found) == 0 != !warns {
			t.Errorf("mode %04o: %+v", mode, e.found)
		}
		for _, f := range e.found {
			if f.Check != CheckPermissions || f.Level != Warn || f.Subject != path || !strings.Contains(*f.Fix, "chmod ") || strings.Contains(f.Message, "canary") {
				t.Errorf("mode %04o: %+v", mode, f)
			}
		}
	}
	for _, path := range []string{"", filepath.Join(t.TempDir(), "missing")} {
		e := &examination{Subject: Subject{Store: keystore.Config{Postgres: &keystore.Postgres{PasswordFile: path}}}}
		if e.checkPasswordFile(); len(e.found) > 0 {
			t.Errorf("%q: %+v", path, e.found)
		}
	}
}
