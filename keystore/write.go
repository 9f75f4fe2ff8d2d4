package keystore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/policy"
)

const (
	queueLen = 1024                 // writes that wait; more wait for a place
	batchLen = 256                  // writes that share a transaction
	gatherIn = 2 * time.Millisecond // how long a batch waits for writes that are expected
	inVain   = 3                    // how many batches in a row may wait for none
	gatherNo = 16                   // how many do not wait then
	lockWait = 10 * time.Second     // how long another process may hold the write lock
)

// write is one caller's write on its way through the queue.
type write struct {
	run      func(*txn) error
	expected bool        // see [Store.Expect]
	note     bool        // see [Store.note]
	ending   bool        // see [Store.writeEnding]
	taken    atomic.Bool // by the writer, who then answers, or by a caller who gave up
	err      error
	done     chan error
}

// take claims the write for whoever asks first.
func (w *write) take() bool { return w.taken.CompareAndSwap(false, true) }

// write has run executed in a transaction, and returns when it is durable and
// the caches of this process have dropped what it changed. A caller whose ctx
// ends before its turn gives up; once running, the write is waited for.
func (s *Store) write(ctx context.Context, run func(*txn) error) error {
	return s.submit(ctx, &write{run: run}, new(Coming))
}

// writeAs is write for one that was expected, if coming has not ended.
func (s *Store) writeAs(ctx context.Context, coming *Coming, run func(*txn) error) error {
	return s.submit(ctx, &write{run: run, expected: coming.store == s}, coming)
}

// writeEnding is write for what ends a key or an account. It is made on a full disk
// too, where others are refused: see MinFreeBytes. Run may be called again, after a
// transaction that did not happen.
func (s *Store) writeEnding(ctx context.Context, run func(*txn) error) error {
	return s.submit(ctx, &write{run: run, ending: true}, new(Coming))
}

// note is write for what may be lost with the power. A batch of notes alone does not
// wait for the disk, but where SQLite moves its log into the file, and on one core no
// request waits with it.
func (s *Store) note(ctx context.Context, run func(*txn) error) error {
	return s.submit(ctx, &write{run: run, note: true}, new(Coming))
}

// submit puts a write into the queue, and waits for its outcome.
func (s *Store) submit(ctx context.Context, w *write, coming *Coming) error {
	if ctx.Err() != nil {
		return gaveUp(ctx)
	}
	w.done = make(chan error, 1)
	select {
	case s.queue <- w:
		if w.expected {
			coming.store = nil // the writer counts it now
		}
	case <-ctx.Done():
		return gaveUp(ctx)
	case <-s.writerDone:
		return ErrClosed
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.take() {
			return gaveUp(ctx)
		}
	case <-s.writerDone:
		if w.take() {
			return ErrClosed
		}
	}
	return <-w.done
}

// runWriter is the one goroutine that writes.
func (s *Store) runWriter(ctx context.Context) {
	defer close(s.writerDone)
	for {
		select {
		case <-s.closing:
			return // whoever still waits sees writerDone
		case w := <-s.queue:
			s.commit(ctx, s.gather(w))
		}
	}
}

// Coming is a write that is about to come, see [Store.Expect]. The zero value is none.
type Coming struct{ store *Store }

// Expect says that a write is about to come, so that others that come before it
// wait a moment and share a transaction with it: to commit costs more than to write,
// and on a busy core the first of many would have a transaction of its own. Over is
// to be called in any case.
func (s *Store) Expect() Coming {
	s.coming.Add(1)
	return Coming{s}
}

// Over says that the write will not come any more, unless it has.
func (c *Coming) Over() {
	s := c.store
	if c.store = nil; s == nil || s.coming.Add(-1) > 0 {
		return
	}
	select {
	case s.settled <- struct{}{}:
	default: // the writer has yet to hear of another
	}
}

// join adds a write to a batch. It is expected no more.
func (s *Store) join(batch []*write, w *write) []*write {
	if w.expected {
		s.coming.Add(-1)
	}
	return append(batch, w)
}

// gather makes a batch of the writes that wait and of those that are expected, if
// they come within a moment. What is expected can take long, such as a job whose
// audio is still being sent: where some have waited in vain, the next ones do not.
func (s *Store) gather(first *write) []*write {
	batch := s.join(nil, first)
	hurry := s.hurry > 0
	if hurry {
		s.hurry--
	}
	var over <-chan time.Time // begins to run when there is something to wait for
	var before int            // how many there were then
gathering:
	for len(batch) < batchLen {
		select {
		case w := <-s.queue:
			batch = s.join(batch, w)
			continue
		default:
		}
		if hurry || s.coming.Load() <= 0 {
			break gathering
		}
		if over == nil {
			timer := time.NewTimer(s.gatherIn)
			defer timer.Stop()
			over, before = timer.C, len(batch)
		}
		select {
		case w := <-s.queue:
			batch = s.join(batch, w)
		case <-s.settled:
		case <-over:
			break gathering
		case <-s.closing:
			break gathering
		}
	}
	switch {
	case over == nil: // it did not wait
	case len(batch) > before:
		s.vain = 0
	default:
		if s.vain++; s.vain >= inVain {
			s.hurry = gatherNo
		}
	}
	return batch
}

// commit runs a batch in one transaction and answers each of its writes. Where the
// disk is full, those that end something have more transactions, as long as the
// reserve has room to give up.
func (s *Store) commit(ctx context.Context, batch []*write) {
	batch = s.refuseForRoom(batch)
	for again := false; len(batch) > 0; again = true {
		running, fatal := s.transact(ctx, batch, again)
		full := isFull(fatal)
		for _, w := range running {
			if w.err == nil && fatal != nil {
				w.err = fault(fmt.Errorf("writing: %w", s.explain(fatal)))
			}
			full = full || isFull(w.err)
		}
		batch = running[:0]
		retry := full && s.giveRoom()
		for _, w := range running {
			if retry && w.ending && w.err != nil && (isFull(w.err) || fatal != nil) {
				w.err = nil
				batch = append(batch, w)
				continue
			}
			w.done <- w.err
		}
		if full {
			s.room.fullUntil.Store(int64(s.mono() + fullTrusted))
		}
	}
}

// transact runs a batch in one transaction, and leaves out the writes whose callers
// have given up. The writes of a batch that runs again are taken already.
func (s *Store) transact(ctx context.Context, batch []*write, again bool) (running []*write, fatal error) {
	db, tx, fatal := s.begin(ctx, batch, again)
	t := &txn{Tx: tx, ctx: ctx, store: s}
	running = batch[:0]
	for _, w := range batch {
		if !again && !w.take() {
			continue
		}
		running = append(running, w)
		if fatal == nil {
			w.err, fatal = t.attempt(w.run)
		}
	}
	if tx != nil {
		if fatal == nil {
			fatal = db.commit(tx)
		} else {
			_ = tx.Rollback() // fatal says more than this error would
		}
		// Also after a commit that failed: it may have happened all the same,
		// and to drop too much is harmless.
		db.apply(t.changes)
	}
	return running, fatal
}

// commit commits while checkBytes knows of it.
func (d *database) commit(tx *sql.Tx) error {
	d.committing.Store(true)
	defer d.committing.Store(false)
	return tx.Commit()
}

// begin starts the transaction. It keeps trying while another process holds the
// write lock and some caller still waits. The callers of a batch that runs again
// all do.
func (s *Store) begin(ctx context.Context, batch []*write, again bool) (*database, *sql.Tx, error) {
	for deadline := s.mono() + lockWait; ; {
		db, err := s.database()
		if err != nil {
			return nil, nil, err
		}
		// A write into a file that is no longer there would be lost.
		if err := db.checkPlace(); err != nil {
			return nil, nil, err
		}
		conn := db.writer
		if notes(batch) {
			conn = db.noter
		}
		tx, err := conn.BeginTx(ctx, nil)
		if err == nil {
			return db, tx, nil
		}
		if !isBusy(err) || s.mono() > deadline || !again && abandoned(batch) {
			return nil, nil, err
		}
		select {
		case <-s.closing:
			return nil, nil, ErrClosed
		default:
		}
	}
}

func abandoned(batch []*write) bool {
	return !slices.ContainsFunc(batch, func(w *write) bool { return !w.taken.Load() })
}

// notes reports whether nothing in the batch has to be durable.
func notes(batch []*write) bool {
	return !slices.ContainsFunc(batch, func(w *write) bool { return !w.note })
}

// apply drops what changed from the caches, and tells who watches it. It looks through
// the whole cache at most once: many looks in a row would overtake every lookup.
func (d *database) apply(changes []change) {
	var accounts, issuers map[string]bool
	for _, c := range changes {
		switch {
		case c.kind == changedKey && len(c.ref) == len(digest{}):
			d.keys.Drop(digest(c.ref))
			d.watchers.tellKey(digest(c.ref))
		case c.kind == changedJob && len(c.ref) == len(digest{}):
			d.jobs.Drop(digest(c.ref))
		case c.kind == changedAccount:
			accounts = with(accounts, string(c.ref))
		case c.kind == changedChildren:
			issuers = with(issuers, string(c.ref))
		case c.kind == changedJobs:
			d.jobs.DropAll()
		case c.kind == changedNewAccount:
		default: // also what a newer version may write
			d.dropCaches()
		}
	}
	if len(accounts) > 0 || len(issuers) > 0 {
		d.dropRecords(func(r *Record) bool {
			_, account := r.IDs()
			return accounts[account] || issuers[r.issuerID()]
		})
	}
}

// with adds an ID to a set that may not have been made.
func with(set map[string]bool, id string) map[string]bool {
	if set == nil {
		set = make(map[string]bool)
	}
	set[id] = true
	return set
}

func (d *database) dropRecords(match func(*Record) bool) {
	d.keys.DropIf(func(lastUsed *policy.Time, packed string) bool { return match(&Record{*lastUsed, packed}) })
	d.watchers.tellIf(match)
}

func (d *database) dropCaches() {
	d.keys.DropAll()
	d.jobs.DropAll()
	d.watchers.tellIf(nil)
}
