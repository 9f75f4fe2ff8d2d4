package sqlite

import (
	"context"
	"database/sql"
	"os"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// errOverwritten says that another program wrote into the open file. The file must not be
// used again: the -wal file belongs to the old contents, and SQLite would mix the two.
var errOverwritten = engine.Lost("its bytes were overwritten while it was in use, which damages it: put a keystore in its place by renaming one over it")

// maxUnexplained is how many calls of Follow in a row may find the file changed in a way
// that SQLite's own writes do not explain. The end of a checkpoint explains the changes
// that it made before. The limit is a number of calls, which take about a second, and not
// a time, because a machine can be suspended in the middle of a checkpoint.
const maxUnexplained = 10

// fileState changes when the file's bytes change.
type fileState struct {
	info         os.FileInfo
	frames       int64 // number of frames in the -wal file
	checkpointed int64 // number of these that a checkpoint has moved to the file itself
	version      int64 // data_version
}

// readState reads the file's state. It calls Stat last. If a checkpoint runs in between,
// the state has the changed file with the old counts, and the next state explains the
// change. In the other order, no later state would explain it.
func (d *database) readState(ctx context.Context) (f fileState, err error) {
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

// checkOverwritten finds out whether a program other than SQLite wrote to the file. SQLite
// writes to the file only when it moves frames there from the -wal file, and it reports
// how many frames it has moved.
func (d *database) checkOverwritten(ctx context.Context, state fileState) error {
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
		return nil // the commit may include a checkpoint, which is slow on a slow disk
	case f.unexplained == maxUnexplained:
		return errOverwritten
	default:
		f.unexplained++
		return nil
	}
	f.file, f.unexplained = state, 0
	return nil
}

// checkReadable reads the file on a new connection, which has no cache.
func (d *database) checkReadable(ctx context.Context) error {
	db, err := sql.Open("sqlite3", dsn(d.path, purposeRead))
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
