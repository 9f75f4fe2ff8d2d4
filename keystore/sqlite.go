package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// database is one open SQLite file, with the caches of what was read from it.
type database struct {
	path   string
	id     string        // the store's own ID
	made   bool          // by this opening
	file   os.FileInfo   // tells the file from another at the same path
	aside  []os.FileInfo // the same of its -wal and -shm files
	writer *sql.DB       // one connection
	noter  *sql.DB       // another, whose commits do not wait for the disk; idle in between
	reader *sql.DB       // read-only pool
	tail   *sql.Conn     // pinned, because data_version is a connection's own; nil for the command line

	keys *recordcache.Cache[policy.Time] // with the last use that was noted; nil for the command line, as jobs
	jobs *recordcache.Cache[struct{}]

	watchers *watchers // the store's

	freshUntil atomic.Int64 // on the monotonic clock: until then the caches may be trusted
	committing atomic.Bool  // the writer is
	version    int64        // data_version when the feed was read; the poller's, as what follows
	seen       int64        // the last change that was applied
	bytes      fileState    // when SQLite last explained it
	strange    int          // looks since that it does not explain
}

func (d *database) keyCache() *recordcache.Cache[policy.Time] { return d.keys }
func (d *database) jobCache() *recordcache.Cache[struct{}]    { return d.jobs }

// purpose is what a connection is for.
type purpose uint8

const (
	reading purpose = iota
	writing         // durably
	noting          // what may be lost with the power, but breaks nothing then
)

// sqliteDSN returns the data source name for the file at an absolute path.
// Everything that must hold on every connection of a pool stands in it.
func sqliteDSN(path string, to purpose) string {
	q := url.Values{
		"_foreign_keys":    {"on"},
		"_stmt_cache_size": {"64"},
	}
	if to == reading {
		q.Set("mode", "ro")
		q.Set("_query_only", "on")
		q.Set("_busy_timeout", "5000")
	} else {
		q.Set("mode", "rw") // never creates the file, which would be readable by others
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "FULL")
		if to == noting {
			q.Set("_synchronous", "NORMAL") // with a -wal file, that syncs for checkpoints only
		}
		q.Set("_txlock", "immediate")
		q.Set("_busy_timeout", "250") // the writer waits in steps, so that it can be stopped
	}
	u := url.URL{Path: filepath.ToSlash(path)}
	return "file:" + u.EscapedPath() + "?" + q.Encode()
}

var (
	errReplaced = errors.New("another file was put in its place")

	errGone  error = &noStoreError{"there is no file at this path"}
	errEmpty error = &noStoreError{"the file is empty: put a keystore in its place"}
)

// readerIdle is how long a connection is kept that no lookup needs: each has
// memory of SQLite's own.
const readerIdle = time.Minute

// openDatabase opens the file, and makes it if create is set and there is none
// or an empty one. While another process makes it, or keeps it locked, it waits.
func (s *Store) openDatabase(ctx context.Context, create bool) (*database, error) {
	for deadline := s.mono() + lockWait; ; {
		db, err := s.tryOpen(ctx, create)
		if err == nil {
			return db, nil
		}
		if isFull(err) && s.giveRoom() {
			continue
		}
		if again := isBusy(err) || errors.Is(err, errReplaced); !again || s.mono() > deadline {
			return nil, fault(s.explain(err))
		}
		select {
		case <-ctx.Done():
			return nil, fault(fmt.Errorf("keystore %s: opening: %w", s.cfg.Path, ctx.Err()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *Store) tryOpen(ctx context.Context, create bool) (_ *database, err error) {
	if create {
		if err := errors.Join(createFile(s.cfg.Path), checkAside(s.cfg.Path)); err != nil {
			return nil, err
		}
	}
	file, err := checkFile(s.cfg.Path, s.cfg.CommandLine)
	if err != nil {
		return nil, err
	}
	if !create && file.Size() == 0 {
		return nil, errEmpty // SQLite would throw away a log that is beside it
	}
	// SQLite removes the files beside the database when it fails to open it.
	inTheWay := obstacle(s.cfg.Path)
	db := &database{path: s.cfg.Path, file: file, watchers: s.watchers}
	defer func() {
		if err != nil {
			if isAccess(err) {
				err = withAdvice(err, inTheWay)
			}
			_ = db.close() // err says more
		}
	}()
	if db.reader, err = sql.Open("sqlite3", sqliteDSN(s.cfg.Path, reading)); err != nil {
		return nil, err
	}
	// With as few connections as processors, many lookups at once spend their
	// time on handing one over.
	readers := max(16, 4*runtime.GOMAXPROCS(0))
	db.reader.SetMaxOpenConns(readers)
	db.reader.SetMaxIdleConns(readers)
	db.reader.SetConnMaxIdleTime(readerIdle)
	if db.writer, err = sql.Open("sqlite3", sqliteDSN(s.cfg.Path, writing)); err != nil {
		return nil, err
	}
	db.writer.SetMaxOpenConns(1)
	if db.noter, err = sql.Open("sqlite3", sqliteDSN(s.cfg.Path, noting)); err != nil {
		return nil, err
	}
	db.noter.SetMaxOpenConns(1)
	if err := s.upgrade(ctx, db, create); err != nil {
		return nil, err
	}
	if err := db.probe(ctx); err != nil {
		return nil, err
	}
	if !s.cfg.CommandLine {
		if err := db.prepareNoter(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.settlePepper(ctx, db); err != nil {
		return nil, err
	}
	if !s.cfg.CommandLine {
		if err := s.tryWrite(ctx, db); err != nil {
			return nil, err
		}
	}
	if err := s.startFollowing(ctx, db); err != nil {
		return nil, err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if fi, err := os.Stat(db.path + suffix); err == nil {
			db.aside = append(db.aside, fi)
		}
	}
	return db, db.checkPlace()
}

// startFollowing notes where the feed stands, before anything is cached.
func (s *Store) startFollowing(ctx context.Context, db *database) error {
	now := s.mono()
	f, err := readFeedState(ctx, db.reader)
	if err != nil {
		return err
	}
	db.id, db.seen = f.storeID, f.last
	if s.cfg.CommandLine {
		return nil
	}
	if db.tail, err = db.reader.Conn(ctx); err != nil {
		return err
	}
	if db.bytes, err = db.look(ctx); err != nil {
		return err
	}
	total := s.cfg.CacheBytes
	db.keys = recordcache.New[policy.Time](total/2, total/8)
	db.jobs = recordcache.New[struct{}](total*3/8, 0)
	db.freshUntil.Store(int64(now + s.cfg.MaxStaleness))
	return nil
}

// making keeps the stores of this process from opening a file that another of
// them is just making: when a process closes a file, all its locks on that file
// fall, those of SQLite's other connections too. For the same reason nothing
// here ever opens a file that SQLite may have open.
var making sync.Mutex

// createFile makes the file, empty, where there is none, and missing
// directories.
func createFile(path string) error {
	making.Lock()
	defer making.Unlock()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // checkFile looks closer
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("its directory cannot be made: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrExist) {
		return nil // another process made it
	}
	if err != nil {
		return fmt.Errorf("the file cannot be made: %w", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	// The name must survive the loss of power as well as what is written.
	syncDir(filepath.Dir(path))
	return nil
}

// checkFile looks at the file from outside.
func checkFile(path string, commandLine bool) (os.FileInfo, error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errGone
	case err != nil:
		return nil, err
	case fi.IsDir():
		return nil, fmt.Errorf("it is a directory: want the name of a file, such as %s", filepath.Join(path, "keystore.db"))
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("it is not a regular file (%s)", fi.Mode())
	}
	if commandLine {
		if err := checkOwner(fi); err != nil {
			return nil, err
		}
	}
	return fi, checkModes(path)
}

// checkPlace says whether the file that is open is still the one at the path.
func (d *database) checkPlace() error {
	fi, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errGone
	case err != nil:
		return err
	case !os.SameFile(fi, d.file):
		return errReplaced
	}
	return nil
}

// prepareNoter opens the noter, and has it move SQLite's log into the file, which
// waits for the disk, less often than the usual 1,000 pages.
func (d *database) prepareNoter(ctx context.Context) error {
	_, err := d.noter.ExecContext(ctx, `PRAGMA wal_autocheckpoint = 4000`)
	return err
}

// probe makes sure that the file can be written, which SQLite tells only when
// it is tried, and that the tables can be read.
func (d *database) probe(ctx context.Context) error {
	tx, err := d.writer.BeginTx(ctx, nil)
	switch {
	case err == nil:
		_ = tx.Rollback() // nothing was written
	case !isBusy(err): // who waits for the lock could write
		return err
	}
	var n int
	return d.reader.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM (SELECT * FROM accounts LIMIT 1)) + (SELECT COUNT(*) FROM (SELECT * FROM api_keys LIMIT 1)) +
		(SELECT COUNT(*) FROM (SELECT * FROM jobs LIMIT 1)) + (SELECT COUNT(*) FROM (SELECT * FROM dead_digests LIMIT 1)) +
		(SELECT COUNT(*) FROM (SELECT * FROM audit LIMIT 1)) + (SELECT COUNT(*) FROM (SELECT * FROM feed LIMIT 1)) +
		(SELECT COUNT(*) FROM (SELECT * FROM last_uses LIMIT 1))`).Scan(&n)
}

// close closes what is open. Queries under way finish.
func (d *database) close() error {
	var errs []error
	if d.tail != nil {
		errs = append(errs, d.tail.Close())
	}
	for _, pool := range []*sql.DB{d.reader, d.noter} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	// The writer is last: the last connection of all tidies up the -wal file,
	// and a read-only one could not.
	if d.writer != nil {
		errs = append(errs, d.writer.Close())
	}
	return errors.Join(errs...)
}

// explain names the file in err, and says what an operator can do about it.
func (s *Store) explain(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err // it does so already
	}
	return fmt.Errorf("keystore %s: %w", s.cfg.Path, s.advise(err))
}

// advise says what an operator can do about err, unless err says so already.
func (s *Store) advise(err error) error {
	if done := (*advisedError)(nil); errors.As(err, &done) {
		return err
	}
	if isAccess(err) {
		if found := obstacle(s.cfg.Path); found != "" {
			return withAdvice(err, found)
		}
	}
	return explain(err)
}

// advisedError is an error with advice for an operator.
type advisedError struct {
	error
	advice string
}

func (e *advisedError) Error() string { return e.error.Error() + ": " + e.advice }
func (e *advisedError) Unwrap() error { return e.error }

// withAdvice appends advice, if there is any, to err.
func withAdvice(err error, advice string) error {
	if advice == "" {
		return err
	}
	return &advisedError{err, advice}
}
