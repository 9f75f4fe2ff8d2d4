package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	replicaName  = "replica.db"
	replicaID    = 0x53475250 // "SGRP", in the header of every file of a replica
	replicaCache = 64 << 20   // bytes of the writer's cache: the digests of new keys are all over the index
)

// replicaFormat identifies the tables, in the header of every file: a file with other tables is made again.
var replicaFormat = int64(crc32.ChecksumIEEE([]byte(replicaTables)) >> 1) //nolint:gochecknoglobals // a constant

// replicaTables has the columns that lookups need, with the names of the keystore's own tables. A job is also
// found by its digest, because the change feed names it so.
const replicaTables = `
CREATE TABLE position (
	one         INTEGER PRIMARY KEY CHECK (one = 1),
	store_id    TEXT NOT NULL, -- empty: nothing was copied yet
	place       TEXT NOT NULL, -- of the database, for people and without a password
	pepper      TEXT NOT NULL, -- the check value of the store; empty: no pepper
	compatible  INTEGER NOT NULL,
	timeline    TEXT NOT NULL,
	seq         INTEGER NOT NULL, -- of the last change that is in the tables
	mark_at     INTEGER NOT NULL,
	mark_kind   TEXT NOT NULL,
	mark_ref    BLOB NOT NULL,
	phase       INTEGER NOT NULL,
	account     TEXT NOT NULL, -- the last one that was copied
	key_row     INTEGER NOT NULL,
	job_digest  BLOB NOT NULL,
	age         INTEGER NOT NULL, -- milliseconds since the database was heard, at seen_at
	seen_at     INTEGER NOT NULL,
	owner       TEXT NOT NULL -- the store that writes; empty: none
);
INSERT INTO position VALUES (1, '', '', '', 0, '', 0, 0, '', x'', 0, '', 0, x'', 0, 0, '');
CREATE TABLE accounts (
	id TEXT PRIMARY KEY, closed_at INTEGER, suspended_at INTEGER, limits TEXT
) WITHOUT ROWID;
CREATE TABLE api_keys (
	row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account_id TEXT NOT NULL, digest BLOB NOT NULL UNIQUE, origin TEXT NOT NULL,
	allow TEXT NOT NULL, issuable INTEGER NOT NULL, issuer_id TEXT, created_at INTEGER NOT NULL, expires_at INTEGER, deleted_at INTEGER,
	revoked_at INTEGER, revoke_from INTEGER, outlives_issuer INTEGER NOT NULL, children_revoked_at INTEGER, suspended_at INTEGER, limits TEXT
);
CREATE TABLE last_uses (digest BLOB PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID; -- stays empty
CREATE TABLE jobs (
	digest BLOB PRIMARY KEY, backend TEXT NOT NULL, id TEXT NOT NULL, dialect TEXT NOT NULL, account_id TEXT NOT NULL, key_id TEXT NOT NULL,
	client TEXT NOT NULL, created_at INTEGER NOT NULL, state TEXT NOT NULL, ended_at INTEGER, upstream_key INTEGER,
	UNIQUE (id, backend)
) WITHOUT ROWID;
CREATE INDEX jobs_created ON jobs (created_at);
CREATE TABLE tokens (
	digest BLOB NOT NULL, backend TEXT NOT NULL, key_id TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
	upstream_key INTEGER, PRIMARY KEY (digest, backend)
) WITHOUT ROWID;
CREATE TABLE news ( -- what has changed after seq, as far as the store that writes knows it
	kind TEXT NOT NULL, ref BLOB NOT NULL, PRIMARY KEY (kind, ref)
) WITHOUT ROWID;
`

// Replica is the file in which a gateway keeps a copy of the records of a database on another machine.
// Several stores can have it open, also in several processes. Its methods may be called concurrently.
type Replica struct {
	path    string
	info    fs.FileInfo // of the file that is open
	reader  *sql.DB
	writer  *sql.DB // durable
	relaxed *sql.DB
}

// OpenReplica opens the file of a replica in a directory, and makes both if they do not exist. A file that is
// damaged, or is no replica of this program's format, gets another name, and a new file takes its place: aside
// is then the new name. The error is for the operator.
func OpenReplica(ctx context.Context, dir string) (r *Replica, aside string, err error) {
	path := filepath.Join(dir, replicaName)
	r, err = openReplica(ctx, path)
	if errors.Is(err, errNoReplica) || Damaged(err) {
		if aside, err = setAside(path); err == nil {
			r, err = openReplica(ctx, path)
		}
	}
	if err != nil {
		return nil, aside, fmt.Errorf("replica %s: %w", dir, New(path, true).Advise(err))
	}
	return r, aside, nil
}

var errNoReplica = errors.New("it is no replica of this version")

func openReplica(ctx context.Context, path string) (_ *Replica, err error) {
	if err := createFile(path); err != nil {
		return nil, err
	}
	if _, err := checkFile(path, true); err != nil {
		return nil, err
	}
	r := &Replica{path: path}
	defer func() {
		if err != nil {
			_ = r.Close() // err says more
		}
	}()
	for _, p := range []struct {
		pool    **sql.DB
		purpose purpose
		most    int
	}{{&r.reader, purposeRead, 16}, {&r.writer, purposeWrite, 1}, {&r.relaxed, purposeWriteRelaxed, 1}} {
		if *p.pool, err = sql.Open("sqlite3", dsn(path, p.purpose)); err != nil {
			return nil, err
		}
		(*p.pool).SetMaxOpenConns(p.most)
		(*p.pool).SetMaxIdleConns(p.most)
	}
	if err := r.makeTables(ctx); err != nil {
		return nil, err
	}
	if r.info, err = os.Stat(path); err != nil {
		return nil, err
	}
	_, err = r.relaxed.ExecContext(ctx, fmt.Sprintf(`PRAGMA cache_size = -%d; PRAGMA wal_autocheckpoint = 4000`, replicaCache>>10))
	return r, err
}

// makeTables makes the tables of an empty file. It returns errNoReplica for a file with other tables.
func (r *Replica) makeTables(ctx context.Context) error {
	tx, err := r.Begin(ctx, true)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	var tables, id, format int64
	err = tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM sqlite_master), (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version)`).Scan(&tables, &id, &format)
	switch {
	case err != nil:
		return err
	case tables > 0 && (id != replicaID || format != replicaFormat):
		return errNoReplica
	case tables > 0:
		return nil
	}
	if _, err := tx.ExecContext(ctx, replicaTables+fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`, replicaID, replicaFormat)); err != nil {
		return err
	}
	return tx.Commit()
}

// setAside gives the file at path another name, in the place of a file that was set aside before.
func setAside(path string) (aside string, err error) {
	aside = path + ".aside"
	for _, name := range append([]string{path}, Beside(path)...) {
		err := os.Rename(name, aside+name[len(path):])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(aside + name[len(path):]) // it belongs to an earlier file
		}
	}
	return aside, nil
}

// SetAside closes the file and gives it another name, which it returns.
func (r *Replica) SetAside() (aside string, err error) {
	if err := r.Close(); err != nil {
		return "", err
	}
	return setAside(r.path)
}

// Moved reports whether the file does not have its name any more: new connections would not lead to it.
func (r *Replica) Moved() bool {
	info, err := os.Stat(r.path)
	return err != nil || !os.SameFile(info, r.info)
}

// Size returns how many bytes the file has, with its -wal file. It opens neither.
func (r *Replica) Size() int64 { return max(fileSize(r.path), 0) + max(fileSize(r.path+"-wal"), 0) }

// Reader returns a pool for reads.
func (r *Replica) Reader() *sql.DB { return r.reader }

// Begin begins a transaction that writes. If it is durable, its commit waits for the disk.
func (r *Replica) Begin(ctx context.Context, durable bool) (*sql.Tx, error) {
	if durable {
		return waitForLock(ctx, r.writer)
	}
	return waitForLock(ctx, r.relaxed)
}

// ReplicaPassing reports whether an error of OpenReplica can pass by itself: the disk is full, or another store has
// the lock of the file.
func ReplicaPassing(err error) bool { return isBusy(err) || isFull(err) }

// Advise adds to err what the operator can do about it.
func (*Replica) Advise(err error) error { return explain(err) }

// Close closes the file.
func (r *Replica) Close() error {
	var errs []error
	for _, pool := range []*sql.DB{r.reader, r.relaxed, r.writer} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(errs...)
}
