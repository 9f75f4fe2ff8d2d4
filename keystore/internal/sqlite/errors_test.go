//go:build unix && cgo

package sqlite

import (
	"strings"
	"syscall"
	"testing"

	"github.com/mattn/go-sqlite3"
)

// SQLite reports a full disk as an I/O error if it was writing the -shm file.
func TestExplain_FullDisk(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		sqlite3.Error{Code: sqlite3.ErrFull},
		sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.ENOSPC},
		sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EDQUOT},
	} {
		if got := explain(err).Error(); !strings.Contains(got, "its disk or quota is full: make room") {
			t.Errorf("%v is explained as %q", err, got)
		}
	}
}
