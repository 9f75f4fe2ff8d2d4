//go:build cgo

package keystore

import (
	"errors"

	"github.com/mattn/go-sqlite3"
)

// isBusy reports whether another connection holds a lock that err waited for.
func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}

// Damaged reports whether err says that a file is no database, or no longer a
// whole one.
func Damaged(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrNotADB || e.Code == sqlite3.ErrCorrupt)
}

// explain says what an operator can do about err.
func explain(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	return withAdvice(err, map[sqlite3.ErrNo]string{
		sqlite3.ErrNotADB:   "want a keystore made by this program, or the name of a file that does not exist",
		sqlite3.ErrCorrupt:  "the file is damaged or cut short: restore it from a backup",
		sqlite3.ErrReadonly: "the file cannot be written: want the file and its directory to be writable by the user that this runs as",
		sqlite3.ErrCantOpen: "the file cannot be opened: want the file and its directory to be readable and writable by the user that this runs as",
		sqlite3.ErrPerm:     "the file cannot be opened: want the file and its directory to be readable and writable by the user that this runs as",
		sqlite3.ErrFull:     "the disk is full: make room",
		sqlite3.ErrBusy:     "another process keeps it locked: end that process, or wait for it",
	}[e.Code])
}
