package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// Target is a file that a copy fills. Its methods are not called concurrently.
type Target struct{ d *database }

// OpenTarget opens the file at path, and makes it if it does not exist. The file then has all
// tables. The file must not be one that another process uses.
func OpenTarget(ctx context.Context, path string) (*Target, error) {
	opened, err := New(path, true).Open(ctx, engine.Setup{
		Create:   true,
		Migrated: func(context.Context, engine.Conn, int64) error { return nil },
		Prepare:  func(context.Context, engine.Database) error { return nil },
	})
	if err != nil {
		return nil, err
	}
	d := opened.(*database) //nolint:forcetypeassert // Open returns no other
	t := &Target{d}
	// The rows of a large table come in the order of one of its indexes only. With SQLite's 2 MB, the
	// other indexes would be read from the disk and written to it again and again.
	if _, err := d.relaxed.ExecContext(ctx, `PRAGMA cache_size = -131072`); err != nil {
		_ = d.Close() // err says more
		return nil, err
	}
	return t, nil
}

// Querier returns what reads the tables.
func (t *Target) Querier() engine.Querier { return t.d.reader }

// Reader returns a pool for reads.
func (t *Target) Reader() *sql.DB { return t.d.reader }

// Insert adds rows to a table, in one transaction.
func (t *Target) Insert(ctx context.Context, table string, columns []string, rows engine.Rows) error {
	tx, err := t.d.Begin(ctx, engine.Relaxed)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()                                                                                                                 // does nothing after the commit
	insert, err := tx.PrepareContext(ctx, `INSERT INTO `+table+` (`+strings.Join(columns, `, `)+`) VALUES (?`+strings.Repeat(`, ?`, len(columns)-1)+`)`) //nolint:gosec // the names are those of the schema
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // with the transaction
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return t.d.Commit(ctx, tx)
}

// Empty removes all rows of tables. Each table comes after the tables to which it refers.
func (t *Target) Empty(ctx context.Context, tables []string) error {
	tx, err := t.d.Begin(ctx, engine.Relaxed)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	for _, table := range slices.Backward(tables) {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+table); err != nil { //nolint:gosec // the names are those of the schema
			return err
		}
	}
	return t.d.Commit(ctx, tx)
}

// SetCounter says up to which number the rows of a table were numbered. SQLite itself finds the
// highest rowid.
func (t *Target) SetCounter(ctx context.Context, table, column string, used int64) error {
	if column == "rowid" {
		return nil
	}
	tx, err := t.d.Begin(ctx, engine.Relaxed)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if _, err := tx.ExecContext(ctx, `DELETE FROM sqlite_sequence WHERE name = $1`, table); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)`, table, used); err != nil {
		return err
	}
	return t.d.Commit(ctx, tx)
}

// Close closes the file, and checks that it has all rows: none are left in a file beside it.
func (t *Target) Close() error {
	if err := t.d.Close(); err != nil {
		return err
	}
	if fi, err := os.Stat(t.d.path + "-wal"); err == nil && fi.Size() > 0 {
		return fmt.Errorf("%s was not written whole", t.d.path)
	}
	return nil
}

// Advise returns err with what an operator can do about it, if that is known.
func (t *Target) Advise(err error) error { return t.d.engine.Advise(err) }
