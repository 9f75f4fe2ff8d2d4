package postgres

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// batchConn is a connection of a pool. It takes a *pgx.Batch as the argument of a
// statement, whose text does not count, and sends it in one exchange. Package database/sql has no other
// way from a transaction to its connection.
//
// A transaction begins in the exchange of its first statements, and a batch can have its commit.
type batchConn struct {
	*stdlib.Conn

	begins bool // the next exchange begins a transaction
}

// clientOf returns the client library's connection of a connection of a pool.
func clientOf(driverConn any) *pgx.Conn {
	return driverConn.(*batchConn).Conn.Conn() //nolint:forcetypeassert // connector makes no others
}

// beginDefault begins a transaction with the server's own settings.
const beginDefault = "BEGIN"

// BeginTx implements [driver.ConnBeginTx].
func (c *batchConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if opts != (driver.TxOptions{}) {
		return c.Conn.BeginTx(ctx, opts)
	}
	if c.Conn.Conn().IsClosed() {
		return nil, driver.ErrBadConn
	}
	c.begins = true
	return batchTx{c}, nil
}

// ExecContext implements [driver.ExecerContext].
func (c *batchConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 1 {
		if batch, ok := args[0].Value.(*pgx.Batch); ok {
			return driver.ResultNoRows, c.send(ctx, batch)
		}
	}
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.ExecContext(ctx, query, args)
}

// QueryContext implements [driver.QueryerContext].
func (c *batchConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.QueryContext(ctx, query, args)
}

// PrepareContext implements [driver.ConnPrepareContext].
func (c *batchConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.begin(ctx); err != nil {
		return nil, err
	}
	return c.Conn.PrepareContext(ctx, query)
}

// begin begins the transaction, if it has not begun yet.
func (c *batchConn) begin(ctx context.Context) error {
	if !c.begins {
		return nil
	}
	return c.send(ctx, new(pgx.Batch))
}

// send sends a batch in one exchange, after the beginning of the transaction if that is due.
func (c *batchConn) send(ctx context.Context, batch *pgx.Batch) error {
	conn := c.Conn.Conn()
	if conn.IsClosed() {
		return driver.ErrBadConn
	}
	if c.begins {
		c.begins = false
		batch.QueuedQueries = append([]*pgx.QueuedQuery{{SQL: beginDefault}}, batch.QueuedQueries...)
	}
	err := conn.SendBatch(ctx, batch).Close()
	if err != nil && pgconn.SafeToRetry(err) {
		return driver.ErrBadConn
	}
	return err
}

// batchTx is a transaction of a batchConn.
type batchTx struct{ conn *batchConn }

// Commit implements [driver.Tx]. It does nothing if a batch has committed.
func (t batchTx) Commit() error {
	if t.ended() {
		return nil
	}
	batch := new(pgx.Batch)
	queueCommit(batch)
	return t.conn.send(context.Background(), batch)
}

// Rollback implements [driver.Tx]. It does nothing if a batch has committed.
func (t batchTx) Rollback() error {
	if t.ended() {
		return nil
	}
	_, err := t.conn.Conn.ExecContext(context.Background(), "ROLLBACK", nil)
	return err
}

// ended reports whether the transaction has ended, or has not begun: then it does not begin any more.
func (t batchTx) ended() bool {
	t.conn.begins = false
	conn := t.conn.Conn.Conn()
	return !conn.IsClosed() && conn.PgConn().TxStatus() == 'I'
}

// queueCommit adds the commit to a batch. The server answers it with ROLLBACK, and no error, if the
// transaction has failed.
func queueCommit(batch *pgx.Batch) {
	batch.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() != "COMMIT" {
			return errors.New("the transaction had failed, and was rolled back")
		}
		return nil
	})
}

// queue adds statements to a batch.
func queue(batch *pgx.Batch, statements []engine.Statement) {
	for _, s := range statements {
		queued := batch.Queue(s.Query, s.Args...)
		if s.Read == nil {
			continue
		}
		queued.Query(func(rows pgx.Rows) error {
			for rows.Next() {
				if err := s.Read(rows); err != nil {
					return err
				}
			}
			return rows.Err()
		})
	}
}
