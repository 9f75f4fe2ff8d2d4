package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
)

// Copy is what a backup holds.
type Copy struct {
	Path     string // of the file, absolute
	Bytes    int64
	Accounts int
	Keys     int
	Jobs     int
	Head     AuditHead // of its audit trail

	position position
}

// position is where a store stands: of two copies with the same nothing that
// matters differs.
type position struct {
	feed, audit, job int64 // the last of each
}

func readPosition(ctx context.Context, q querier) (p position, err error) {
	err = q.QueryRowContext(ctx, `SELECT (SELECT COALESCE(MAX(seq), 0) FROM main.feed),
		(SELECT COALESCE(MAX(seq), 0) FROM main.audit), (SELECT COALESCE(MAX(rowid), 0) FROM main.jobs)`).Scan(&p.feed, &p.audit, &p.job)
	return p, err
}

// Backup copies the store as it is at one instant into a new file at path,
// which stands alone and can be read by its owner only. Reading and writing go
// on meanwhile. It refuses, with ErrInvalid, a path that is taken. When it
// returns without error, the copy survives the loss of power.
func (s *Store) Backup(ctx context.Context, path string) (c Copy, err error) {
	db, err := s.database()
	if err != nil {
		return Copy{}, err
	}
	if path, err = s.checkTarget(path); err != nil {
		return Copy{}, err
	}
	temp, err := newTemp(path)
	if err != nil {
		return Copy{}, refuse(ErrInvalid, "the backup %s cannot be made: %v", path, err)
	}
	defer removeTemp(temp)
	if err := vacuumInto(ctx, db.path, temp); err != nil {
		return Copy{}, fault(fmt.Errorf("keystore %s: copying it: %w", db.path, explain(err)))
	}
	if err := db.checkPlace(); err != nil { // the name may have become another file's
		return Copy{}, fault(fmt.Errorf("keystore %s: copying it: %w", db.path, err))
	}
	if c, err = readCopy(ctx, temp); err != nil {
		return Copy{}, fault(fmt.Errorf("keystore %s: reading its copy: %w", db.path, err))
	}
	if err := errors.Join(syncFile(temp), place(temp, path)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return Copy{}, taken(path)
		}
		return Copy{}, refuse(ErrInvalid, "the backup %s cannot be written: %v", path, err)
	}
	c.Path = path
	return c, nil
}

// checkTarget refuses a path that is taken, or that SQLite would take for a part
// of the store.
func (s *Store) checkTarget(path string) (string, error) {
	if path == "" {
		return "", refuse(ErrInvalid, "the backup has no name: want that of a new file")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", refuse(ErrInvalid, "the backup %q: %v", path, err)
	}
	if slices.Contains(asideOf(resolved(s.cfg.Path)), filepath.Join(resolved(filepath.Dir(abs)), filepath.Base(abs))) {
		return "", refuse(ErrInvalid, "the backup %s would be taken for a part of the keystore: want another name", abs)
	}
	if _, err := os.Lstat(abs); err == nil {
		return "", taken(abs)
	}
	return abs, nil
}

// resolved is a path without symbolic links, as far as it exists.
func resolved(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

func taken(path string) error {
	return refuse(ErrInvalid, "%s exists already, and is not overwritten: want the name of a new file", path)
}

// asideOf names the files that SQLite keeps beside a database.
func asideOf(path string) []string {
	return []string{path + "-wal", path + "-shm", path + "-journal"}
}

// newTemp makes an empty file beside path, for the owner's eyes only.
func newTemp(path string) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*") // with mode 0600
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

func removeTemp(path string) {
	for _, name := range append(asideOf(path), path) {
		_ = os.Remove(name) // mostly it is not there
	}
}

// vacuumInto copies one state of the database into an empty file. It has a
// connection of its own: those of the pools are busy, or must not write at all.
func vacuumInto(ctx context.Context, from, to string) error {
	q := url.Values{"mode": {"ro"}, "_busy_timeout": {"5000"}}
	db, err := sql.Open("sqlite3", fileURI(from, q))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it has written nothing
	_, err = db.ExecContext(ctx, `VACUUM INTO $1`, fileURI(to, nil))
	return err
}

// fileURI names a file for SQLite.
func fileURI(path string, q url.Values) string {
	u := url.URL{Path: filepath.ToSlash(path)}
	return "file:" + u.EscapedPath() + "?" + q.Encode()
}

// aloneURI is for a file that nothing writes to. SQLite then makes no files
// beside it.
func aloneURI(path string) string {
	return fileURI(path, url.Values{"mode": {"ro"}, "immutable": {"1"}})
}

// readCopy makes sure that a copy is whole, and counts what it holds.
func readCopy(ctx context.Context, path string) (c Copy, err error) {
	db, err := sql.Open("sqlite3", aloneURI(path))
	if err != nil {
		return c, err
	}
	defer func() { _ = db.Close() }()
	if err := checkWhole(ctx, db); err != nil {
		return c, err
	}
	if c.Head, err = lastHead(ctx, db); err != nil {
		return c, err
	}
	if c.position, err = readPosition(ctx, db); err != nil {
		return c, err
	}
	err = db.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM api_keys), (SELECT COUNT(*) FROM jobs)`).
		Scan(&c.Accounts, &c.Keys, &c.Jobs)
	if err != nil {
		return c, err
	}
	fi, err := os.Stat(path)
	if err == nil {
		c.Bytes = fi.Size()
	}
	return c, err
}

// checkWhole has SQLite look at every page.
func checkWhole(ctx context.Context, q querier) error {
	var result string
	if err := q.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("it is damaged: %s", result)
	}
	return nil
}

// syncFile has a file's bytes survive the loss of power.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the store named the file
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// place gives a file its name, if that is free: a rename would overwrite what
// came there meanwhile.
func place(temp, path string) error {
	err := os.Link(temp, path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = claim(temp, path)
	}
	if err == nil {
		syncDir(filepath.Dir(path))
	}
	return err
}

// claim is place for file systems without links.
func claim(temp, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	if err := errors.Join(f.Close(), os.Rename(temp, path)); err != nil {
		_ = os.Remove(path) // the empty file that was made here
		return err
	}
	return nil
}

// syncDir has a directory's names survive the loss of power.
func syncDir(path string) {
	if dir, err := os.Open(path); err == nil { //nolint:gosec // the operator named it
		_ = dir.Sync() // some systems cannot
		_ = dir.Close()
	}
}
