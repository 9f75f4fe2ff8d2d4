package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// Target is a database that a copy fills. While it is filled, the versions of its schema are in a
// table of another name, which has the ID of the copied keystore. So no process takes the database
// for a keystore, and a copy that was interrupted finds its own target. Finish gives the table its
// name. The methods are not called concurrently.
type Target struct {
	d     *database
	conn  *sql.Conn // has the lock of the copy
	table string    // with the versions of the schema
}

const (
	copyTablePrefix = "speechgate_copy_" // of the table with the versions, while a copy fills the database
	copyLock        = 0x53474b43         // key of the advisory lock of a copy: "SGKC"
)

var (
	storeIDForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
	errCopying  = errors.New("another process is copying a keystore into the database: wait for it to end")
)

// OpenTarget prepares the database for a copy of the keystore with an ID, or goes on where an
// earlier copy of this keystore has stopped. The error is ErrTaken if the database has a keystore.
func (e *Engine) OpenTarget(ctx context.Context, storeID string) (_ *Target, err error) {
	if !storeIDForm.MatchString(storeID) {
		return nil, fmt.Errorf("the keystore has the ID %q: want 32 hexadecimal digits", storeID)
	}
	d, err := e.reach(ctx)
	if err != nil {
		return nil, err
	}
	t := &Target{d: d, table: copyTablePrefix + storeID}
	defer func() {
		if err != nil {
			_ = t.Close() // err says more
		}
	}()
	if err := d.checkDirect(ctx); err != nil {
		return nil, err
	}
	if t.conn, err = d.working.Conn(ctx); err != nil {
		return nil, connectError(err)
	}
	if err := checkSession(ctx, t.conn); err != nil {
		return nil, err
	}
	var locked bool
	if err := t.conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, copyLock).Scan(&locked); err != nil {
		return nil, err
	}
	if !locked {
		return nil, errCopying
	}
	version, err := readVersion(ctx, t.conn)
	if err == nil && version > 0 {
		err = ErrTaken
	}
	if err != nil {
		return nil, err
	}
	switch found, err := findCopy(ctx, t.conn); {
	case err != nil:
		return nil, err
	case found != "" && found != t.table:
		return nil, fmt.Errorf("the database has an unfinished copy of another keystore, %s: finish this copy, or empty the database", strings.TrimPrefix(found, copyTablePrefix))
	}
	_, err = d.upgrade(ctx, t.table, migrations(), engine.SchemaVersion)
	return t, adviseOwner(err, copyAsOwner)
}

// findCopy returns the name of the table that marks an unfinished copy; empty if the database has no such table.
func findCopy(ctx context.Context, q engine.Querier) (table string, err error) {
	err = q.QueryRowContext(ctx, `SELECT COALESCE(MIN(tablename), '') FROM pg_tables
		WHERE schemaname = ANY(current_schemas(FALSE)) AND starts_with(tablename, $1)`, copyTablePrefix).Scan(&table)
	return table, err
}

// checkNoCopy returns an error if a copy into the database is not finished.
func (d *database) checkNoCopy(ctx context.Context) error {
	found, err := findCopy(ctx, d.reader)
	if err == nil && found != "" {
		err = fmt.Errorf("the database has an unfinished copy of the keystore %s: repeat \"copy\", or empty the database", strings.TrimPrefix(found, copyTablePrefix))
	}
	return err
}

// Querier returns what reads the tables.
func (t *Target) Querier() engine.Querier { return t.conn }

// Reader returns a pool for reads that can take long.
func (t *Target) Reader() *sql.DB { return t.d.working }

// Insert adds rows to a table, in one transaction.
func (t *Target) Insert(ctx context.Context, table string, columns []string, rows engine.Rows) error {
	return insertRows(ctx, t.conn, table, columns, rows)
}

// insertRows adds rows to the table with a name, by one COPY.
func insertRows(ctx context.Context, conn *sql.Conn, name string, columns []string, rows engine.Rows) error {
	return conn.Raw(func(driverConn any) error {
		_, err := clientOf(driverConn).CopyFrom(ctx, pgx.Identifier{name}, columns, rows)
		return err
	})
}

// Empty removes all rows of tables, and of no others: no other table refers to them.
func (t *Target) Empty(ctx context.Context, tables []string) error {
	_, err := t.conn.ExecContext(ctx, `TRUNCATE `+strings.Join(tables, `, `))
	return err
}

// SetCounter says up to which number the rows of a table were numbered.
func (t *Target) SetCounter(ctx context.Context, table, column string, used int64) error {
	last := `SELECT COALESCE(MAX(` + column + `), 0) FROM ` + table
	_, err := t.conn.ExecContext(ctx, `SELECT setval(pg_get_serial_sequence($1, $2), GREATEST(1, CAST($3 AS BIGINT), (`+last+`)))`, //nolint:gosec // the names are those of the schema
		table, column, used)
	return err
}

// Finish makes the database a keystore, which it is not before.
func (t *Target) Finish(ctx context.Context) error {
	for _, table := range tables() {
		if _, err := t.conn.ExecContext(ctx, `ANALYZE `+table.name); err != nil {
			return err
		}
	}
	tx, err := t.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	version, err := readVersion(ctx, tx)
	switch {
	case err != nil:
		return err
	case version > 0:
		return ErrTaken
	}
	// A server that began to make a keystore at the same time has left its empty table.
	if _, err := tx.ExecContext(ctx, `DROP TABLE IF EXISTS `+versionTable); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `ALTER TABLE `+t.table+` RENAME TO `+versionTable); err != nil {
		return err
	}
	return tx.Commit()
}

// Close closes the connections. A target that is not finished stays, for the next copy.
func (t *Target) Close() error {
	if t.conn != nil {
		// The lock goes with the connection.
		_ = t.conn.Raw(func(driverConn any) error { return clientOf(driverConn).Close(context.Background()) })
		_ = t.conn.Close()
	}
	return t.d.Close()
}

// Advise returns err with what an operator can do about it, if that is known.
func (t *Target) Advise(err error) error { return advise(err) }
