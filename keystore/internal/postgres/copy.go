package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// Export implements [engine.Database]. It reads all tables in one snapshot, beside the
// transactions that write.
func (d *database) Export(ctx context.Context, path string) (err error) {
	target, err := sqlite.OpenTarget(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, target.Close()) }()
	return d.Snapshot(ctx, func(from engine.Querier) error {
		schema, err := readSchema(ctx, from)
		if err == nil {
			err = schema.CheckKnown()
		}
		if err != nil {
			return err
		}
		return (&Transfer{From: from, FromPostgres: true, To: target}).Fill(ctx)
	})
}

// Snapshot implements [engine.Database].
func (d *database) Snapshot(ctx context.Context, read func(engine.Querier) error) error {
	tx, err := d.working.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has written nothing
	return read(tx)
}

// lastNumber returns the highest number that the counter of a table has given out, or that a row
// has: entries of the audit trail bring their own numbers.
func lastNumber(ctx context.Context, q engine.Querier, table, column string) (n int64, err error) {
	var sequence string
	if err := q.QueryRowContext(ctx, `SELECT pg_get_serial_sequence($1, $2)`, table, column).Scan(&sequence); err != nil {
		return 0, err
	}
	// The name comes from the server, with the quotes that it needs.
	err = q.QueryRowContext(ctx, `SELECT GREATEST((SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM `+sequence+`),
		(SELECT COALESCE(MAX(`+column+`), 0) FROM `+table+`))`).Scan(&n)
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
	if err := checkSession(ctx, conn); err != nil {
		return errors.Join(err, conn.Close())
	}
	defer func() {
		// The temporary tables go with the connection.
		_ = conn.Raw(func(driverConn any) error { return clientOf(driverConn).Close(context.WithoutCancel(ctx)) })
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
		lock := lockOf(0)
		if _, err = tx.ExecContext(ctx, lock.Query, lock.Args...); err == nil {
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

// checkSession returns an error if a pooler is in between: the temporary tables and the locks of the
// connection could be those of another one.
func checkSession(ctx context.Context, conn *sql.Conn) error {
	return conn.Raw(func(driverConn any) error {
		pooled, err := isPooled(ctx, clientOf(driverConn))
		if err == nil && pooled {
			err = errors.New("a pooler is between this process and the PostgreSQL server: want a direct connection beside it, with the option direct")
		}
		return err
	})
}

func attachTable(ctx context.Context, lite *sql.DB, conn *sql.Conn, t table) error {
	columns, err := columnsOf(ctx, lite, conn, t)
	if err != nil {
		return err
	}
	name := backupTable(t)
	if _, err := conn.ExecContext(ctx, `CREATE TEMPORARY TABLE `+name+` (LIKE `+t.name+` INCLUDING INDEXES)`); err != nil {
		return adviseOwner(err, restoreAsOwner)
	}
	if err := copyTable(ctx, lite, conn, t, columns, name); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, `ANALYZE `+name)
	return err
}

// copyTable copies the rows of a table of SQLite into the PostgreSQL table with a name.
func copyTable(ctx context.Context, lite engine.Querier, conn *sql.Conn, t table, columns []string, name string) error {
	rows, err := readTable(ctx, lite, t, columns, "")
	if err != nil {
		return err
	}
	defer rows.close()
	return insertRows(ctx, conn, name, columns, rows)
}

// CheckNew returns an error if the database has a keystore already, or if it cannot be reached.
func (e *Engine) CheckNew(ctx context.Context) error {
	_, schema, err := e.Inspect(ctx)
	if err == nil && schema.Version > 0 {
		err = ErrTaken
	}
	return err
}

// ErrTaken says that the database has a keystore already.
var ErrTaken = errors.New("the database has a keystore already: want an empty database")

// LoadNew makes a keystore with the records of the copy at path. The error is ErrTaken if the
// database has a keystore already. Until all records are there, the database has no keystore; an
// interrupted LoadNew can be repeated.
func (e *Engine) LoadNew(ctx context.Context, path string) (err error) {
	lite, err := sqlite.OpenCopy(path)
	if err != nil {
		return err
	}
	defer func() { _ = lite.Close() }() // it was only read
	var storeID string
	if err := lite.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'store_id'`).Scan(&storeID); err != nil {
		return err
	}
	target, err := e.OpenTarget(ctx, storeID)
	if err != nil {
		return err
	}
	defer func() { err = firstError(err, target.Close()) }()
	if err := (&Transfer{From: lite, To: target}).Fill(ctx); err != nil {
		return err
	}
	return target.Finish(ctx)
}
