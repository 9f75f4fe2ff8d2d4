package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// lockWait is how long a transaction waits for the write lock of another process.
const lockWait = 10 * time.Second

// Written describes a transaction that writes.
type Written struct {
	Took   time.Duration // from its begin to its commit, with the wait for the lock of another process
	Failed int           // how many writes got an ErrUnavailable
	Cause  WriteFault    // why they failed; empty if none did
}

// WriteFault says why writes failed.
type WriteFault string

// The causes of failed writes: a closed set.
const (
	WriteNoRoom WriteFault = "no_room" // the disk is full, or almost
	WriteLocked WriteFault = "locked"  // another process held the lock of the database for too long
	WriteFailed WriteFault = "failed"  // any other error
)

// WriteFaults lists every cause of failed writes.
func WriteFaults() []WriteFault { return []WriteFault{WriteNoRoom, WriteLocked, WriteFailed} }

// commit runs a batch in one transaction and sends each write its result. If
// the disk is full, the reserve file gives up space and the ending writes of the
// batch run again, in a new transaction, until the reserve is empty. If the connection breaks, which happens
// to all connections when the follower of the feed comes to another server, a batch of jobs runs again: each
// job is recorded once. again is set if the writes are claimed already.
func (c *groupCommit) commit(ctx context.Context, batch []*write, again bool) {
	room, broken := c.store.room, 0
	batch = room.refuse(batch)
	for ; len(batch) > 0; again = true {
		begun := c.store.mono()
		running, fatal := c.transact(ctx, batch, again)
		if c.store.engine.Broken(fatal) && broken < lookupTries && onlyJobs(running) {
			broken++
			for _, w := range running {
				w.err, w.retried = nil, true // the transaction may have been committed
			}
			batch = running
			continue
		}
		report := Written{Took: c.store.mono() - begun}
		full := c.store.engine.Full(fatal)
		for _, w := range running {
			if w.err == nil && fatal != nil {
				w.err = fault(fmt.Errorf("writing: %w", c.store.explain(fatal)))
			}
			full = full || c.store.engine.Full(w.err)
		}
		batch = running[:0]
		retry := full && room.give()
		runsAgain := func(w *write) bool {
			return retry && w.ending && w.err != nil && (c.store.engine.Full(w.err) || fatal != nil)
		}
		for _, w := range running {
			if !runsAgain(w) && errors.Is(w.err, ErrUnavailable) {
				report.Failed++
				report.Cause = c.cause(w.err)
			}
		}
		c.store.cfg.Wrote(report)
		for _, w := range running {
			if runsAgain(w) {
				w.err = nil
				batch = append(batch, w)
				continue
			}
			w.done <- w.err
		}
		if full {
			room.foundFull()
		}
	}
}

func onlyJobs(writes []*write) bool {
	return !slices.ContainsFunc(writes, func(w *write) bool { return w.job == nil })
}

// recordJobs records jobs in one statement, which is a transaction by itself. If the statement has
// failed for one of them, or on a connection that was broken already, it commits them as any batch. It does
// not try again to reach a server that cannot be reached: the clients wait.
func (c *groupCommit) recordJobs(ctx context.Context, batch []*write) {
	batch = slices.DeleteFunc(c.store.room.refuse(batch), func(w *write) bool { return !w.claim() })
	if len(batch) == 0 {
		return
	}
	begun := c.store.mono()
	undone, err := c.store.insertAlone(ctx, batch)
	if c.store.engine.Broken(err) || undone && !c.store.engine.Unreachable(err) {
		for _, w := range batch {
			w.retried = !undone
		}
		c.commit(ctx, batch, true)
		return
	}
	report := Written{Took: c.store.mono() - begun}
	if err != nil {
		err = fault(fmt.Errorf("writing: %w", c.store.explain(err)))
		report.Failed, report.Cause = len(batch), c.cause(err)
	}
	c.store.cfg.Wrote(report)
	for _, w := range batch {
		if err != nil {
			w.err = err
		}
		w.done <- w.err
	}
}

// cause returns why a write failed.
func (c *groupCommit) cause(err error) WriteFault {
	switch {
	case c.store.engine.Full(err), errors.Is(err, errNoRoom):
		return WriteNoRoom
	case c.store.engine.Busy(err):
		return WriteLocked
	}
	return WriteFailed
}

// transact runs a batch in one transaction. It leaves out the writes whose callers have
// given up. again is set if the batch has run before, so that all its writes are claimed.
func (c *groupCommit) transact(ctx context.Context, batch []*write, again bool) (running []*write, fatal error) {
	db, tx, fatal := c.begin(ctx, batch, again)
	t := &txn{Tx: tx, ctx: ctx, store: c.store, db: db}
	if fatal == nil && !again && modeOf(batch) == 0 {
		batch = c.addQueued(batch) // to begin takes an exchange with the server, and the lock of others
	}
	running = batch[:0]
	for _, w := range batch {
		if !again && !w.claim() {
			continue
		}
		running = append(running, w)
	}
	fatal = t.runAll(running, fatal)
	if tx != nil {
		if fatal == nil {
			fatal = t.commit()
		} else {
			_ = tx.Rollback() // fatal says more than this error would
		}
		// Also after a failed commit: the engine may have committed
		// nevertheless, and dropping too much is harmless.
		c.store.apply(t.changes)
		c.store.replica.noteOwn(ctx, t.changes)
	}
	return running, fatal
}

// runAll runs writes, each for itself. The jobs come first, all together, and then the new keys: no other
// write of a batch needs one of them, because their callers still wait. It returns fatal, or a fatal
// error of its own.
func (t *txn) runAll(writes []*write, fatal error) error {
	var jobs, keys, others []*write
	for _, w := range writes {
		switch {
		case w.job != nil:
			jobs = append(jobs, w)
		case w.key != nil:
			keys = append(keys, w)
		default:
			others = append(others, w)
		}
	}
	for chunk := range slices.Chunk(jobs, maxJobsAtOnce) {
		if fatal == nil {
			fatal = t.createJobs(chunk)
		}
	}
	if fatal == nil && len(keys) > 0 {
		keys, fatal = t.issueKeys(keys)
	}
	for _, w := range append(keys, others...) {
		if fatal == nil {
			w.err, fatal = t.attempt(w.run)
		}
	}
	return fatal
}

// begin starts the transaction of a batch. While another process holds the
// write lock, it tries again, up to lockWait, as long as a caller waits. The
// callers of a batch that runs again all wait.
func (c *groupCommit) begin(ctx context.Context, batch []*write, again bool) (*database, *sql.Tx, error) {
	s := c.store
	broken := 0
	for deadline := s.mono() + lockWait; ; {
		db, err := s.database()
		if err != nil {
			return nil, nil, err
		}
		tx, err := db.Begin(ctx, modeOf(batch))
		if err == nil {
			return db, tx, nil
		}
		if s.engine.Broken(err) && broken < lookupTries {
			broken++ // nothing was written: another connection may work
			continue
		}
		if !s.engine.Busy(err) || s.mono() > deadline || !again && allGaveUp(batch) {
			return nil, nil, err
		}
		select {
		case <-c.closing:
			return nil, nil, ErrClosed
		default:
		}
	}
}

// allGaveUp reports whether no caller waits for the batch any more.
func allGaveUp(batch []*write) bool {
	return !slices.ContainsFunc(batch, func(w *write) bool { return !w.claimed.Load() })
}

// modeOf returns the mode of a transaction for all writes of a batch.
func modeOf(batch []*write) engine.Mode {
	mode := engine.Relaxed | engine.Beside
	for _, w := range batch {
		if !w.relaxed {
			mode &^= engine.Relaxed
		}
		if !w.beside {
			mode &^= engine.Beside
		}
	}
	return mode
}
