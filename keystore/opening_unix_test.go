//go:build unix

package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// openerEnv makes the test binary open the store at this path as a server does, and print
// the error. The process runs as the user nobody, because root can write every file.
const (
	openerEnv  = "SPEECHGATE_TEST_OPEN"
	openerSize = "SPEECHGATE_TEST_FILE_SIZE" // limit on the size of files, in bytes
	nobody     = 65534
)

func init() { syscall.Umask(0o022) } // for the modes of t.TempDir

func openAsNobody(path string) {
	if os.Geteuid() == 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	if text := os.Getenv(openerSize); text != "" {
		size, err := strconv.ParseUint(text, 10, 64)
		if err == nil {
			signal.Ignore(syscall.SIGXFSZ)
			err = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: size})
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	s, err := Open(context.Background(), bareConfig(path))
	if err != nil {
		fmt.Print(err)
		os.Exit(0)
	}
	_ = s.Close()
	fmt.Print("open")
	os.Exit(0)
}

// asNobody opens the store in a process of another user, and returns "open" or
// the error.
func asNobody(t *testing.T, path string, env ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), append(env, openerEnv+"="+path)...)
	out, err := child.Output()
	if err != nil {
		t.Fatalf("the process that opens the store: %v, and it says %s", err, out)
	}
	return string(out)
}

// nobodysStore makes a store that belongs to the user of asNobody, in a
// directory that this user can reach.
func nobodysStore(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "speechgate-test-") //nolint:usetesting // others cannot reach what is in t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = os.Chmod(filepath.Join(dir, "store"), 0o700)
		_ = os.RemoveAll(dir)
	})
	path := filepath.Join(dir, "store", "keystore.db")
	f := openStore(t, path)
	f.key(f.account().ID)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{filepath.Dir(path), path} {
			if err := os.Chown(name, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
	}
	return path
}

// Open refuses a store that cannot be written. Otherwise the error would come only after
// the first job has been created at the backend. The error names the file that is the
// cause, and the remedy.
func TestR10_OpenRefusesWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	for _, c := range []struct {
		name  string
		spoil func(path string) error
		env   []string
		want  []string // FILE is the store's path, DIR its directory
	}{
		{"nothing in the way", func(string) error { return nil }, nil, []string{"open"}},
		{"the file", func(p string) error { return os.Chmod(p, 0o400) }, nil, []string{"FILE has mode 0400", "chmod 600 FILE"}},
		{"the file, not readable either", func(p string) error { return os.Chmod(p, 0) }, nil, []string{"FILE has mode 0000", "chmod 600 FILE"}},
		{"the directory", func(p string) error { return os.Chmod(filepath.Dir(p), 0o500) }, nil, []string{"DIR has mode 0500", "chmod 700 DIR"}},
		{"the -wal file", beside("-wal", 0o400), nil, []string{"FILE-wal has mode 0400", "chmod 600 FILE-wal"}},
		{"the -shm file", beside("-shm", 0o400), nil, []string{"FILE-shm has mode 0400", "chmod 600 FILE-shm"}},
		{"a limit on the size of files", func(string) error { return nil }, []string{openerSize + "=20000"}, []string{"keystore FILE: disk I/O error", "a limit on the size of files was met"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := nobodysStore(t)
			if err := c.spoil(path); err != nil {
				t.Fatal(err)
			}
			got := asNobody(t, path, c.env...)
			for _, want := range c.want {
				want = strings.ReplaceAll(strings.ReplaceAll(want, "FILE", path), "DIR", filepath.Dir(path))
				if !strings.Contains(got, want) || strings.Contains(got, "\n") || (want != "open") == strings.HasSuffix(got, "open") {
					t.Errorf("opening says %q, want one line with %q", got, want)
				}
			}
		})
	}
}

// beside makes a file beside the store, as SQLite does.
func beside(suffix string, mode os.FileMode) func(string) error {
	return func(path string) error {
		if err := os.WriteFile(path+suffix, nil, 0o600); err != nil {
			return err
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(path+suffix, nobody, nobody); err != nil {
				return err
			}
		}
		return os.Chmod(path+suffix, mode)
	}
}

func TestR10_OpenRefusesAnotherUsersFile(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	if os.Geteuid() != 0 {
		t.Log("only root can give a file away, so the file is root's own")
		got := asNobody(t, "/etc/passwd")
		if !strings.Contains(got, "/etc/passwd") || got == "open" {
			t.Errorf("opening says %q", got)
		}
		return
	}
	path := nobodysStore(t)
	if err := errors.Join(os.Chown(path, 0, 0), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	if got := asNobody(t, path); !strings.Contains(got, path+" belongs to another user than the one that this runs as (ID 65534)") || !strings.Contains(got, "chown 65534 "+path) {
		t.Errorf("opening says %q", got)
	}
}

// Other users who can write the keystore, or put files beside it, could give themselves
// access.
func TestR17_OpenRefusesWhatOthersCanWrite(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	for _, c := range []struct {
		name string
		mode map[string]os.FileMode // by the suffix of the path; "." is the directory
		want string                 // "" opens
	}{
		{"as it is made", map[string]os.FileMode{".": 0o700, "": 0o600}, ""},
		{"a directory that others can read", map[string]os.FileMode{".": 0o755}, ""},
		{"a file that others can read", map[string]os.FileMode{"": 0o644}, ""},
		{"the file, by its group", map[string]os.FileMode{"": 0o660}, "FILE can be written by its group (mode 0660)"},
		{"the file, by all", map[string]os.FileMode{"": 0o602}, "FILE can be written by all users (mode 0602)"},
		{"the -wal file", map[string]os.FileMode{"-wal": 0o666}, "FILE-wal can be written by all users"},
		{"the -shm file", map[string]os.FileMode{"-shm": 0o620}, "FILE-shm can be written by its group"},
		{"the directory, by its group", map[string]os.FileMode{".": 0o770}, "want chmod go-w DIR, or a directory of its own, such as DIR/speechgate"},
		{"the directory, by all", map[string]os.FileMode{".": 0o777}, "DIR can be written by all users (mode 0777)"},
		{"a directory like /tmp", map[string]os.FileMode{".": os.ModeSticky | 0o777}, "who could put files beside it that SQLite reads"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keystore.db")
			first := openStore(t, path)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			for name, mode := range c.mode {
				file := path + name
				if name == "." {
					file = filepath.Dir(path)
				} else if name != "" {
					if err := os.WriteFile(file, nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.Chmod(file, mode); err != nil {
					t.Fatal(err)
				}
			}
			want := strings.ReplaceAll(strings.ReplaceAll(c.want, "FILE", path), "DIR", filepath.Dir(path))
			for _, options := range [][]func(*Config){nil, {commandLine}} {
				s, _, err := tryStore(path, options...)
				switch {
				case err == nil && want != "":
					t.Errorf("it was opened, want an error with %q", want)
				case err != nil && (want == "" || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path)):
					t.Errorf("error %q, want %q", err, want)
				}
				if err == nil {
					_ = s.Close()
				}
			}
		})
	}

	t.Run("the directory of a link's target", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path, target := filepath.Join(dir, "keystore.db"), filepath.Join(dir, "open", "other.db")
		first := openStore(t, target)
		if err := errors.Join(first.Close(), os.Symlink(target, path), os.Chmod(filepath.Dir(target), 0o777)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := tryStore(path); err == nil || !strings.Contains(err.Error(), "its directory "+filepath.Dir(target)+" can be written by all users") {
			t.Errorf("error %v", err)
		}
	})
}
