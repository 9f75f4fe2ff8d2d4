//go:build unix

package command

import (
	"os"
	"syscall"
)

// ownerOf returns the user ID of a file's owner. It returns false if it is not known.
func ownerOf(fi os.FileInfo) (uid int, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
