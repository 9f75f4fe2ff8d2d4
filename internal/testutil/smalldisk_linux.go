package testutil

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// smallDiskEnv is an environment variable that is set in the second process of SmallDisk.
const smallDiskEnv = "SPEECHGATE_TEST_SMALL_DISK"

// SmallDisk gives a test a new file system of the given size. It runs the calling test again
// in a second process, where the file system is mounted.
//
// In the second process, SmallDisk returns the directory of the file system. In the first
// process, it waits for the second one, and returns "" if the test has passed there: the
// test must then return. If mounting is not permitted, SmallDisk skips the test, except
// in CI.
func SmallDisk(t *testing.T, bytes int) (dir string) {
	t.Helper()
	if os.Getenv(smallDiskEnv) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1") //nolint:gosec // the test binary runs itself
		cmd.Env = append(os.Environ(), smallDiskEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		switch {
		case errors.Is(err, syscall.EPERM) && os.Getenv("CI") == "":
			t.Skip("a file system of its own needs root")
		case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
			t.Fatalf("on a small disk: %v\n%s", err, out)
		}
		return ""
	}
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}
