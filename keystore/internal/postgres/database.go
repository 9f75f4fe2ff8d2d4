package postgres

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// database is one open database.
type database struct {
	pools

	engine   *Engine
	storeID  string
	made     bool // Open has created the tables
	listener *listener
	server   string // that Follow has read last
	timeline string // that the server wrote at the last call of Follow that succeeded
}

// readID reads the store's own ID.
func (d *database) readID(ctx context.Context) error {
	return d.reader.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'store_id'`).Scan(&d.storeID)
}

// writerLock is the key of the advisory lock that a transaction holds while it writes.
const writerLock = 0x53474b53 // "SGKS"

// setCommit lets the commit of a transaction wait for the disk, and for the standbys that the server
// is configured to wait for. A relaxed transaction, $1, waits for nothing.
const setCommit = `set_config('synchronous_commit', CASE WHEN $1 THEN 'off' WHEN current_setting('synchronous_commit') = 'off' THEN 'on'
	ELSE current_setting('synchronous_commit') END, TRUE)`

// begin is the first statement of a transaction that runs when no other runs. $2 is the key of the
// lock. A transaction waits for the lock of another one up to 250 ms: the keystore then begins again,
// so that it can be stopped. The server ends a transaction whose process is silent for 5 s, because
// the others wait for its lock.
//
// CASE calls check_program after the lock, with the version $3. The function is VOLATILE, so it sees
// what was committed while the statement waited. A statement does not.
const begin = `SELECT set_config('lock_timeout', '250', TRUE), set_config('idle_in_transaction_session_timeout', '5000', TRUE),
	` + setCommit + `, CASE WHEN pg_advisory_xact_lock($2) IS NULL THEN FALSE ELSE check_program($3) END`

// beginBeside is the first statement of a transaction with the mode Beside. It shares the lock $2
// with others, so that no migration runs at the same time.
// It sets lockLimit, which a pooler does not take as a parameter of the connection. Behind a pooler, a
// connection that has not used a statement yet asks for its description before, and waits longer.
const beginBeside = `SELECT set_config('lock_timeout', '` + lockLimit + `', TRUE), set_config('idle_in_transaction_session_timeout', '5000', TRUE),
	` + setCommit + `, CASE WHEN pg_advisory_xact_lock_shared($2) IS NULL THEN FALSE ELSE check_program($3) END`

// Begin implements [engine.Database].
func (d *database) Begin(ctx context.Context, mode engine.Mode) (*sql.Tx, error) {
	tx, err := d.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	lock := lockOf(mode)
	if err = d.Send(ctx, tx, []engine.Statement{lock}); err != nil {
		_ = tx.Rollback() // err says more
		return nil, orTooOld(err)
	}
	return tx, nil
}

// lockOf returns the first statement of a transaction. It takes the lock of the mode, and checks that this
// program works with the schema.
func lockOf(mode engine.Mode) engine.Statement {
	text, key := begin, writerLock
	if mode&engine.Beside != 0 {
		text, key = beginBeside, schemaLock
	}
	return engine.Statement{Query: text, Args: []any{mode&engine.Relaxed != 0, key, engine.SchemaVersion}}
}

// orTooOld returns engine.ErrTooOld for an error of check_program, and any other error as it is.
func orTooOld(err error) error {
	if hasCode(err, codeTooOld) {
		return engine.ErrTooOld
	}
	return err
}

// Alone implements [engine.Database]. It connects for writeSilence at most, also if the connection string names
// several servers.
func (d *database) Alone(ctx context.Context, query string, args []any, read func(engine.Row) error) (undone bool, err error) {
	connecting, cancel := context.WithTimeout(ctx, writeSilence)
	defer cancel()
	conn, err := d.writer.Conn(connecting)
	if err != nil {
		return true, err
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool
	var batch pgx.Batch
	batch.Queue(beginBeside, false, schemaLock, engine.SchemaVersion)
	queue(&batch, []engine.Statement{{Query: query, Args: args, Read: read}})
	err = conn.Raw(func(c any) error {
		return clientOf(c).SendBatch(ctx, &batch).Close()
	})
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return pgconn.SafeToRetry(err) || ok && refused.SeverityUnlocalized == "ERROR", err
}

// Send implements [engine.Database].
func (*database) Send(ctx context.Context, tx *sql.Tx, statements []engine.Statement) error {
	batch := new(pgx.Batch)
	queue(batch, statements)
	_, err := tx.ExecContext(ctx, "", batch)
	return err
}

// Commit implements [engine.Database].
func (*database) Commit(ctx context.Context, tx *sql.Tx, statements ...engine.Statement) error {
	if len(statements) > 0 {
		batch := new(pgx.Batch)
		queue(batch, statements)
		queueCommit(batch)
		if _, err := tx.ExecContext(ctx, "", batch); err != nil {
			_ = tx.Rollback() // err says more
			return err
		}
	}
	return tx.Commit()
}

// wasCommitted asks for the transaction with the number $1. A server that has never given out the number has
// taken the place of the one that did, and lacks the transaction.
const wasCommitted = `SELECT CASE WHEN $1::TEXT::xid8 < pg_snapshot_xmax(pg_current_snapshot())
	THEN COALESCE(pg_xact_status($1::TEXT::xid8) = 'committed', FALSE) ELSE FALSE END`

// Mark implements [engine.Database].
func (*database) Mark() (name, committed string) {
	return `SELECT pg_current_xact_id()::TEXT`, wasCommitted
}

// Reader implements [engine.Database].
func (d *database) Reader() *sql.DB { return d.reader }

// Lists implements [engine.Database].
func (d *database) Lists() *sql.DB { return d.lists }

// Size implements [engine.Database]. The sizes are unknown: the server's disk is another machine's.
func (*database) Size() (data, log int64) { return 0, 0 }

// Reports implements [engine.Database].
func (d *database) Reports() engine.Reports { return reports{d} }

// Made implements [engine.Database].
func (d *database) Made() bool { return d.made }

// Retire implements [engine.Database].
func (d *database) Retire(context.Context, error) { _ = d.Close() } // the database is lost anyway

// Close implements [engine.Database].
func (d *database) Close() error {
	if d.listener != nil {
		d.listener.stop()
	}
	return errors.Join(d.reader.Close(), d.lists.Close(), d.follow.Close(), d.reports.Close(), d.writer.Close(), d.working.Close())
}
