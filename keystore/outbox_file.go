package keystore

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// newOutbox returns the outbox of a store. With [Postgres.AdmitJobs] its file is made, and otherwise the file of an
// earlier configuration is opened, if it exists. It returns nil for a store without a replica.
func newOutbox(ctx context.Context, s *Store) *outbox {
	if s.replica == nil {
		return nil
	}
	cfg := s.cfg
	o := &outbox{store: s, admit: cfg.Postgres.AdmitJobs, room: &diskRoom{
		dir: cfg.Postgres.Replica, minFree: cfg.minFree, mono: s.mono, log: s.log, wrote: cfg.Wrote, free: freeSpace,
		full: errNoJobRoom, refuses: "the disk of the replica is full: jobs are refused while the database does not answer",
	}}
	o.sender.away = true
	o.turn.Lock()
	defer o.turn.Unlock()
	_, _ = o.open(ctx, o.admit) // the log has the error
	return o
}

// open opens the file, unless the open one is in its place. If no file exists, it makes one if create is set, and
// otherwise returns nil. The caller holds turn.
func (o *outbox) open(ctx context.Context, create bool) (*sqlite.Outbox, error) {
	file := o.file.Load()
	if file != nil && file.Moved() {
		o.store.log.Error("the file of the jobs that wait for the database was removed or replaced: jobs in it that were not sent on are not found any more", o.place())
		o.file.Store(nil)
		_ = file.Close() // nobody can open it any more
		file = nil
	}
	if file != nil {
		return file, nil
	}
	ctx, cancel := context.WithTimeout(ctx, outboxLimit)
	defer cancel()
	file, aside, err := sqlite.OpenOutbox(ctx, o.store.cfg.Postgres.Replica, create)
	if err != nil {
		err = fault(fmt.Errorf("the jobs that wait for the database cannot be opened: %w", err))
		if before := o.fault.Swap(&err); before == nil || (*before).Error() != err.Error() {
			o.store.log.Error("no jobs are recorded at this site", zap.Error(err))
		}
		return nil, err
	}
	if aside != "" {
		o.lost(aside, nil)
	}
	o.fault.Store(nil)
	if file != nil {
		o.file.Store(file)
	}
	return file, nil
}

func (o *outbox) place() zap.Field {
	return zap.String("file", sqlite.OutboxPath(o.store.cfg.Postgres.Replica))
}

// lost logs that a file was set aside.
func (o *outbox) lost(aside string, why error) {
	o.store.log.Error("the file of the jobs that wait for the database is damaged: it was set aside, and jobs in it that were not sent on are not found any more",
		o.place(), zap.String("aside", aside), zap.Error(why))
}

// check sets the file aside if err, of a read, says that it is damaged.
func (o *outbox) check(file *sqlite.Outbox, err error) {
	if !sqlite.Damaged(err) {
		return
	}
	o.turn.Lock()
	defer o.turn.Unlock()
	o.setAsideDamaged(file, err)
}

// setAsideDamaged sets the file aside if err says that it is damaged, and reports whether it is. The caller holds turn.
func (o *outbox) setAsideDamaged(file *sqlite.Outbox, err error) bool {
	if !sqlite.Damaged(err) || o.file.Load() != file {
		return sqlite.Damaged(err) // another caller has done it
	}
	if file.Moved() {
		return true // open finds it out
	}
	o.file.Store(nil)
	aside, failed := file.SetAside()
	if failed != nil {
		o.store.log.Error("the file of the jobs that wait for the database is damaged, and cannot be set aside", o.place(), zap.Error(failed))
		return false
	}
	o.lost(aside, err)
	return true
}

// close gives the file up.
func (o *outbox) close() {
	if o == nil {
		return
	}
	o.turn.Lock()
	defer o.turn.Unlock()
	o.closed = true
	if file := o.file.Swap(nil); file != nil {
		_ = file.Close() // all commits have waited for the disk
	}
}

// WaitingJobs has the numbers of the jobs that were recorded at this site while the database did not answer, see
// [Postgres.AdmitJobs], and are not in the database.
type WaitingJobs struct {
	Waiting int // to be sent on
	Refused int // by the database: the log has the reasons
	Foreign int // of another keystore: they are sent on when it is configured again
}

// WaitingJobs counts the jobs that wait at this site. It reads their file, and never the database. ok is false for a
// store that has no such file. The error is an ErrUnavailable.
func (s *Store) WaitingJobs(ctx context.Context) (n WaitingJobs, ok bool, err error) {
	if s.outbox == nil {
		return n, false, nil
	}
	file, storeID := s.outbox.file.Load(), s.outbox.storeID.Load()
	if file == nil || storeID == nil {
		if why := s.outbox.fault.Load(); why != nil {
			return n, true, *why
		}
		return n, false, nil
	}
	if n, err = countWaitingJobs(ctx, file.Reader(), *storeID); err != nil {
		return n, true, fault(file.Advise(err))
	}
	return n, true, nil
}

func countWaitingJobs(ctx context.Context, q querier, storeID string) (n WaitingJobs, err error) {
	err = q.QueryRowContext(ctx, `SELECT
		(SELECT COUNT(*) FROM jobs WHERE refused = '' AND store_id = $1), (SELECT COUNT(*) FROM jobs WHERE refused <> ''),
		(SELECT COUNT(*) FROM jobs WHERE refused = '')`, storeID).Scan(&n.Waiting, &n.Refused, &n.Foreign)
	n.Foreign -= n.Waiting
	return n, err
}

// WaitingCondition is what InspectWaitingJobs finds out about the jobs that wait at a site. It is empty if no file of them
// exists.
type WaitingCondition struct {
	WaitingJobs

	Path     string   // of the file
	Readable []string // its files that users other than its owner can read
}

// InspectWaitingJobs counts the jobs that wait at the site of cfg for the store with an ID, also while a server uses
// their file, and changes nothing. cfg.Postgres.Replica must not be empty. The error is an ErrUnavailable.
func InspectWaitingJobs(ctx context.Context, cfg Config, storeID string) (c WaitingCondition, err error) {
	path := sqlite.OutboxPath(cfg.Postgres.Replica)
	db, readable, err := sqlite.InspectOutbox(ctx, path)
	if err == nil && db == nil {
		return c, nil
	}
	c.Path, c.Readable = path, readable
	if err == nil {
		defer func() { _ = db.Close() }() // it has read only
		c.WaitingJobs, err = countWaitingJobs(ctx, db, storeID)
	}
	if err != nil {
		return c, fault(fmt.Errorf("the jobs that wait for the database in %s cannot be read: %w", path, err))
	}
	return c, nil
}
