package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// retireLimit bounds the last checkpoint of a file that is no longer at its path.
const retireLimit = 2 * time.Second

// follower is the state of Follow between two calls.
type follower struct {
	conn        *sql.Conn // for Follow alone, because data_version belongs to a connection
	storeID     string
	version     int64     // data_version when read last returned nil
	file        fileState // the last state that SQLite's own writes explain
	unexplained int       // calls since then that found a state that SQLite's writes do not explain
}

// startFollowing notes the state of the file. It is called before anything is
// cached.
func (d *database) startFollowing(ctx context.Context) (err error) {
	f := &d.follower
	if f.conn, err = d.reader.Conn(ctx); err != nil {
		return err
	}
	if err := f.conn.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = 'store_id'`).Scan(&f.storeID); err != nil {
		return err
	}
	f.file, err = d.readState(ctx)
	return err
}

// Follow implements [engine.Database].
func (d *database) Follow(ctx context.Context, read func(q engine.Querier, undone bool) error) error {
	if err := d.checkPlace(); err != nil {
		return err
	}
	state, err := d.readState(ctx)
	if err != nil {
		return err
	}
	if err := d.checkOverwritten(ctx, state); err != nil {
		return err
	}
	f := &d.follower
	if state.version == f.version {
		return nil
	}
	if err := read(f.conn, false); err != nil {
		return err
	}
	f.version = state.version
	return nil
}

// Wake implements [engine.Database]. No process tells another that it has written.
func (*database) Wake() <-chan struct{} { return nil }

// pollEvery is small enough that a change of another process counts within 250 ms.
const pollEvery = 100 * time.Millisecond

// Period implements [engine.Database].
func (*database) Period() time.Duration { return pollEvery }

// Retire implements [engine.Database].
func (d *database) Retire(ctx context.Context, why error) {
	if errors.Is(why, errOverwritten) {
		d.engine.overwritten = d
		return
	}
	ctx, cancel := context.WithTimeout(ctx, retireLimit)
	defer cancel()
	// Move the contents of the -wal file into the old file, wherever that file is now.
	// SQLite would use a -wal file that stays here for the next file at this path.
	_, _ = d.writer.ExecContext(ctx, `PRAGMA busy_timeout = 250; PRAGMA wal_checkpoint(TRUNCATE)`)
	inPlace := d.checkPlace() == nil
	_ = d.Close() // the database is lost anyway
	if !inPlace { // otherwise other processes may be using them
		d.removeBeside()
	}
}
