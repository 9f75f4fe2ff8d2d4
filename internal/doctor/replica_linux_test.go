package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
)

// Processes that use the same replica are found. The process of the test is left out.
func TestDoctor_FindsSeveralProcessesWithOneReplica(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "replica.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mine, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	hold := func() {
		cmd := exec.Command("tail", "-f", path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		})
	}
	want := func(users int) (all []string) {
		t.Helper()
		testutil.Eventually(t, "the processes are found", func() bool { all = usersOf(path); return len(all) == users })
		return all
	}
	want(0)
	hold()
	want(1)
	hold()
	all := want(2)
	for users, findings := range map[int]int{0: 0, 1: 0, 2: 1} {
		var e examination
		e.checkReplicaUsers(all[:users], &keystore.ReplicaCondition{Path: path})
		if len(e.found) != findings || findings == 1 && (e.found[0].Level != Warn || !strings.Contains(e.found[0].Message, all[1])) {
			t.Errorf("%d processes: %+v", users, e.found)
		}
	}
}
