package keystore

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"time"
)

// errOverwritten is final: SQLite's own files beside it belong to what the file
// was, and any attempt to go on would mix the two.
var errOverwritten = errors.New("its bytes were overwritten while it was in use, which damages it: put a keystore in its place by renaming one over it")

// strangeLooks is how many times in a row the file may be found changed in a way
// that SQLite does not explain. A checkpoint under way explains itself when it is
// done. These are looks, and no time, which passes while a machine is suspended in
// the middle of one.
const strangeLooks = int(time.Second / pollEvery)

// fileState is what changes when the file's bytes do.
type fileState struct {
	info     os.FileInfo
	frames   int64 // in the -wal file
	restored int64 // of these, how many stand in the file itself
	version  int64 // data_version
}

// look reads the file's state. It looks at the file last: a checkpoint in between
// then shows as a change of the file that the next look explains. The other way
// round nothing would ever explain it.
func (d *database) look(ctx context.Context) (f fileState, err error) {
	if err := d.tail.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&f.version); err != nil {
		return f, err
	}
	var busy int
	if err := d.tail.QueryRowContext(ctx, `PRAGMA wal_checkpoint(NOOP)`).Scan(&busy, &f.frames, &f.restored); err != nil {
		return f, err
	}
	f.info, err = os.Stat(d.path)
	return f, err
}

// checkBytes sees whether something else than SQLite wrote to the file. SQLite
// writes to it only when it moves frames over from the -wal file, and says how
// many it has moved.
func (d *database) checkBytes(ctx context.Context, seen fileState) error {
	last := d.bytes
	same := seen.info.Size() == last.info.Size() && seen.info.ModTime().Equal(last.info.ModTime())
	switch {
	case same || seen.restored != last.restored || seen.frames < last.frames:
		// As it was, or frames were moved.
	case seen.version != last.version:
		// Perhaps they were, and others written since.
		if err := d.checkAfresh(ctx); err != nil {
			return err
		}
	case d.committing.Load():
		return nil // a checkpoint may be a part of it, and takes long on a slow disk
	case d.strange == strangeLooks:
		return errOverwritten
	default:
		d.strange++
		return nil
	}
	d.bytes, d.strange = seen, 0
	return nil
}

// checkAfresh reads the file on a connection that remembers nothing of it.
func (d *database) checkAfresh(ctx context.Context) error {
	db, err := sql.Open("sqlite3", sqliteDSN(d.path, reading))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	switch f, err := readFeedState(ctx, db); {
	case err != nil && (isBusy(err) || ctx.Err() != nil):
		return err
	case err != nil || f.storeID != d.id:
		return errOverwritten
	}
	return nil
}
