package sqlite

import (
	"context"
	"database/sql"
	"os"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// errOverwritten says that another program wrote into the open file. It is final:
// the -wal file belongs to the old contents, and SQLite would mix the two.
var errOverwritten = engine.Lost("its bytes were overwritten while it was in use, which damages it: put a keystore in its place by renaming one over it")

// maxStrange is how many calls of Follow in a row may find the file changed in a
// way that SQLite's own writes do not explain. A checkpoint under way is explained
// when it is done. The limit is a number of calls, a second's worth, because time
// also passes while a machine is suspended in the middle of a checkpoint.
const maxStrange = 10

// fileState is what changes when the file's bytes change.
type fileState struct {
	info         os.FileInfo
	frames       int64 // in the -wal file
	checkpointed int64 // frames that the file itself has already
	version      int64 // data_version
}

// readState reads the file's state. It looks at the file last: a checkpoint in
// between then shows as a change of the file, which the next state explains. In
// the other order, no later state would explain it.
func (d *DB) readState(ctx context.Context) (f fileState, err error) {
	conn := d.follower.conn
	if err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&f.version); err != nil {
		return f, err
	}
	var busy int
	if err := conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(NOOP)`).Scan(&busy, &f.frames, &f.checkpointed); err != nil {
		return f, err
	}
	f.info, err = os.Stat(d.path)
	return f, err
}

// checkOverwritten finds out whether another program than SQLite wrote to the
// file. SQLite writes to it only when it moves frames there from the -wal file,
// and reports how many frames it has moved.
func (d *DB) checkOverwritten(ctx context.Context, state fileState) error {
	f := &d.follower
	last := f.file
	same := state.info.Size() == last.info.Size() && state.info.ModTime().Equal(last.info.ModTime())
	switch {
	case same || state.checkpointed != last.checkpointed || state.frames < last.frames:
		// The file is unchanged, or frames were moved.
	case state.version != last.version:
		// Frames may have been moved, and others written since.
		if err := d.checkReadable(ctx); err != nil {
			return err
		}
	case d.committing.Load():
		return nil // the commit may include a checkpoint, which takes long on a slow disk
	case f.strange == maxStrange:
		return errOverwritten
	default:
		f.strange++
		return nil
	}
	f.file, f.strange = state, 0
	return nil
}

// checkReadable reads the file on a connection that has cached nothing of it.
func (d *DB) checkReadable(ctx context.Context) error {
	db, err := sql.Open("sqlite3", DSN(d.path, Read))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var storeID string
	var pruned, last int64
	err = db.QueryRowContext(ctx, `SELECT
		(SELECT value FROM meta WHERE name = 'store_id'),
		(SELECT value FROM meta WHERE name = 'feed_pruned'),
		(SELECT COALESCE(MAX(seq), 0) FROM feed)`).Scan(&storeID, &pruned, &last)
	switch {
	case err != nil && (isBusy(err) || ctx.Err() != nil):
		return err
	case err != nil || storeID != d.follower.storeID:
		return errOverwritten
	}
	return nil
}
