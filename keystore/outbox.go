package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
	"github.com/speechgate/speechgate/policy"
)

// outbox keeps the jobs that were created while the database of another machine did not answer, see
// [Postgres.AdmitJobs], in a file beside the replica. Lookups find them there until its goroutine, run, has sent
// them on to the database. The file is one of its own, because a replica may be set aside at any time.
//
// A job is in the file until the transaction that records it in the database is committed. So lookups first look
// into the file: a job that is not in the file any more is in the database.
//
// Each job in the file has the ID of its store, and is sent to no other store.
//
// A nil *outbox is that of a store without a replica.
type outbox struct {
	store *Store
	admit bool      // see Postgres.AdmitJobs; without it, the jobs of an earlier configuration are sent on
	room  *diskRoom // of the directory

	file    atomic.Pointer[sqlite.Outbox] // nil if no file exists, or it cannot be opened
	fault   atomic.Pointer[error]         // why the file cannot be opened; nil if it can, or no file exists
	storeID atomic.Pointer[string]        // of the store that was opened last; nil if none was

	failed atomic.Pointer[outboxFailure] // the last write; nil if it has not failed
	taking atomic.Bool                   // the log says that jobs are recorded here

	turn   sync.Mutex // held by the one who writes the file, or opens or closes it
	closed bool       // with turn

	mu    sync.Mutex
	queue []*outboxWrite // that wait for a turn

	// Only run's goroutine uses these:
	sender outboxSender
	warned string // ID of the store for which the log says that jobs of another one wait
}

// outboxFailure is a write that has failed.
type outboxFailure struct {
	err   error
	until time.Duration // on the monotonic clock: until then, further jobs are refused
}

// outboxWrite is a write of the file on its way through the queue.
type outboxWrite struct {
	run func(context.Context, *sql.Tx) error
	err error
}

const (
	outboxLimit = 10 * time.Second // for one transaction of the file, with the wait for the lock of another process
	outboxNames = `store_id = $1 AND id = $2 AND backend = $3 AND refused = ''`
)

// errNoJobRoom says that the disk of the outbox is full, or almost.
var errNoJobRoom = errors.New("the database does not answer, and the disk on which new jobs wait for it is full: free some space")

// belongs notes the ID of the store that was opened.
func (o *outbox) belongs(id string) {
	if o != nil {
		o.storeID.Store(&id)
	}
}

// CheckJobRoom does what [Store.CheckRoom] does, for the record of a job. With [Postgres.AdmitJobs], a job also has
// room while the database does not answer, as long as the replica may be used and the disk of this machine has space.
// A gate asks before it lets a client create the job.
func (s *Store) CheckJobRoom() error {
	err := s.CheckRoom()
	if err == nil || s.outbox == nil || !s.outbox.takes(err) {
		return err
	}
	if _, err := s.replica.storeID(err); err != nil {
		return err
	}
	if why := s.outbox.fault.Load(); why != nil {
		return *why
	}
	if f := s.outbox.failed.Load(); f != nil && s.mono() < f.until {
		return f.err
	}
	return fault(s.outbox.room.check())
}

// takes reports whether the outbox takes a job that could not be recorded in the database because of err. It does
// not ask how old the replica is: the gate has asked before the backend created the job, see CheckJobRoom.
func (o *outbox) takes(err error) bool {
	return o != nil && o.admit && o.storeID.Load() != nil && errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrClosed) && o.store.cannotBeAsked(err)
}

// spares returns why new jobs need not wait for the database: with [Postgres.AdmitJobs], it does not answer. It returns
// nil if they must wait.
func (o *outbox) spares() error {
	if o == nil || !o.admit {
		return nil
	}
	return o.store.answers()
}

// answers returns an error if the database was not opened, or does not answer.
func (s *Store) answers() error {
	if _, err := s.database(); err != nil {
		return err
	}
	return s.away()
}

// create records a job that the database could not record because of why. When it returns nil, the record is on
// the disk.
func (o *outbox) create(ctx context.Context, j *policy.Job, why error) error {
	exists := refuse(ErrJobExists, "job %q of backend %q is recorded already", j.ID, j.Backend)
	if there, err := o.known(ctx, j, why); err == nil {
		if sameJob(there, *j) {
			return nil // the answer to its commit was lost
		}
		return exists
	}
	storeID := *o.storeID.Load()
	err := o.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO jobs (store_id, backend, id, dialect, account_id, key_id, client, created_at, state, ended_at, upstream_key)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING`,
			storeID, j.Backend, j.ID, j.Dialect, j.AccountID, j.KeyID, addrText(j.Client), j.CreatedAt, j.State.String(), nullTime(j.EndedAt), nullFingerprint(j.UpstreamKey))
		if err != nil {
			return err
		}
		added, err := res.RowsAffected()
		if err == nil && added == 0 {
			err = exists
		}
		return err
	})
	if err == nil {
		o.noteTaken(why)
	}
	return err
}

// known returns the job that the cache or the replica has with the name of j.
func (o *outbox) known(ctx context.Context, j *policy.Job, why error) (policy.Job, error) {
	d := jobDigest(j.Backend, j.ID)
	if e := o.store.cache.jobs.Get(d); e.State == recordcache.Present {
		return packedJob(e.Record).job(), nil
	}
	return o.store.replica.job(ctx, d, "", j.Backend, j.ID, why)
}

// find returns a job that waits in the file. The error is ErrNotFound if the file has no such job, and an
// ErrUnavailable if the file cannot be read.
func (o *outbox) find(ctx context.Context, backend, id string) (policy.Job, error) {
	if o == nil {
		return policy.Job{}, ErrNotFound
	}
	file, storeID := o.file.Load(), o.storeID.Load()
	if file == nil || storeID == nil {
		if why := o.fault.Load(); why != nil {
			return policy.Job{}, *why
		}
		return policy.Job{}, ErrNotFound
	}
	j, err := scanFoundJob(file.Reader().QueryRowContext(context.WithoutCancel(ctx), `SELECT `+jobColumns+` FROM jobs WHERE `+outboxNames, *storeID, id, backend))
	if errors.Is(err, ErrNotFound) {
		return policy.Job{}, err
	}
	return j, o.unreadable(file, err)
}

// waits reports whether a job waits in the file.
func (o *outbox) waits(ctx context.Context) (waits bool, err error) {
	if o == nil {
		return false, nil
	}
	file, storeID := o.file.Load(), o.storeID.Load()
	if file == nil || storeID == nil {
		return false, nil
	}
	err = file.Reader().QueryRowContext(context.WithoutCancel(ctx), `SELECT EXISTS (SELECT 1 FROM jobs WHERE store_id = $1 AND refused = '')`, *storeID).Scan(&waits)
	return waits, o.unreadable(file, err)
}

// unreadable returns the error of a file that cannot be read because of err; nil for nil.
func (o *outbox) unreadable(file *sqlite.Outbox, err error) error {
	if err == nil {
		return nil
	}
	o.check(file, err)
	return fault(fmt.Errorf("the jobs that wait for the database cannot be read: %w", file.Advise(err)))
}

// setState records the state of a job that waits in the file. found reports whether one does. If ctx ends, the caller
// does not wait for the disk any more; the state is recorded later. The error is an ErrUnavailable if too many writes wait.
func (o *outbox) setState(ctx context.Context, backend, id string, state policy.JobState, now policy.Time) (found bool, err error) {
	switch j, err := o.find(ctx, backend, id); {
	case err != nil:
		return false, nil //nolint:nilerr // FindJob returns it, if the database does not have the job
	case !advances(&j, state):
		return true, nil
	}
	o.mu.Lock()
	full := len(o.queue) >= queueLen
	o.mu.Unlock()
	if full {
		return true, fault(errOutboxBusy)
	}
	done := make(chan error, 1)
	go func() {
		sent := false
		err := o.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
			j, err := scanWaitingJob(tx.QueryRowContext(ctx, `SELECT row, `+jobColumns+` FROM jobs WHERE `+outboxNames, *o.storeID.Load(), id, backend))
			if sent = errors.Is(err, sql.ErrNoRows); sent {
				return nil
			}
			if err != nil || !advances(&j.Job, state) {
				return err
			}
			var ended policy.Time
			if state.Ended() {
				ended = now
			}
			_, err = tx.ExecContext(ctx, `UPDATE jobs SET state = $1, ended_at = $2 WHERE row = $3`, state.String(), nullTime(ended), j.row)
			return err
		})
		if err == nil && sent {
			err = errJobSent
		}
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = fault(ctx.Err())
	}
	if errors.Is(err, errJobSent) {
		return false, nil
	}
	return true, err
}

var errOutboxBusy = errors.New("too many writes wait for the disk on which jobs wait for the database")

// errJobSent says that a job does not wait any more: the database has it.
var errJobSent = errors.New("the job was sent on meanwhile")

// write runs a function in a transaction of the file, and returns when the transaction is durable. The functions that
// wait while the file is written run together in the next transaction, and so share its wait for the disk. A refusal
// is the error of one function only; any other error is that of all.
func (o *outbox) write(ctx context.Context, run func(context.Context, *sql.Tx) error) error {
	w := &outboxWrite{run: run}
	o.mu.Lock()
	o.queue = append(o.queue, w)
	o.mu.Unlock()
	o.turn.Lock()
	defer o.turn.Unlock()
	o.mu.Lock()
	batch := o.queue
	o.queue = nil
	o.mu.Unlock()
	if len(batch) > 0 { // otherwise the one before has run it
		o.commit(context.WithoutCancel(ctx), batch)
	}
	return w.err
}

// commit runs a batch in one transaction, and sets the errors of its writes. The caller holds turn.
func (o *outbox) commit(ctx context.Context, batch []*outboxWrite) {
	err := ErrClosed
	for tries := 0; tries < 2 && !o.closed; tries++ { // a file that is damaged or was removed is replaced once
		var file *sqlite.Outbox
		if file, err = o.open(ctx, true); err != nil {
			break
		}
		if err = o.transact(ctx, file, batch); err == nil {
			o.failed.Store(nil)
			return
		}
		cause := WriteFailed
		if file.Full(err) {
			cause = WriteNoRoom
			o.room.foundFull()
		}
		o.store.cfg.Wrote(Written{Failed: len(batch), Cause: cause})
		damaged := o.setAsideDamaged(file, err)
		err = fault(fmt.Errorf("a job cannot be recorded at this site: %w", file.Advise(err)))
		o.failed.Store(&outboxFailure{err, o.store.mono() + fullFor})
		if !damaged {
			break
		}
	}
	for _, w := range batch {
		w.err = err
	}
}

// transact runs a batch in one transaction.
func (o *outbox) transact(ctx context.Context, file *sqlite.Outbox, batch []*outboxWrite) error {
	ctx, cancel := context.WithTimeout(ctx, outboxLimit)
	defer cancel()
	tx, err := file.Begin(ctx)
	for file.Busy(err) && ctx.Err() == nil {
		tx, err = file.Begin(ctx)
	}
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	for _, w := range batch {
		w.err = w.run(ctx, tx)
		if r := (*refusal)(nil); w.err != nil && !errors.As(w.err, &r) {
			return w.err
		}
	}
	return tx.Commit()
}
