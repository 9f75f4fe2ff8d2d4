//go:build unix

package sqlite

import (
	"fmt"
	"os"
	"syscall"
)

// checkOwner refuses a file of another user. SQLite would create files beside it,
// owned by this user, which the server could not open.
func checkOwner(fi os.FileInfo) error {
	owner, ok := ownerOf(fi)
	if euid := os.Geteuid(); ok && owner != euid {
		return fmt.Errorf("it belongs to the user with ID %d, and this command runs as %d: run it as the file's owner", owner, euid)
	}
	return nil
}

// ownerOf returns the user ID of a file's owner. ok is false if the system does not report
// it.
func ownerOf(fi os.FileInfo) (uid int, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
