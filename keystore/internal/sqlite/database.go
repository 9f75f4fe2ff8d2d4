package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// database is one open SQLite file.
type database struct {
	engine  *Engine
	path    string
	made    bool          // Open has created it
	file    os.FileInfo   // identifies the file among others at the same path
	beside  []os.FileInfo // identify its -wal and -shm files
	writer  *sql.DB       // one connection; durable
	relaxed *sql.DB       // one connection; commits do not wait for the disk; closed while idle
	reader  *sql.DB       // read-only pool

	committing atomic.Bool // a transaction is being committed
	follower   follower    // the state of Follow
}

// readerIdle is how long the pool keeps a connection that no lookup needs. Each
// connection has memory of SQLite.
const readerIdle = time.Minute

// connect opens the pools. They connect when they are used.
func (d *database) connect() (err error) {
	if d.reader, err = sql.Open("sqlite3", dsn(d.path, purposeRead)); err != nil {
		return err
	}
	// With one connection for each processor, many concurrent lookups would spend their
	// time waiting for connections.
	readers := max(16, 4*runtime.GOMAXPROCS(0))
	d.reader.SetMaxOpenConns(readers)
	d.reader.SetMaxIdleConns(readers)
	d.reader.SetConnMaxIdleTime(readerIdle)
	if d.writer, err = sql.Open("sqlite3", dsn(d.path, purposeWrite)); err != nil {
		return err
	}
	d.writer.SetMaxOpenConns(1)
	if d.relaxed, err = sql.Open("sqlite3", dsn(d.path, purposeWriteRelaxed)); err != nil {
		return err
	}
	d.relaxed.SetMaxOpenConns(1)
	return nil
}

// prepareRelaxed makes the relaxed connection checkpoint after 4,000 pages instead of
// 1,000, because a checkpoint waits for the disk.
func (d *database) prepareRelaxed(ctx context.Context) error {
	_, err := d.relaxed.ExecContext(ctx, `PRAGMA wal_autocheckpoint = 4000`)
	return err
}

// probe makes sure that the tables can be read and the file can be written. SQLite
// reports a read-only file only when a transaction begins.
func (d *database) probe(ctx context.Context) error {
	tx, err := d.writer.BeginTx(ctx, nil)
	switch {
	case err == nil:
		_ = tx.Rollback() // nothing was written
	case !isBusy(err): // a process that waits for the lock could write
		return err
	}
	var n int
	return d.reader.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM (SELECT * FROM accounts LIMIT 1)) + (SELECT COUNT(*) FROM (SELECT * FROM api_keys LIMIT 1)) +
		(SELECT COUNT(*) FROM (SELECT * FROM jobs LIMIT 1)) + (SELECT COUNT(*) FROM (SELECT * FROM dead_digests LIMIT 1)) +
		(SELECT COUNT(*) FROM (SELECT * FROM audit LIMIT 1)) + (SELECT COUNT(*) FROM (SELECT * FROM feed LIMIT 1)) +
		(SELECT COUNT(*) FROM (SELECT * FROM last_uses LIMIT 1))`).Scan(&n)
}

// Begin implements [engine.Database]. It checks the place first, because a write
// into a file that is no longer at the path would be lost.
func (d *database) Begin(ctx context.Context, mode engine.Mode) (*sql.Tx, error) {
	if err := d.checkPlace(); err != nil {
		return nil, err
	}
	conn := d.writer
	if mode&engine.Relaxed != 0 {
		conn = d.relaxed
	}
	return begin(ctx, conn)
}

// beginner is a pool or a connection.
type beginner interface {
	BeginTx(ctx context.Context, o *sql.TxOptions) (*sql.Tx, error)
}

// begin begins a transaction, and checks that this program works with the schema that it has then.
func begin(ctx context.Context, conn beginner) (*sql.Tx, error) {
	tx, err := waitForLock(ctx, conn)
	if err != nil {
		return nil, err
	}
	var compatible int64
	if err = tx.QueryRowContext(ctx, engine.ReadCompatible).Scan(&compatible); err == nil {
		err = engine.CheckCompatible(compatible)
	}
	if err != nil {
		_ = tx.Rollback() // err says more
		return nil, err
	}
	return tx, nil
}

const (
	lockPatience = 250 * time.Millisecond // for the lock of another process; the keystore begins again, so that it can be stopped
	lockPause    = 5 * time.Millisecond   // the longest one between two tries
)

// waitForLock begins a transaction. While another process holds the lock, it tries again. It does
// not let SQLite wait: Go's scheduler sees only after up to 10 ms that a thread waits in C, and a
// server with one processor answers no request until then.
func waitForLock(ctx context.Context, conn beginner) (*sql.Tx, error) {
	deadline := time.Now().Add(lockPatience)
	for pause := lockPause / 16; ; pause = min(2*pause, lockPause) {
		tx, err := conn.BeginTx(ctx, nil)
		if !isBusy(err) || time.Now().After(deadline) {
			return tx, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Alone implements [engine.Database]. SQLite does not have it.
func (*database) Alone(context.Context, string, []any, func(engine.Row) error) (bool, error) {
	return true, errors.ErrUnsupported
}

// Send implements [engine.Database].
func (*database) Send(ctx context.Context, tx *sql.Tx, statements []engine.Statement) error {
	return engine.RunEach(ctx, tx, statements)
}

// Commit implements [engine.Database].
func (d *database) Commit(ctx context.Context, tx *sql.Tx, statements ...engine.Statement) error {
	if err := engine.RunEach(ctx, tx, statements); err != nil {
		_ = tx.Rollback() // err says more
		return err
	}
	d.committing.Store(true)
	defer d.committing.Store(false)
	return tx.Commit()
}

// Mark implements [engine.Database]. A commit in a file has no answer that is lost on its way.
func (*database) Mark() (name, committed string) { return "", "" }

// Reader implements [engine.Database].
func (d *database) Reader() *sql.DB { return d.reader }

// Lists implements [engine.Database]. SQLite plans a query once, and the keystore's texts say
// which index it takes.
func (d *database) Lists() *sql.DB { return d.reader }

// Search implements [engine.Database]. A keystore in a file has no such index.
func (*database) Search(context.Context, time.Duration, func(engine.Querier) error) (done bool, err error) {
	return false, nil
}

// Size implements [engine.Database]. It asks for the sizes of the file and of its -wal file,
// and opens neither.
func (d *database) Size() (data, log int64) { return fileSize(d.path), fileSize(d.path + "-wal") }

func fileSize(path string) int64 {
	file, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return file.Size()
}

// Timeline implements [engine.Database].
func (*database) Timeline() string { return "" }

// Reports implements [engine.Database]. The processes that share a file count for themselves: each
// report would take the lock of the only writer.
func (*database) Reports() engine.Reports { return nil }

// Made implements [engine.Database].
func (d *database) Made() bool { return d.made }

// Close implements [engine.Database].
func (d *database) Close() error {
	var errs []error
	if conn := d.follower.conn; conn != nil {
		errs = append(errs, conn.Close())
	}
	for _, pool := range []*sql.DB{d.reader, d.relaxed} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	// The writer is last: the last connection of all removes the -wal file, and a
	// read-only connection could not.
	if d.writer != nil {
		errs = append(errs, d.writer.Close())
	}
	return errors.Join(errs...)
}
