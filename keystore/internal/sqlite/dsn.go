package sqlite

import (
	"net/url"
	"path/filepath"
)

// purpose is what a connection is for.
type purpose uint8

// The purposes.
const (
	purposeRead         purpose = iota
	purposeWrite                // each commit waits for the disk
	purposeWriteRelaxed         // a loss of power can lose a commit, and damages nothing
)

// dsn returns the data source name for the file at an absolute path. It has all settings
// that every connection of a pool must have.
func dsn(path string, purpose purpose) string {
	q := url.Values{
		"_foreign_keys":    {"on"},
		"_stmt_cache_size": {"64"},
	}
	if purpose == purposeRead {
		q.Set("mode", "ro")
		q.Set("_query_only", "on")
		q.Set("_busy_timeout", "5000")
		return fileURI(path, q)
	}
	q.Set("mode", "rw") // never creates the file: SQLite would let other users read it
	q.Set("_journal_mode", "WAL")
	q.Set("_synchronous", "FULL")
	if purpose == purposeWriteRelaxed {
		q.Set("_synchronous", "NORMAL") // with a -wal file, SQLite then syncs for checkpoints only
	}
	q.Set("_txlock", "immediate")
	q.Set("_busy_timeout", "0") // waitForLock waits: see there
	return fileURI(path, q)
}

// fileURI names a file for SQLite.
func fileURI(path string, q url.Values) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	return "file:" + u.EscapedPath() + "?" + q.Encode()
}

// immutableURI names a file that no process writes to. SQLite then makes no files beside
// it.
func immutableURI(path string) string {
	return fileURI(path, url.Values{"mode": {"ro"}, "immutable": {"1"}})
}
