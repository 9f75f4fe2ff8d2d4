// Package sqlite is the keystore's engine for SQLite: one file, its -wal and
// -shm files, and the connections to them.
//
// # Connections
//
// A database has a read-only pool, one connection for durable writes (synchronous =
// FULL) and one for relaxed writes (NORMAL). A server also has one read-only
// connection for Follow alone, because PRAGMA data_version belongs to a
// connection.
//
// # The file
//
// The file's identity (device and inode) is noted when the file is opened. Follow
// finds out that the file was removed, replaced or overwritten. While SQLite has
// the file open, no code in this process may open and close the file by other
// means: POSIX releases all locks of a process on a file when the process closes
// any descriptor of it.
//
// # Errors
//
// SQLite reports a read-only file, a foreign owner and a full disk late, and without the
// cause. [Engine.Advise] looks for the cause and names the remedy.
package sqlite

import (
	"context"
	"errors"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

var (
	_ engine.Engine   = (*Engine)(nil)
	_ engine.Database = (*database)(nil)
)

// Engine opens the keystore in the SQLite file at a path.
type Engine struct {
	path        string
	commandLine bool
	overwritten *database // a database whose file was overwritten; still open, because closing it would write to the file
}

// New returns the engine for the file at an absolute path. A command line opens
// the file for one command beside a running server: it refuses a file of another
// user, and does not call Follow.
func New(path string, commandLine bool) *Engine {
	return &Engine{path: path, commandLine: commandLine}
}

// Open implements [engine.Engine].
func (e *Engine) Open(ctx context.Context, setup engine.Setup) (_ engine.Database, err error) {
	if old := e.overwritten; old != nil {
		if old.checkPlace() == nil {
			return nil, errOverwritten // still the same file
		}
		old.removeBeside()
		e.overwritten = nil
	}
	if setup.Create {
		if err := errors.Join(createFile(e.path), checkNoOrphanLog(e.path)); err != nil {
			return nil, err
		}
	}
	file, err := checkFile(e.path, e.commandLine)
	if err != nil {
		return nil, err
	}
	if !setup.Create && file.Size() == 0 {
		return nil, errEmpty // SQLite would open it, and delete a -wal file beside it
	}
	// Look for obstacles first: SQLite removes the files beside the database if it fails
	// to open the database.
	inTheWay := findObstacle(e.path)
	d := &database{engine: e, path: e.path, file: file}
	defer func() {
		if err != nil {
			if isAccess(err) {
				err = engine.WithAdvice(err, inTheWay)
			}
			_ = d.Close() // err says more
		}
	}()
	if err := d.connect(); err != nil {
		return nil, err
	}
	if err := d.migrate(ctx, setup); err != nil {
		return nil, err
	}
	if err := d.probe(ctx); err != nil {
		return nil, err
	}
	if !e.commandLine {
		if err := d.prepareRelaxed(ctx); err != nil {
			return nil, err
		}
	}
	if err := setup.Prepare(ctx, d); err != nil {
		return nil, err
	}
	if !e.commandLine {
		if err := d.startFollowing(ctx); err != nil {
			return nil, err
		}
	}
	d.noteBeside()
	if err := d.checkPlace(); err != nil {
		return nil, err
	}
	return d, nil
}

// CheckAccess implements [engine.Engine].
func (e *Engine) CheckAccess() (readable []string, err error) {
	if err := checkModes(e.path); err != nil {
		return nil, err
	}
	return readableByOthers(e.path), nil
}

// Busy implements [engine.Engine].
func (e *Engine) Busy(err error) bool { return isBusy(err) }

// Broken implements [engine.Engine]. A file has no connection that breaks.
func (*Engine) Broken(error) bool { return false }

// Unreachable implements [engine.Engine]. A file is on this machine.
func (*Engine) Unreachable(error) bool { return false }

// Refused implements [engine.Engine]. Only a database on another machine refuses a program.
func (*Engine) Refused(error) bool { return false }

// Full implements [engine.Engine].
func (e *Engine) Full(err error) bool { return isFull(err) }

// Advise implements [engine.Engine].
func (e *Engine) Advise(err error) error {
	if isAccess(err) && !engine.HasAdvice(err) {
		if found := findObstacle(e.path); found != "" {
			return engine.WithAdvice(err, found)
		}
	}
	return explain(err)
}

// Unstorable implements [engine.Engine]. SQLite keeps any text.
func (*Engine) Unstorable(error) bool { return false }

// Text implements [engine.Engine]. The keystore's queries are written for SQLite.
func (*Engine) Text(query string) string { return query }

// Beside implements [engine.Engine]. SQLite has one writer.
func (*Engine) Beside() int { return 0 }
