//go:build unix

package keystore

import (
	"fmt"
	"os"
	"syscall"
)

// checkOwner refuses a file of another user: SQLite would make files beside it
// that the server cannot open.
func checkOwner(fi os.FileInfo) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if euid := os.Geteuid(); ok && int(st.Uid) != euid {
		return fmt.Errorf("it belongs to the user with ID %d, and this command runs as %d: run it as the file's owner", st.Uid, euid)
	}
	return nil
}
