package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// Export implements [engine.Database].
func (d *database) Export(ctx context.Context, path string) error {
	if err := vacuumInto(ctx, d.path, path); err != nil {
		return explain(err)
	}
	return d.checkPlace() // another file may be at the path now
}

// vacuumInto copies the database file from, as it is at one instant, into the empty file
// to. It opens a connection of its own: the writer's connection is in use, and the pool
// of readers must not write.
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

// Attach implements [engine.Database].
func (d *database) Attach(ctx context.Context, path string, use func(begin func(context.Context) (*sql.Tx, error)) error) (err error) {
	// SQLite attaches a file to one connection, and not within a transaction.
	conn, err := d.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it goes back to the pool
	if _, err := conn.ExecContext(ctx, `ATTACH DATABASE $1 AS backup`, immutableURI(path)); err != nil {
		return err
	}
	defer func() {
		_, detachErr := conn.ExecContext(context.WithoutCancel(ctx), `DETACH DATABASE backup`)
		err = errors.Join(err, detachErr)
	}()
	return use(func(ctx context.Context) (*sql.Tx, error) {
		if err := d.checkPlace(); err != nil {
			return nil, err
		}
		return begin(ctx, conn)
	})
}

// OpenCopy opens a file that no process writes to, for reading. It makes no files
// beside it.
func OpenCopy(path string) (*sql.DB, error) { return sql.Open("sqlite3", immutableURI(path)) }

// OpenUnchanged opens the database at path for reading, while a server may be using it, and without
// an upgrade of its schema. If no process uses the database, it makes no files beside it.
func OpenUnchanged(path string) (*sql.DB, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	for _, name := range Beside(target) {
		if _, err := os.Lstat(name); err == nil {
			return sql.Open("sqlite3", dsn(path, purposeRead))
		}
	}
	return OpenCopy(path)
}

// CheckIntegrity lets SQLite check every page of a database. The error says what is
// damaged.
func CheckIntegrity(ctx context.Context, q engine.Querier) error {
	var result string
	if err := q.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return fmt.Errorf("it is damaged: %s", result)
	}
	return nil
}

// SyncDir makes the names in a directory survive a loss of power.
func SyncDir(path string) {
	if dir, err := os.Open(path); err == nil { //nolint:gosec // the operator named it
		_ = dir.Sync() // some systems cannot sync a directory
		_ = dir.Close()
	}
}

// Snapshot implements [engine.Database].
func (d *database) Snapshot(ctx context.Context, read func(engine.Querier) error) error {
	tx, err := d.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has written nothing
	// SQLite takes the snapshot at the first read.
	if _, err := ReadVersion(ctx, tx); err != nil {
		return err
	}
	return read(tx)
}
