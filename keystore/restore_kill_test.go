package keystore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/sqlite"
	"github.com/speechgate/speechgate/policy"
)

const restorerEnv = "KEYSTORE_TEST_RESTORER" // store and backups of a process that restores until it is killed

// restoreForEver restores the backups in turns, and prints a line before each restore.
func restoreForEver(env string) {
	paths := strings.Split(env, "\n")
	s, err := Open(context.Background(), configOf(inPlace(paths[0]), commandLine))
	for i := 0; err == nil; i++ {
		fmt.Println("next")
		_, err = s.Restore(context.Background(), policy.At(time.Now()), operator, paths[1+i%2])
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// A process is killed while it restores, beside a server that writes. The store is then
// either as before the restore or as after it.
func TestRestore_Killed(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	k, _ := f.key(a.ID)
	few := f.backup()
	for range 20 {
		f.key(a.ID)
	}
	many := f.backup()
	for round := range 8 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), restorerEnv+"="+path+"\n"+few.Path+"\n"+many.Path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 1 + round%3 {
			if !lines.Scan() || lines.Text() != "next" {
				t.Fatalf("the other process: %q", lines.Text())
			}
		}
		f.job(k, fmt.Sprint(round)) // the server writes meanwhile
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
		_ = child.Process.Kill() // SIGKILL
		for lines.Scan() {
			if lines.Text() != "next" {
				t.Fatalf("the other process: %q", lines.Text())
			}
		}
		_ = child.Wait()
		if c := f.verify(nil); c.Fault != "" {
			t.Errorf("the audit trail: %s", c.Fault)
		}
		if !isPostgres(path) {
			if err := sqlite.CheckIntegrity(t.Context(), rawDB(t, path)); err != nil {
				t.Error(err)
			}
		}
		if keys, _, err := f.Keys(t.Context(), KeyList{}); err != nil || len(keys) != few.Keys && len(keys) != many.Keys {
			t.Errorf("%d keys, %v; want %d or %d", len(keys), err, few.Keys, many.Keys)
		}
	}
	// The files that are left beside the store do no harm.
	left, err := filepath.Glob(path + ".tmp-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range left {
		if fi, err := os.Stat(name); err == nil && fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others", name)
		}
	}
	f.restore(many.Path, policy.At(time.Now()))
	if head := f.restoredHead(); head != many.Head {
		t.Errorf("restored from %s, want %s", head, many.Head)
	}
}
