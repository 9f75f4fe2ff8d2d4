package keystore

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/sqlite"
	"github.com/speechgate/speechgate/policy"
)

const (
	replicaEvery  = time.Second      // between two looks at the file, if no change comes
	replicaLimit  = 30 * time.Second // for one step
	replicaPause  = 5                // a pause while the file is filled, at least, in times that the database has worked before it
	replicaRest   = 2                // the same, in times that database and gateway have worked
	replicaBehind = 100_000          // changes; if the file is behind by more, it is filled again
	replicaChunk  = 1000             // changes in one transaction
	replicaQueue  = 4096             // jobs and tokens that are to be copied
	replicaTaken  = time.Minute      // a store that has not written the file for so long has left it
	endedKept     = time.Hour        // since its end, a key is not copied any more: clocks differ
)

// errFileTaken says that another store writes the file.
var errFileTaken = errors.New("another process or configuration with the same directory has taken the replica over")

// run follows the database until ctx ends. Gateways that start together do not begin together.
func (r *replica) run(ctx context.Context) {
	timer := time.NewTimer(rand.N(r.store.cfg.replicaBegins)) //nolint:gosec // a pause is no secret
	defer timer.Stop()
	var wake chan struct{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-wake:
		}
		wait, more := r.step(ctx)
		if wake = nil; !more {
			wait, wake = replicaEvery, r.wake
		}
		timer.Reset(wait)
	}
}

// step does what there is to do. more says that there is more to do, after a pause.
func (r *replica) step(ctx context.Context) (pause time.Duration, more bool) {
	limited, cancel := context.WithTimeout(ctx, replicaLimit)
	defer cancel()
	begun := time.Now()
	r.writing = 0
	more, err := r.advance(limited)
	worked := time.Since(begun)
	r.measure(limited)
	r.tellOld()
	if ctx.Err() == nil {
		r.tell(err)
	}
	// The pause leaves the database and the processor to others. Gateways that begin together do not go on together.
	pause = min(max(replicaPause*(worked-r.writing), replicaRest*worked), replicaLimit)
	return pause + rand.N(pause+1), more && err == nil //nolint:gosec // a pause is no secret
}

// tellAfter is how many steps fail because of the database until the log says so: that the database does not
// answer is in the log anyway.
const tellAfter = 5

// tell logs an error that was not logged before.
func (r *replica) tell(err error) {
	log := r.store.log
	if err == nil {
		if r.told {
			log.Info("the replica is brought up to date again")
		}
		r.told, r.failures = false, 0
		return
	}
	r.failures++
	var local *fileError
	switch {
	case r.told:
		return
	case errors.Is(err, errFileTaken):
		log.Warn("the gateway goes on without its replica", zap.Error(err))
	case errors.As(err, &local), r.failures >= tellAfter && r.store.away() == nil:
		log.Error("the replica cannot be brought up to date", zap.Error(err))
	default:
		return
	}
	r.told = true
}

// tellOld logs, once, that records come from the file no more, because it is too old.
func (r *replica) tellOld() {
	c := r.copied.Load()
	old := c != nil && r.serving() && r.ageOf(c) >= r.store.cfg.MaxStaleness
	if old && !r.toldOld {
		r.store.log.Error("the replica is older than max_staleness: no records come from it, and requests are refused until the database can be asked again",
			zap.Stringer("copy_of", c.clock), zap.Duration("max_staleness", r.store.cfg.MaxStaleness))
	}
	r.toldOld = old
}

// advance brings the file up to date.
func (r *replica) advance(ctx context.Context) (more bool, err error) {
	w := r.word.Load()
	if w == nil || r.store.away() != nil || r.store.state.Load().db != w.db {
		return false, r.age(ctx) // the database cannot be asked
	}
	file := r.file.Load()
	if file != nil && file.Moved() {
		r.store.log.Warn("the file of the replica was removed or replaced: the file in its place is opened")
		r.giveUp()
		_ = file.Close() // nobody can open it any more
		file = nil
	}
	if file == nil {
		if file, err = r.reopen(ctx); err != nil {
			return false, err
		}
	}
	if err = r.take(ctx, file); err == nil {
		more, err = r.follow(ctx, file, w)
	}
	var local *fileError
	if errors.As(err, &local) && sqlite.Damaged(err) {
		return true, r.setAside(file, err)
	}
	return more, err
}

// fileError is an error of the file of the replica, and not of the database.
type fileError struct{ error }

func (e *fileError) Unwrap() error { return e.error }

// inFile runs a transaction that writes the file and the position.
func (r *replica) inFile(ctx context.Context, file *sqlite.Replica, durable bool, at *replicaPosition, run func(*sql.Tx) error) error {
	begun := time.Now()
	defer func() { r.writing += time.Since(begun) }()
	tx, err := file.Begin(ctx, durable)
	if err != nil {
		return &fileError{file.Advise(err)}
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	now, err := readReplicaPosition(ctx, tx)
	if err == nil && now.owner != r.owner {
		if c := r.copied.Swap(nil); c != nil {
			r.copiedBefore = c
		}
		r.at.owner, r.taken = now.owner, true
		return errFileTaken
	}
	if err == nil {
		err = run(tx)
	}
	if err == nil {
		err = at.write(ctx, tx)
	}
	var version int64
	if err == nil {
		version, err = r.writeNews(ctx, tx, at)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return &fileError{file.Advise(err)}
	}
	r.at, r.written, r.noted = *at, r.store.mono(), version
	return nil
}

// take makes this store the one that writes the file, unless another one does.
func (r *replica) take(ctx context.Context, file *sqlite.Replica) error {
	if r.at.owner == r.owner {
		return nil
	}
	tx, err := file.Begin(ctx, false)
	if err != nil {
		return &fileError{file.Advise(err)}
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	at, err := readReplicaPosition(ctx, tx)
	if err != nil {
		return &fileError{file.Advise(err)}
	}
	if r.taken && at.owner != "" && elapsed(at.seen, r.store.cfg.Clock()) < replicaTaken {
		return errFileTaken
	}
	if err := r.readNews(ctx, tx); err != nil {
		return &fileError{file.Advise(err)}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE position SET owner = $1`, r.owner); err != nil {
		return &fileError{file.Advise(err)}
	}
	if err := tx.Commit(); err != nil {
		return &fileError{file.Advise(err)}
	}
	r.at, r.at.owner, r.taken = at, r.owner, false
	if c := r.copiedBefore; c != nil && at.storeID == c.storeID && at.phase == filled {
		r.copied.Store(c) // the other store can only have made it newer
	}
	r.copiedBefore = nil
	return nil
}

// follow applies what has changed since the position of the file, or fills the file a little more.
func (r *replica) follow(ctx context.Context, file *sqlite.Replica, w *replicaWord) (more bool, err error) {
	switch {
	case r.at.storeID != "" && r.at.storeID != w.db.id, r.at.storeID != "" && !r.store.hash.accepts(r.at.pepper, r.at.storeID):
		return true, r.setAside(file, errors.New("it is the copy of another keystore, or one with another pepper"))
	case r.at.storeID == "" || r.at.timeline != w.timeline:
		return true, r.refill(ctx, file, w)
	}
	r.at.place = r.store.cfg.name // the same database can get another name
	if r.at.seq == w.seq && r.at.mark == w.mark && r.at.phase == filled {
		return false, r.heard(ctx, file, w)
	}
	at, now, clock, news := r.at, r.store.mono(), r.store.cfg.Clock(), r.news.last()
	changes, p, complete, err := readFeed(ctx, w.db.lists, at.seq, at.mark, replicaBehind)
	switch {
	case err != nil:
		return false, err
	case p.storeID != w.db.id:
		return false, nil // the follower finds it out too
	case !complete, slices.ContainsFunc(changes, func(c change) bool { return changesAll(c.kind) }):
		return true, r.refill(ctx, file, w)
	}
	if slices.ContainsFunc(changes, func(c change) bool { return c.kind == changedNewKeys }) && at.phase > fillKeys {
		if err := r.fillTail(ctx, file, w.db); err != nil {
			return false, err
		}
		at = r.at
	}
	for left := changes; len(left) > replicaChunk; left = left[replicaChunk:] {
		rows, err := r.reread(ctx, w.db, file, left[:replicaChunk], nil)
		if err != nil {
			return false, err
		}
		if at.phase > fillKeys {
			at.keyRow = max(at.keyRow, rows.newest)
		}
		at.seq, at.mark = p.numbers[len(p.numbers)-len(left)+replicaChunk-1], left[replicaChunk-1].row()
		if err := r.inFile(ctx, file, false, &at, func(tx *sql.Tx) error { return rows.write(ctx, tx) }); err != nil {
			return false, err
		}
		changes = left[replicaChunk:]
	}
	items := r.takeQueue()
	rows, err := r.reread(ctx, w.db, file, changes, items)
	if err != nil {
		r.putBack(items)
		return false, err
	}
	if at.phase > fillKeys {
		at.keyRow = max(at.keyRow, rows.newest)
	}
	at.seq, at.compatible = p.last, p.compatible
	if len(changes) > 0 {
		at.mark = changes[len(changes)-1].row()
	}
	r.setAge(&at, now, clock)
	at.news = news
	if err := r.inFile(ctx, file, false, &at, func(tx *sql.Tx) error { return rows.write(ctx, tx) }); err != nil {
		r.putBack(items)
		return false, err
	}
	if at.phase != filled {
		err := r.fill(ctx, file, w.db, replicaCopy{now, clock, at.storeID, at.timeline})
		return r.at.phase != filled, err
	}
	r.ended(now)
	r.news.forget(news, 0)
	r.copied.Store(&replicaCopy{now, clock, at.storeID, at.timeline})
	return false, nil
}

// changesAll reports whether any record can have changed.
func changesAll(kind string) bool {
	switch kind {
	case changedKey, changedNewKeys, changedAccount, changedNewAccount, changedJob, changedJobs, changedToken, changedTokens, changedChildren:
		return false
	}
	return true // also a kind that a newer version has added
}

// heard notes that nothing has changed.
func (r *replica) heard(ctx context.Context, file *sqlite.Replica, w *replicaWord) error {
	now := r.store.mono()
	at := r.at
	r.setAge(&at, w.at, w.clock)
	r.ended(w.at)
	r.news.forget(w.news, w.noted)
	r.copied.Store(&replicaCopy{w.at, w.clock, at.storeID, at.timeline})
	if now-r.written < replicaEvery && !r.pending() {
		return nil
	}
	items := r.takeQueue()
	rows, err := r.reread(ctx, w.db, file, nil, items)
	if err == nil {
		err = r.inFile(ctx, file, false, &at, func(tx *sql.Tx) error { return rows.write(ctx, tx) })
	}
	if err != nil {
		r.putBack(items)
	}
	return err
}

// age notes how old the file is by now, while the database cannot be asked: a clock that is set back before the
// next start makes the file no younger. It also notes news.
func (r *replica) age(ctx context.Context) error {
	file, pending := r.file.Load(), r.pending()
	had := r.copied.Load() != nil || r.copiedBefore != nil
	if file == nil || !had && r.at.owner != r.owner || !pending && (!had || r.store.mono()-r.written < replicaEvery) {
		return nil
	}
	if file.Moved() {
		r.copiedBefore = nil
		r.copied.Store(nil)
		return nil
	}
	if err := r.take(ctx, file); err != nil {
		return err
	}
	at := r.at
	if c := r.copied.Load(); c != nil {
		r.setAge(&at, c.at, c.clock)
		at.age = max(at.age, r.at.age)
	}
	return r.inFile(ctx, file, pending, &at, func(*sql.Tx) error { return nil })
}

// setAge sets the age of the position: the database was heard at an instant of the monotonic clock, which was clock
// on Config.Clock. The age is what the clock says that has gone further: the monotonic one stands while the machine is
// suspended.
func (r *replica) setAge(at *replicaPosition, heard time.Duration, clock policy.Time) {
	at.seen = r.store.cfg.Clock()
	at.age = max(r.store.mono()-heard, elapsed(clock, at.seen)).Milliseconds() + 1
}

// giveUp forgets the file.
func (r *replica) giveUp() {
	r.copied.Store(nil)
	r.file.Store(nil)
	r.at, r.copiedBefore, r.taken = replicaPosition{}, nil, false
}

// setAside gives the file another name: it is not to be used. The next step makes a new one.
func (r *replica) setAside(file *sqlite.Replica, why error) error {
	r.giveUp()
	aside, err := file.SetAside()
	if err != nil {
		return err
	}
	r.store.log.Warn("the replica is set aside, and a new one is made", zap.String("aside", aside), zap.Error(why))
	return nil
}

// reopen opens the file again, after another one was set aside.
func (r *replica) reopen(ctx context.Context) (*sqlite.Replica, error) {
	file, aside, err := sqlite.OpenReplica(ctx, r.store.cfg.Postgres.Replica)
	if err != nil {
		return nil, err
	}
	if aside != "" {
		r.store.log.Warn("the replica was damaged: it was set aside, and a new one is made", zap.String("aside", aside))
	}
	r.file.Store(file)
	return file, nil
}
