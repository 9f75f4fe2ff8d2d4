//go:build unix && cgo

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/mattn/go-sqlite3"

	"github.com/speechgate/speechgate/keystore/internal/engine"
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

// Each question about an error has an answer of its own, also for an error that is wrapped.
func TestErrors_SayWhatTheyMean(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err                         error
		busy, access, full, damaged bool
		advice                      string
	}{
		{err: sqlite3.Error{Code: sqlite3.ErrBusy}, busy: true, advice: "another process keeps it locked"},
		{err: sqlite3.Error{Code: sqlite3.ErrLocked}, busy: true},
		{err: sqlite3.Error{Code: sqlite3.ErrReadonly}, access: true, advice: "cannot be opened or written"},
		{err: sqlite3.Error{Code: sqlite3.ErrCantOpen}, access: true, advice: "cannot be opened or written"},
		{err: sqlite3.Error{Code: sqlite3.ErrPerm}, access: true, advice: "cannot be opened or written"},
		{err: fs.ErrPermission, access: true},
		{err: sqlite3.Error{Code: sqlite3.ErrFull}, full: true, advice: "is full"},
		{err: sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrSHMSize}, full: true, advice: "its disk failed"},
		{err: sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.ENOSPC}, full: true, advice: "is full"},
		{err: sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EDQUOT}, full: true, advice: "is full"},
		{err: sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EIO}, advice: "its disk failed"},
		{err: sqlite3.Error{Code: sqlite3.ErrNotADB}, damaged: true, advice: "want a keystore made by this program"},
		{err: sqlite3.Error{Code: sqlite3.ErrCorrupt}, damaged: true, advice: "restore it from a backup"},
		{err: sqlite3.Error{Code: sqlite3.ErrConstraint}},
		{err: errors.New("no")},
		{err: nil},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("reading: %w", err)
		}
		if busy, access, full, damaged := isBusy(err), isAccess(err), isFull(err), Damaged(err); busy != c.busy || access != c.access || full != c.full || damaged != c.damaged {
			t.Errorf("%v: busy %t, access %t, full %t, damaged %t", err, busy, access, full, damaged)
		}
		explained := explain(err)
		if !errors.Is(explained, err) || engine.HasAdvice(explained) != (c.advice != "") || err != nil && !strings.Contains(explained.Error(), c.advice) {
			t.Errorf("%v is explained as %v, want %q", err, explained, c.advice)
		}
		if again := explain(explained); again != nil && again.Error() != explained.Error() {
			t.Errorf("explained twice: %v", again)
		}
	}
}
