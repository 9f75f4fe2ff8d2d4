//go:build cgo

package sqlite

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"github.com/mattn/go-sqlite3"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// isBusy reports whether err says that another connection held a lock for too long.
func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}

// isAccess reports whether err says that a file cannot be opened or written.
// SQLite does not say whether it means the file, its directory or a file beside it.
func isAccess(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && slices.Contains([]sqlite3.ErrNo{sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm}, e.Code) ||
		errors.Is(err, fs.ErrPermission)
}

// isFull reports whether err says that the disk or a quota is full. SQLite's code
// for a full disk covers only some of these errors.
func isFull(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrFull || e.ExtendedCode == sqlite3.ErrIoErrSHMSize ||
		e.SystemErrno == syscall.ENOSPC || e.SystemErrno == syscall.EDQUOT)
}

// Damaged reports whether err says that a file is not an SQLite database, or is
// damaged.
func Damaged(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrNotADB || e.Code == sqlite3.ErrCorrupt)
}

const noAccess = "the file cannot be opened or written: want the file, its -wal and -shm files and its directory to be readable and writable by the user that this runs as"

// explain adds to err what an operator can do about it. It knows this by the error's code.
func explain(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.SystemErrno == syscall.ENOSPC || e.SystemErrno == syscall.EDQUOT {
		e.Code = sqlite3.ErrFull // SQLite uses this code for the database file, but not for the -shm file
	}
	return engine.WithAdvice(err, map[sqlite3.ErrNo]string{
		sqlite3.ErrNotADB:   "want a keystore made by this program, or the name of a file that does not exist",
		sqlite3.ErrCorrupt:  "the file is damaged or cut short: restore it from a backup",
		sqlite3.ErrReadonly: noAccess,
		sqlite3.ErrCantOpen: noAccess,
		sqlite3.ErrPerm:     noAccess,
		sqlite3.ErrFull:     "its disk or quota is full: make room",
		sqlite3.ErrBusy:     "another process keeps it locked: end that process, or wait for it",
		sqlite3.ErrIoErr:    "its disk failed, or a limit on the size of files was met: look at the system's log",
	}[e.Code])
}
