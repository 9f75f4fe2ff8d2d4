package keystore

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
	"github.com/speechgate/speechgate/policy"
)

const (
	outboxEvery  = time.Second     // between two looks at the file
	outboxSpread = 5 * time.Second // after an outage, gateways begin to send at different times within it
	outboxBatch  = maxBatch        // jobs that are sent at a time
	outboxPause  = 5               // a pause after a batch, at least, in times of the work before it
	outboxSend   = 30 * time.Second
)

// outboxSender is the state of the goroutine that sends jobs on.
type outboxSender struct {
	away bool  // the database has not answered since the last batch
	last int64 // row of the last job that was tried: one that fails keeps no other from its turn
	sent int   // jobs since the file had none
	told bool  // the log says that jobs cannot be sent on
}

// waitingJob is a job in the file.
type waitingJob struct {
	policy.Job

	row     int64
	damaged error  // why its row cannot be read
	refused string // why the database does not take it
	err     error  // why it could not be sent on now
}

// run sends jobs on until ctx ends.
func (o *outbox) run(ctx context.Context) {
	timer := time.NewTimer(outboxEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(o.step(ctx))
		}
	}
}

// step sends a batch of jobs, if some wait and the database answers. It returns the pause until the next step.
func (o *outbox) step(ctx context.Context) time.Duration {
	o.turn.Lock()
	file, err := o.open(ctx, o.admit)
	o.turn.Unlock()
	if err != nil || file == nil {
		return outboxEvery
	}
	db := o.store.state.Load().db
	if db == nil || o.store.answers() != nil {
		o.sender.away = true
		return outboxEvery
	}
	o.warnForeign(ctx)
	limited, cancel := context.WithTimeout(ctx, outboxSend)
	defer cancel()
	jobs, err := o.next(limited, file, db.id)
	switch {
	case err == nil && len(jobs) == 0:
		o.rest()
		return outboxEvery
	case err == nil && o.sender.away:
		o.sender.away = false
		return rand.N(outboxSpread) //nolint:gosec // a pause is no secret
	}
	begun := time.Now()
	if err == nil {
		err = o.send(limited, db, jobs)
	}
	if ctx.Err() == nil {
		o.tell(err)
	}
	pause := max(outboxEvery, outboxPause*time.Since(begun)) // leaves the database to others
	return pause + rand.N(pause)                             //nolint:gosec // as above
}

// next reads the next jobs to send to a store. After the last one comes the first one again.
func (o *outbox) next(ctx context.Context, file *sqlite.Outbox, storeID string) (jobs []waitingJob, err error) {
	for {
		jobs, err = queryRows(ctx, file.Reader(), scanAnyWaitingJob, `SELECT row, `+jobColumns+` FROM jobs
			WHERE store_id = $1 AND row > $2 AND refused = '' ORDER BY row LIMIT $3`, storeID, o.sender.last, outboxBatch)
		if err != nil {
			return nil, o.unreadable(file, err)
		}
		if len(jobs) > 0 || o.sender.last == 0 {
			return jobs, nil
		}
		o.sender.last = 0
	}
}

func scanWaitingJob(row scanner) (j waitingJob, err error) {
	j.Job, err = scanJob(beforeKey{row, []any{&j.row}})
	return j, err
}

// scanAnyWaitingJob reads a job that may be damaged: its row keeps no other job from being sent.
func scanAnyWaitingJob(row scanner) (waitingJob, error) {
	j, err := scanWaitingJob(row)
	if err != nil && j.row != 0 {
		j.damaged, err = err, nil
	}
	return j, err
}

// send sends jobs to a database, all at the same time so that they share its transactions. It takes those from the
// file that the database has. The others stay.
func (o *outbox) send(ctx context.Context, db *database, jobs []waitingJob) error {
	s := o.store
	var sending sync.WaitGroup
	for i := range jobs {
		j, reserved := &jobs[i], s.ReserveWrite()
		sending.Go(func() {
			defer reserved.Release()
			if j.damaged != nil {
				j.refused = j.damaged.Error()
				return
			}
			j.refused, j.err = s.sendJob(ctx, &reserved, db.id, &j.Job)
		})
	}
	sending.Wait()
	if s.state.Load().db != db {
		return nil // it can have been another store that has answered
	}
	o.sender.last = jobs[len(jobs)-1].row
	for i := range jobs { // before they leave the file, so that the replica is to have them
		if j := &jobs[i]; j.refused == "" && j.err == nil {
			s.replica.keep(replicaItem{jobDigest(j.Backend, j.ID), j.ID})
		}
	}
	err := o.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for i := range jobs {
			if err := jobs[i].settle(ctx, tx, db.id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var failed error
	for i := range jobs {
		j := &jobs[i]
		switch {
		case j.refused != "":
			s.log.Error("the database does not take a job that was recorded at this site: the record stays in the file",
				o.place(), zap.String("reason", j.refused), zap.Int64("row", j.row), zap.String("backend", j.Backend), zap.String("job_id", j.ID),
				zap.String("account_id", j.AccountID), zap.String("key_id", j.KeyID), zap.Stringer("created_at", j.CreatedAt))
		case j.err != nil:
			failed = j.err
		default:
			o.sender.sent++
		}
	}
	return failed
}

// settle writes into the file what has become of a job. A job whose state has changed meanwhile is sent again.
func (j *waitingJob) settle(ctx context.Context, tx *sql.Tx, storeID string) (err error) {
	switch {
	case j.damaged != nil:
		_, err = tx.ExecContext(ctx, `UPDATE jobs SET refused = $1 WHERE row = $2 AND store_id = $3`, j.refused, j.row, storeID)
	case j.refused != "":
		_, err = tx.ExecContext(ctx, `UPDATE jobs SET refused = $1 WHERE store_id = $2 AND id = $3 AND backend = $4 AND refused = ''`, j.refused, storeID, j.ID, j.Backend)
	case j.err == nil:
		_, err = tx.ExecContext(ctx, `DELETE FROM jobs WHERE `+outboxNames+` AND state = $4`, storeID, j.ID, j.Backend, j.State.String())
	}
	return err
}

// sendJob records a job of a store that was recorded at this site. A job that the database has already was sent before. refused
// says why the database will never take the job; it is empty if the database has it, or may take it later.
func (s *Store) sendJob(ctx context.Context, r *WriteReservation, storeID string, j *policy.Job) (refused string, err error) {
	switch err = s.writeJobOf(ctx, r, storeID, j); {
	case err == nil:
		return "", nil
	case errors.Is(err, ErrInvalid):
		return err.Error(), nil
	case errors.Is(err, engine.ErrReplaced), !errors.Is(err, ErrJobExists) && s.cannotBeAsked(err):
		return "", err
	case !errors.Is(err, ErrJobExists):
		if keys, failed := query(ctx, s, scanColumn[string], `SELECT id FROM api_keys WHERE id = $1`, j.KeyID); failed == nil && len(keys) == 0 {
			return "the database does not have the key that has created the job any more", nil
		}
		return "", err
	}
	there, err := s.Job(ctx, j.Backend, j.ID)
	if err != nil {
		return "", err
	}
	if !sameJob(there, *j) {
		return "the database has another job with this ID, of account " + there.AccountID, nil
	}
	if !advances(&there, j.State) {
		return "", nil
	}
	return "", s.writeState(ctx, j.Backend, j.ID, j.State, j.EndedAt, s.cfg.Clock())
}

// sameJob reports whether two records are of one job. Its state may differ.
func sameJob(a, b policy.Job) bool {
	a.State, a.EndedAt = b.State, b.EndedAt
	return a == b
}

// warnForeign logs, once for each store, that jobs of another one wait in the file.
func (o *outbox) warnForeign(ctx context.Context) {
	id := *o.storeID.Load()
	if o.warned == id {
		return
	}
	n, _, err := o.store.WaitingJobs(ctx)
	if err != nil {
		return // the next step tries again
	}
	o.warned = id
	if n.Foreign > 0 {
		o.store.log.Error("jobs of another keystore wait at this site: they are sent on when that keystore is configured again with this directory",
			o.place(), zap.Int("jobs", n.Foreign), zap.String("store_id", id))
	}
}

// rest notes that no job waits.
func (o *outbox) rest() {
	if o.sender.sent > 0 {
		o.store.log.Info("all jobs that were recorded at this site were sent on to the database", zap.Int("jobs", o.sender.sent))
	}
	o.sender = outboxSender{}
	o.taking.Store(false)
}

// tell logs an error of sending, once.
func (o *outbox) tell(err error) {
	if err != nil && !o.sender.told && !o.store.cannotBeAsked(err) {
		o.store.log.Error("jobs that were recorded at this site cannot be sent on to the database; it is tried again", o.place(), zap.Error(err))
	}
	o.sender.told = err != nil && (o.sender.told || !o.store.cannotBeAsked(err))
}

// noteTaken logs the first job that is recorded at this site.
func (o *outbox) noteTaken(why error) {
	if !o.taking.Load() && o.taking.CompareAndSwap(false, true) {
		o.store.log.Warn("the database does not answer: jobs are recorded at this site, and sent on later", o.place(), zap.Error(why))
	}
}
