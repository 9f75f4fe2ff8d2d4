package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// Copy describes a backup.
type Copy struct {
	Path     string // absolute path of the file
	Bytes    int64  // size of the file
	Accounts int
	Keys     int
	Jobs     int
	Head     AuditHead // of its audit trail

	position position
}

// position identifies a state of a store. Two copies with the same position have the same
// records, except for last-used times and tokens.
type position struct {
	feed, audit, job int64 // the numbers of the last rows
}

func readPosition(ctx context.Context, q querier) (p position, err error) {
	err = q.QueryRowContext(ctx, `SELECT (SELECT COALESCE(MAX(seq), 0) FROM feed),
		(SELECT COALESCE(MAX(seq), 0) FROM audit), (SELECT COALESCE(MAX(rowid), 0) FROM jobs)`).Scan(&p.feed, &p.audit, &p.job)
	return p, err
}

// Backup copies the store, as it is at one instant, into a new file at path, which only
// its owner can read. The file is an SQLite database without other files beside it.
// Reads and writes go on meanwhile. The error is ErrInvalid if there is a file at path,
// or if the file cannot be written. When Backup returns without error, the copy survives
// a loss of power.
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
		if dir := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) {
			return Copy{}, refuse(ErrInvalid, "the backup %s cannot be made: its directory %s does not exist: want one that exists", path, dir)
		}
		return Copy{}, refuse(ErrInvalid, "the backup %s cannot be made: %v", path, err)
	}
	defer removeTemp(temp)
	// The totals of the copy are then up to date: a restore reads the totals of a key that it
	// brings back, and no journal.
	s.foldForReader(ctx)
	if err := db.Export(ctx, temp); err != nil {
		return Copy{}, fault(fmt.Errorf("keystore %s: copying it: %w", s.cfg.name, err))
	}
	if c, err = readCopy(ctx, temp); err != nil {
		return Copy{}, fault(fmt.Errorf("keystore %s: reading its copy: %w", s.cfg.name, err))
	}
	if err := moveInto(temp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return Copy{}, taken(path)
		}
		return Copy{}, refuse(ErrInvalid, "the backup %s cannot be written: %v", path, err)
	}
	c.Path = path
	return c, nil
}

// checkTarget returns the absolute path for a backup. It refuses an empty path, the
// path of an existing file, and the paths of the files that SQLite keeps beside the
// store.
func (s *Store) checkTarget(path string) (string, error) {
	if path == "" {
		return "", refuse(ErrInvalid, "the backup has no name: want that of a new file")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", refuse(ErrInvalid, "the backup %q: %v", path, err)
	}
	if s.cfg.Postgres == nil && slices.Contains(sqlite.Beside(resolved(s.cfg.Path)), filepath.Join(resolved(filepath.Dir(abs)), filepath.Base(abs))) {
		return "", refuse(ErrInvalid, "the backup %s would be taken for a part of the keystore: want another name", abs)
	}
	if _, err := os.Lstat(abs); err == nil {
		return "", taken(abs)
	}
	return abs, nil
}

// resolved returns a path without symbolic links, or path if it does not exist.
func resolved(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

func taken(path string) error {
	return refuse(ErrInvalid, "%s exists already, and is not overwritten: want the name of a new file", path)
}

// readCopy checks that a copy is whole, and counts its records.
func readCopy(ctx context.Context, path string) (c Copy, err error) {
	db, err := sqlite.OpenCopy(path)
	if err != nil {
		return c, err
	}
	defer func() { _ = db.Close() }()
	if err := sqlite.CheckIntegrity(ctx, db); err != nil {
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
