package keystore

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/policy"
)

const (
	queueLen = 1024                 // writes in the queue; further callers block until there is space
	maxBatch = 256                  // writes in one transaction
	maxDelay = 2 * time.Millisecond // how long a batch waits for reserved writes

	// After maxMisses waits in a row that gained no write, the writer stops waiting for a
	// while.
	maxMisses = 3
	// skipDelays is how many batches it then commits without waiting.
	skipDelays = 16
)

// groupCommit makes writes durable. One goroutine, run, takes the writes from
// the queue and commits many of them in one transaction, so that they share one
// fsync. A commit costs much more than the statements of a write.
//
// On a busy core the writer often sees only the first of many writes that are
// about to come. Callers therefore announce a write with [Store.ReserveWrite].
// While there are reservations, the writer waits up to maxDelay for the reserved
// writes. A reserved write can take long, for example if the client still sends
// the audio of a job. So after maxMisses waits in a row that gained no write,
// the writer commits the next skipDelays batches without waiting. After these,
// one more wait without a gain is enough for the next skipDelays.
type groupCommit struct {
	store    *Store
	queue    chan *write
	reserved atomic.Int64  // reservations that were neither used nor released
	released chan struct{} // has an element when the last reservation was released
	maxDelay time.Duration // tests change it
	beside   chan struct{} // has an element for each transaction that runs beside; nil if none may
	closing  chan struct{} // closed by close: run returns after the batch under way
	done     chan struct{} // closed when run has returned

	// Only run's goroutine uses these:
	misses int // waits in a row that gained no write
	skip   int // batches to commit without a wait
}

func newGroupCommit(s *Store) *groupCommit {
	c := &groupCommit{
		store:    s,
		queue:    make(chan *write, queueLen),
		released: make(chan struct{}, 1),
		maxDelay: maxDelay,
		closing:  make(chan struct{}),
		done:     make(chan struct{}),
	}
	if n := s.engine.Beside(); n > 0 {
		c.beside = make(chan struct{}, n)
	}
	return c
}

// write is one caller's write on its way through the queue.
type write struct {
	run      func(*txn) error
	job      *policy.Job // that is recorded, in the place of run
	owner    string      // ID of the store that the job belongs to; empty: any that is open
	key      *newKey     // that run issues
	reserved bool        // see [Store.ReserveWrite]
	relaxed  bool        // see [Store.writeRelaxed]
	beside   bool        // see [engine.Beside]
	ending   bool        // see [Store.writeEnding]
	retried  bool        // an earlier transaction with it may have been committed
	claimed  atomic.Bool // by the writer, which then sends the result, or by a caller that gave up
	err      error
	done     chan error // receives the result; buffered
}

// claim reports whether the caller is the first to claim the write.
func (w *write) claim() bool { return w.claimed.CompareAndSwap(false, true) }

// WriteReservation announces one write to the group commit, see [Store.ReserveWrite].
// The zero value announces nothing.
type WriteReservation struct{ commits *groupCommit }

// ReserveWrite announces a write, so that writes which are ready earlier wait
// for it, up to 2 ms, and share its transaction. Pass the reservation to
// [Store.CreateReservedJob]. Call Release in every case.
func (s *Store) ReserveWrite() WriteReservation {
	s.commits.reserved.Add(1)
	return WriteReservation{s.commits}
}

// Release ends a reservation that was not used. It does nothing after a write
// has used the reservation, and nothing on the second call.
func (r *WriteReservation) Release() {
	c := r.commits
	if r.commits = nil; c == nil || c.reserved.Add(-1) > 0 {
		return
	}
	select {
	case c.released <- struct{}{}:
	default: // the writer has not yet received the element of an earlier release
	}
}

// write executes run in a transaction. It returns when the transaction is
// durable and the caches of this process have dropped the changed records. If
// ctx ends before run begins, the write is given up. Once run has begun, write
// waits for its end.
func (s *Store) write(ctx context.Context, run func(*txn) error) error {
	return s.commits.submit(ctx, &write{run: run}, new(WriteReservation))
}

// writeReserved does what write does, for a write that r has announced. If r was
// released, the write is not announced.
func (s *Store) writeReserved(ctx context.Context, r *WriteReservation, run func(*txn) error) error {
	return s.commits.submit(ctx, &write{run: run, reserved: r.commits == s.commits}, r)
}

// writeJob does what writeReserved does, for the record of a job. The jobs of a batch are
// recorded together.
func (s *Store) writeJob(ctx context.Context, r *WriteReservation, j *policy.Job) error {
	return s.writeJobOf(ctx, r, "", j)
}

// writeJobOf does what writeJob does, if the store with this ID is open.
func (s *Store) writeJobOf(ctx context.Context, r *WriteReservation, storeID string, j *policy.Job) error {
	return s.commits.submit(ctx, &write{job: j, owner: storeID, beside: true, reserved: r.commits == s.commits}, r)
}

// writeKey does what write does, for a key that is issued. The keys of a batch are issued together.
func (s *Store) writeKey(ctx context.Context, n *newKey) error {
	return s.commits.submit(ctx, &write{key: n, run: n.issue}, new(WriteReservation))
}

// writeEnding does what write does, for the end of a key or an account. It also works
// on a full disk, where other writes are refused: see diskRoom. It calls run again if
// the transaction failed because the disk was full.
func (s *Store) writeEnding(ctx context.Context, run func(*txn) error) error {
	return s.commits.submit(ctx, &write{run: run, ending: true}, new(WriteReservation))
}

// writeUses writes last uses, as writeRelaxed does.
func (s *Store) writeUses(ctx context.Context, run func(*txn) error) error {
	return s.commits.submit(ctx, &write{run: run, relaxed: true, beside: true}, new(WriteReservation))
}

// writeRelaxed does what write does, for data that a loss of power may take away. A
// batch of relaxed writes does not wait for the disk, except when the engine makes a
// checkpoint.
func (s *Store) writeRelaxed(ctx context.Context, run func(*txn) error) error {
	return s.commits.submit(ctx, &write{run: run, relaxed: true}, new(WriteReservation))
}

// submit puts a write into the queue, and waits for its result.
func (c *groupCommit) submit(ctx context.Context, w *write, r *WriteReservation) error {
	if ctx.Err() != nil {
		return gaveUp(ctx)
	}
	w.done = make(chan error, 1)
	select {
	case c.queue <- w:
		if w.reserved {
			r.commits = nil // used: the writer counts it down
		}
	case <-ctx.Done():
		return gaveUp(ctx)
	case <-c.done:
		return ErrClosed
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		if w.claim() {
			return gaveUp(ctx)
		}
	case <-c.done:
		if w.claim() {
			return ErrClosed
		}
	}
	return <-w.done
}

// run is the writer: it commits batches until close.
func (c *groupCommit) run(ctx context.Context) {
	var running sync.WaitGroup
	defer close(c.done)
	defer running.Wait()
	for {
		select {
		case <-c.closing:
			return // callers that still wait return by c.done
		case w := <-c.queue:
			batch := c.collect(w)
			if c.beside != nil {
				batch = c.commitBeside(ctx, &running, batch)
			}
			if len(batch) > 0 {
				c.commit(ctx, batch, false)
			}
		}
	}
}

// commitBeside takes the jobs from a batch, and records them in a transaction of their own while the
// writer goes on. It returns the rest. Such a transaction shares the flush of the database's log with
// others.
func (c *groupCommit) commitBeside(ctx context.Context, running *sync.WaitGroup, batch []*write) (rest []*write) {
	var jobs []*write
	for _, w := range batch {
		if w.job != nil {
			jobs = append(jobs, w)
		} else {
			rest = append(rest, w)
		}
	}
	if len(jobs) == 0 {
		return rest
	}
	c.beside <- struct{}{} // waits while as many run as may
	running.Go(func() {
		defer func() { <-c.beside }()
		c.recordJobs(ctx, jobs)
	})
	return rest
}

// close ends the writer, and returns when the batch under way is committed.
func (c *groupCommit) close() {
	close(c.closing)
	<-c.done
}

// collect makes a batch of first, the writes in the queue, those of goroutines that are ready to run, and
// the reserved writes that come within maxDelay.
func (c *groupCommit) collect(first *write) []*write {
	batch := c.add(nil, first)
	mayWait := c.skip == 0
	if !mayWait {
		c.skip--
	}
	var timeout <-chan time.Time // nil until the first wait
	var before int               // writes in the batch at the first wait
	yielded := false
collecting:
	for len(batch) < maxBatch {
		select {
		case w := <-c.queue:
			batch = c.add(batch, w)
			continue
		default:
		}
		if !yielded { // the first write has woken the writer before others that are as far
			yielded = true
			runtime.Gosched()
			continue
		}
		if !mayWait || c.reserved.Load() <= 0 {
			break
		}
		if timeout == nil {
			timer := time.NewTimer(c.maxDelay)
			defer timer.Stop()
			timeout, before = timer.C, len(batch)
		}
		select {
		case w := <-c.queue:
			batch = c.add(batch, w)
		case <-c.released:
		case <-timeout:
			break collecting
		case <-c.closing:
			break collecting
		}
	}
	if timeout != nil {
		c.countMiss(len(batch) == before)
	}
	return batch
}

// addQueued adds the writes that have come while a transaction began.
func (c *groupCommit) addQueued(batch []*write) []*write {
	var late []*write
	for len(batch)+len(late) < maxBatch {
		select {
		case w := <-c.queue:
			late = c.add(late, w)
			continue
		default:
		}
		break
	}
	return append(batch, c.store.room.refuse(late)...)
}

// add appends a write to a batch. Its reservation is used up.
func (c *groupCommit) add(batch []*write, w *write) []*write {
	if w.reserved {
		c.reserved.Add(-1)
	}
	return append(batch, w)
}

// countMiss counts the waits in a row that gained no write.
func (c *groupCommit) countMiss(miss bool) {
	if !miss {
		c.misses = 0
		return
	}
	if c.misses++; c.misses >= maxMisses {
		c.skip = skipDelays
	}
}
