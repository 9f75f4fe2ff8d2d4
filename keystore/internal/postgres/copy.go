package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// Export implements [engine.Database]. It reads all tables in one snapshot, beside the
// transactions that write.
func (d *database) Export(ctx context.Context, path string) (err error) {
	lite, err := sqlite.New(path, true).Open(ctx, engine.Setup{
		Create:   true,
		Migrated: func(context.Context, engine.Conn, int64) error { return nil },
		Prepare:  func(context.Context, engine.Database) error { return nil },
	})
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, lite.Close()) }()
	from, err := d.working.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = from.Rollback() }() // it has written nothing
	to, err := lite.Begin(ctx, engine.Relaxed)
	if err != nil {
		return err
	}
	defer func() { _ = to.Rollback() }() // does nothing after the commit
	for _, t := range tables() {
		if err := exportTable(ctx, from, to, t); err != nil {
			return fmt.Errorf("the table %s: %w", t.name, err)
		}
	}
	return lite.Commit(to)
}

// exportTable copies a table to SQLite, and the number up to which its counter was used.
func exportTable(ctx context.Context, from, to *sql.Tx, t table) error {
	columns, err := columnsOf(ctx, to, from, t)
	if err != nil {
		return err
	}
	if _, err := to.ExecContext(ctx, `DELETE FROM `+t.name); err != nil { //nolint:gosec // the name is one of tables; the rows are those of an empty keystore
		return err
	}
	rows, err := readTable(ctx, from, t, columns)
	if err != nil {
		return err
	}
	defer rows.close()
	insert, err := to.PrepareContext(ctx, `INSERT INTO `+t.name+` (`+strings.Join(columns, `, `)+`) VALUES (?`+strings.Repeat(`, ?`, len(columns)-1)+`)`) //nolint:gosec // the name is one of tables
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // with the transaction
	for rows.Next() {
		if _, err := insert.ExecContext(ctx, rows.values...); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil || t.counter == "" {
		return err
	}
	used, err := lastNumber(ctx, from, t)
	if err != nil {
		return err
	}
	if _, err := to.ExecContext(ctx, `DELETE FROM sqlite_sequence WHERE name = $1`, t.name); err != nil {
		return err
	}
	_, err = to.ExecContext(ctx, `INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)`, t.name, used)
	return err
}

// lastNumber returns the highest number that the counter of a table has given out, or that a row
// has: entries of the audit trail bring their own numbers.
func lastNumber(ctx context.Context, q engine.Querier, t table) (n int64, err error) {
	var sequence string
	if err := q.QueryRowContext(ctx, `SELECT pg_get_serial_sequence($1, $2)`, t.name, t.counter).Scan(&sequence); err != nil {
		return 0, err
	}
	// The name comes from the server, with the quotes that it needs.
	err = q.QueryRowContext(ctx, `SELECT GREATEST((SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM `+sequence+`),
		(SELECT COALESCE(MAX(`+t.counter+`), 0) FROM `+t.name+`))`).Scan(&n)
	return n, err
}

// backupTable is the name of a table of the attached copy: see Text.
func backupTable(t table) string { return "backup_" + t.name }

// Attach implements [engine.Database]. The tables of the copy are temporary tables of one
// connection.
func (d *database) Attach(ctx context.Context, path string, use func(begin func(context.Context) (*sql.Tx, error)) error) (err error) {
	lite, err := sqlite.OpenCopy(path)
	if err != nil {
		return err
	}
	defer func() { _ = lite.Close() }() // it was only read
	conn, err := d.working.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		// The temporary tables go with the connection.
		_ = conn.Raw(func(driverConn any) error { return driverConn.(*stdlib.Conn).Conn().Close(context.WithoutCancel(ctx)) })
		_ = conn.Close()
	}()
	for _, t := range tables() {
		if err := attachTable(ctx, lite, conn, t); err != nil {
			return fmt.Errorf("the table %s of the backup: %w", t.name, err)
		}
	}
	return use(func(ctx context.Context) (*sql.Tx, error) {
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		if err = d.lock(ctx, tx, false); err == nil {
			_, err = tx.ExecContext(ctx, lockOthers)
		}
		if err != nil {
			_ = tx.Rollback() // err says more
			return nil, err
		}
		return tx, nil
	})
}

// lockOthers keeps the transactions with the mode Beside from writing.
const lockOthers = `LOCK TABLE jobs, last_uses IN SHARE ROW EXCLUSIVE MODE`

func attachTable(ctx context.Context, lite *sql.DB, conn *sql.Conn, t table) error {
	columns, err := columnsOf(ctx, lite, conn, t)
	if err != nil {
		return err
	}
	name := backupTable(t)
	if _, err := conn.ExecContext(ctx, `CREATE TEMPORARY TABLE `+name+` (LIKE `+t.name+` INCLUDING INDEXES)`); err != nil {
		return err
	}
	if err := copyTable(ctx, lite, conn, t, columns, name); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, `ANALYZE `+name)
	return err
}

// copyTable copies the rows of a table of SQLite into the PostgreSQL table with a name.
func copyTable(ctx context.Context, lite engine.Querier, conn *sql.Conn, t table, columns []string, name string) error {
	rows, err := readTable(ctx, lite, t, columns)
	if err != nil {
		return err
	}
	defer rows.close()
	return conn.Raw(func(driverConn any) error {
		c, ok := driverConn.(*stdlib.Conn)
		if !ok {
			return errors.New("the connection is not pgx's")
		}
		_, err := c.Conn().CopyFrom(ctx, pgx.Identifier{name}, columns, rows)
		return err
	})
}

// CheckNew returns an error if the database has a keystore already, or if it cannot be reached.
func (e *Engine) CheckNew(ctx context.Context) error {
	_, version, err := e.Inspect(ctx)
	if err == nil && version > 0 {
		err = ErrTaken
	}
	return err
}

// ErrTaken says that the database has a keystore already.
var ErrTaken = errors.New("the database has a keystore already: want an empty database")

// LoadNew makes a keystore with the records of the copy at path. The error is ErrTaken if the
// database has a keystore already.
func (e *Engine) LoadNew(ctx context.Context, path string) error {
	if err := e.CheckNew(ctx); err != nil {
		return err
	}
	opened, err := e.Open(ctx, engine.Setup{
		Create:  true,
		Prepare: func(context.Context, engine.Database) error { return nil },
	})
	if err != nil {
		return err
	}
	d := opened.(*database) //nolint:forcetypeassert // Open returns no other
	if !d.made {
		err = ErrTaken // another process was faster
	}
	if err == nil {
		err = d.load(ctx, path)
	}
	return firstError(err, d.Close())
}

// load puts the records of the copy at path into the empty tables.
func (d *database) load(ctx context.Context, path string) error {
	lite, err := sqlite.OpenCopy(path)
	if err != nil {
		return err
	}
	defer func() { _ = lite.Close() }() // it was only read
	conn, err := d.working.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it goes back to the pool
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if err := d.lock(ctx, tx, false); err != nil {
		return err
	}
	for _, t := range tables() {
		if err := loadTable(ctx, lite, conn, tx, t); err != nil {
			return fmt.Errorf("the table %s: %w", t.name, err)
		}
	}
	return tx.Commit()
}

func loadTable(ctx context.Context, lite *sql.DB, conn *sql.Conn, tx *sql.Tx, t table) error {
	columns, err := columnsOf(ctx, lite, tx, t)
	if err != nil {
		return err
	}
	if t.name == "meta" || t.name == "usage_fold" {
		if _, err := tx.ExecContext(ctx, `DELETE FROM `+t.name); err != nil { //nolint:gosec // the name is one of tables; the rows are those of an empty keystore
			return err
		}
	}
	if err := copyTable(ctx, lite, conn, t, columns, t.name); err != nil {
		return err
	}
	counter := t.counter
	if t.byRow {
		counter = "rowid"
	}
	if counter == "" {
		return nil
	}
	var used int64 // SQLite counts the rows of few tables only
	if err := lite.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = $1`, t.name).Scan(&used); err != nil {
		return err
	}
	last := `SELECT COALESCE(MAX(` + counter + `), 0) FROM ` + t.name
	_, err = tx.ExecContext(ctx, `SELECT setval(pg_get_serial_sequence($1, $2), GREATEST(1, CAST($3 AS BIGINT), (`+last+`)))`, //nolint:gosec // the name is one of tables
		t.name, counter, used)
	return err
}
