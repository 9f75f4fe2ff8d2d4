package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

const (
	outboxName   = "jobs.db"
	outboxID     = 0x53474F42 // "SGOB", in the header of every outbox
	outboxFormat = 1          // in the header too; a new number for other tables
)

// outboxTables has the columns of the keystore's own table, and what the outbox adds.
const outboxTables = `
CREATE TABLE jobs (
	row INTEGER PRIMARY KEY,
	store_id TEXT NOT NULL, -- of the keystore that the job belongs to
	backend TEXT NOT NULL, id TEXT NOT NULL, dialect TEXT NOT NULL, account_id TEXT NOT NULL, key_id TEXT NOT NULL, client TEXT NOT NULL,
	created_at INTEGER NOT NULL, state TEXT NOT NULL, ended_at INTEGER, upstream_key INTEGER,
	refused TEXT NOT NULL DEFAULT '', -- why the database does not take the job; empty: it was not refused
	UNIQUE (store_id, id, backend)
);
CREATE INDEX jobs_waiting ON jobs (store_id, row) WHERE refused = '';
CREATE INDEX jobs_refused ON jobs (row) WHERE refused <> '';
`

// Outbox is the file in which a gateway keeps new jobs, until a database on another machine can record them.
// Several stores can have it open, also in several processes. Its methods may be called concurrently.
type Outbox struct {
	path   string
	info   fs.FileInfo // of the file that is open
	reader *sql.DB
	writer *sql.DB // durable
}

// OutboxPath returns the path of the outbox in a directory.
func OutboxPath(dir string) string { return filepath.Join(dir, outboxName) }

// OpenOutbox opens the outbox in a directory. If the directory has no outbox, it makes one if create is set, and
// otherwise returns nil. A file that is damaged, or is no outbox, gets another name, and a new file takes its place if
// create is set: aside is then the new name. The outbox of a version with other tables is an error, and stays as it
// is. The error is for the operator.
func OpenOutbox(ctx context.Context, dir string, create bool) (o *Outbox, aside string, err error) {
	path := OutboxPath(dir)
	o, err = openOutbox(ctx, path, create)
	if errors.Is(err, errNoOutbox) || Damaged(err) {
		if aside, err = keepAside(path); err == nil {
			o, err = openOutbox(ctx, path, create)
		}
	}
	if err != nil {
		return nil, aside, fmt.Errorf("%s: %w", path, explain(err))
	}
	return o, aside, nil
}

var (
	errNoOutbox    = errors.New("it has no jobs of a gateway")
	errOtherOutbox = errors.New("another version of this program has made it: run that version, which sends its jobs on, or move the file away")
)

func openOutbox(ctx context.Context, path string, create bool) (_ *Outbox, err error) {
	if create {
		if err := createFile(path); err != nil {
			return nil, err
		}
	}
	_, err = checkFile(path, true)
	if errors.Is(err, errGone) && !create {
		return nil, nil //nolint:nilnil // there is no file to open, and none is wanted
	}
	if err != nil {
		return nil, err
	}
	o := &Outbox{path: path}
	defer func() {
		if err != nil {
			_ = o.Close() // err says more
		}
	}()
	if o.reader, err = sql.Open("sqlite3", dsn(path, purposeRead)); err != nil {
		return nil, err
	}
	o.reader.SetConnMaxIdleTime(readerIdle)
	if o.writer, err = sql.Open("sqlite3", dsn(path, purposeWrite)); err != nil {
		return nil, err
	}
	o.writer.SetMaxOpenConns(1)
	if err := o.makeTables(ctx); err != nil {
		return nil, err
	}
	o.info, err = os.Stat(path)
	return o, err
}

// makeTables makes the tables of an empty file.
func (o *Outbox) makeTables(ctx context.Context) error {
	tx, err := o.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if there, err := hasOutboxTables(ctx, tx); err != nil || there {
		return err
	}
	if _, err := tx.ExecContext(ctx, outboxTables+fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`, outboxID, outboxFormat)); err != nil {
		return err
	}
	return tx.Commit()
}

// hasOutboxTables reports whether a file has the tables of an outbox. The error says that it has others.
func hasOutboxTables(ctx context.Context, q engine.Querier) (bool, error) {
	var tables, id, format int64
	err := q.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM sqlite_master), (SELECT application_id FROM pragma_application_id),
		(SELECT user_version FROM pragma_user_version)`).Scan(&tables, &id, &format)
	switch {
	case err != nil:
		return false, err
	case tables > 0 && id != outboxID:
		return false, errNoOutbox
	case tables > 0 && format != outboxFormat:
		return false, errOtherOutbox
	}
	return tables > 0, nil
}

// InspectOutbox opens the outbox at path for reading, also while a server uses it, and changes nothing. It returns nil if
// there is no outbox. readable are the files that users other than its owner can read.
func InspectOutbox(ctx context.Context, path string) (db *sql.DB, readable []string, err error) {
	_, err = checkFile(path, true)
	if errors.Is(err, errGone) {
		return nil, nil, nil
	}
	if err == nil {
		db, err = OpenUnchanged(path)
	}
	if err != nil {
		return nil, nil, explain(err)
	}
	there, err := hasOutboxTables(ctx, db)
	if err != nil || !there {
		_ = db.Close() // it has read only
		return nil, nil, explain(err)
	}
	return db, readableByOthers(path), nil
}

// keepAside gives the file at path a name that no file has. The jobs in it can be all that is left of them, so a file
// that was set aside before is kept too.
func keepAside(path string) (aside string, err error) {
	aside = path + ".aside"
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		aside = path + ".aside" + strconv.Itoa(n)
	}
	for _, name := range append(Beside(path), path) { // the file last: a new one must not find the old log
		if err := os.Rename(name, aside+name[len(path):]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	SyncDir(filepath.Dir(path))
	return aside, nil
}

// SetAside closes the file and gives it another name, which it returns.
func (o *Outbox) SetAside() (aside string, err error) {
	if err := o.Close(); err != nil {
		return "", err
	}
	return keepAside(o.path)
}

// Moved reports whether the file does not have its name any more: what is written to it would be lost.
func (o *Outbox) Moved() bool {
	info, err := os.Stat(o.path)
	return err != nil || !os.SameFile(info, o.info)
}

// Reader returns a pool for reads.
func (o *Outbox) Reader() *sql.DB { return o.reader }

// Begin begins a transaction that writes. Its commit waits for the disk.
func (o *Outbox) Begin(ctx context.Context) (*sql.Tx, error) { return waitForLock(ctx, o.writer) }

// Busy reports whether err says that another process held the lock of the file for too long.
func (*Outbox) Busy(err error) bool { return isBusy(err) }

// Full reports whether err says that the disk or a quota is full.
func (*Outbox) Full(err error) bool { return isFull(err) }

// Advise adds to err what the operator can do about it.
func (o *Outbox) Advise(err error) error { return fmt.Errorf("%s: %w", o.path, explain(err)) }

// Close closes the file.
func (o *Outbox) Close() error {
	var errs []error
	for _, pool := range []*sql.DB{o.reader, o.writer} { // the writer last: only it can remove the -wal file
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	return errors.Join(errs...)
}
