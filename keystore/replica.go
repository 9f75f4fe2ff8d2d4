package keystore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
	"github.com/speechgate/speechgate/policy"
)

// replica keeps the records that lookups need in a file of this machine, see [Postgres.Replica]. Its goroutine, run,
// fills the file, and then follows the change feed from the position that the file has. Lookups read the file
// only if the database cannot be asked.
//
// What is read from the file never comes into the cache: it can be older than what the follower of the
// feed has applied.
//
// A nil *replica is that of a store without one.
type replica struct {
	store *Store
	owner string // of the file, while this store writes it: its own random name
	wake  chan struct{}
	queue chan replicaItem // jobs and tokens that the file is to have

	file   atomic.Pointer[sqlite.Replica] // nil while it cannot be used
	word   atomic.Pointer[replicaWord]    // the last one from the follower of the feed
	copied atomic.Pointer[replicaCopy]    // nil while the file cannot be read
	news   replicaNews
	served atomic.Int64 // since when lookups read the file, in nanoseconds of the monotonic clock and 1; 0: they do not

	filling atomic.Bool  // see ReplicaStats
	keys    atomic.Int64 // see ReplicaStats

	// Only the goroutine uses these, and Open before it starts:
	at           replicaPosition
	written      time.Duration // when the position was written last, on the monotonic clock
	noted        int64         // the version of the news that the file has; 0: of another process
	taken        bool          // another store has taken the file over
	copiedBefore *replicaCopy  // the value of copied when it took the file; nil if that was nil
	failures     int           // steps that have failed, since the last one that has not
	told         bool          // the log says that they fail
	toldOld      bool          // the log says that the file is too old
	writing      time.Duration // how long the step has written the file
	counted      time.Duration // when the keys were counted last, on the monotonic clock; 0 if they were not
	counting     time.Duration // how long it took
}

// replicaWord is what the follower of the feed has heard from the database.
type replicaWord struct {
	db       *database
	at       time.Duration // before the database was asked, on the monotonic clock
	clock    policy.Time   // the same instant
	seq      int64
	mark     feedRow
	timeline string
	news     replicaNewsNote // the number of the last news before the database was asked
	noted    replicaNewsNote // the number of the news that the answer had; 0 if it had none
}

// replicaCopy says of what instant the file is a copy: all that was committed before is in it.
type replicaCopy struct {
	at       time.Duration // on the monotonic clock
	clock    policy.Time   // the same instant; a machine can sleep while the monotonic clock stands
	storeID  string
	timeline string
}

// The phases of filling a file.
const (
	fillAccounts int64 = iota
	fillKeys
	fillJobs // those that the file has are read again
	filled
)

// replicaPosition is how far a file is.
type replicaPosition struct {
	storeID, pepper string
	place           string // the name of the database, see Config.Name
	compatible      int64
	timeline        string
	seq             int64
	mark            feedRow
	phase           int64
	account         string // the last one that was copied
	keyRow          int64
	jobDigest       []byte
	age             int64 // milliseconds since the database was heard, at seen
	seen            policy.Time
	owner           string

	news replicaNewsNote // the tables have all news up to this one
}

// clockSkew is how far the clock may be behind that of the process before. Beyond it, the clock was set
// back, and nobody knows how old the file is.
const clockSkew = 2 * time.Second

// openReplica opens the file of the store's replica. It returns nil for a store that has none.
func openReplica(ctx context.Context, s *Store) (*replica, error) {
	if s.cfg.Postgres == nil || s.cfg.Postgres.Replica == "" || s.cfg.CommandLine {
		return nil, nil //nolint:nilnil // a nil *replica is one
	}
	r := &replica{store: s, owner: rand.Text(), wake: make(chan struct{}, 1), queue: make(chan replicaItem, replicaQueue)}
	file, aside, err := sqlite.OpenReplica(ctx, s.cfg.Postgres.Replica)
	if sqlite.ReplicaPassing(err) {
		s.log.Error("the replica cannot be opened; the gateway goes on without it, and tries again", zap.Error(err))
		return r, nil
	}
	if err != nil {
		return nil, fault(fmt.Errorf("keystore %s: %w", s.cfg.name, err))
	}
	if aside != "" {
		s.log.Warn("the replica was damaged, or another version had made it: it was set aside, and a new one is made", zap.String("aside", aside))
	}
	r.file.Store(file)
	return r, nil
}

// close gives the file up.
func (r *replica) close() {
	if r == nil {
		return
	}
	file := r.file.Swap(nil)
	if file == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	_ = r.inFile(ctx, file, true, &r.at, func(*sql.Tx) error { return nil }) // the news
	if tx, err := file.Begin(ctx, false); err == nil {
		_, err = tx.ExecContext(ctx, `UPDATE position SET owner = '' WHERE owner = $1`, r.owner)
		if err != nil || tx.Commit() != nil {
			_ = tx.Rollback() // the next store takes the file over nevertheless
		}
	}
	_ = file.Close() // what is not in it is read again
}

// start takes the file over, and reports whether a store whose database cannot be reached can begin with it. The
// error says why it cannot.
func (r *replica) start(ctx context.Context) error {
	file := r.file.Load()
	if file == nil {
		return errors.New("it cannot be opened")
	}
	tx, err := file.Begin(ctx, false)
	if err != nil {
		return file.Advise(err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if r.at, err = readReplicaPosition(ctx, tx); err != nil {
		return file.Advise(err)
	}
	s := r.store
	now := s.cfg.Clock()
	age, err := r.at.trusted(&s.cfg, s.hash, now)
	if err != nil {
		return err
	}
	if err := r.readNews(ctx, tx); err != nil {
		return file.Advise(err)
	}
	if r.news.concernsAll() {
		return errLacksAll
	}
	if _, err := tx.ExecContext(ctx, `UPDATE position SET owner = $1`, r.owner); err != nil {
		return file.Advise(err)
	}
	if err := tx.Commit(); err != nil {
		return file.Advise(err)
	}
	r.at.owner = r.owner
	r.copied.Store(&replicaCopy{s.mono() - age, now.Add(-age), r.at.storeID, r.at.timeline})
	return nil
}

var errLacksAll = errors.New("it lacks changes that concern all records")

// trusted returns how old the file at this position is now. The error says why no store whose database cannot be reached
// can begin with it.
func (p *replicaPosition) trusted(cfg *Config, hash hasher, now policy.Time) (age time.Duration, err error) {
	least := time.Duration(p.age) * time.Millisecond
	age = least + elapsed(p.seen, now)
	switch {
	case p.storeID == "" || p.phase != filled:
		return 0, errors.New("it is not complete")
	case p.place != cfg.name:
		return 0, fmt.Errorf("it is the copy of %s", p.place)
	case !hash.accepts(p.pepper, p.storeID):
		return 0, errPepperWrong
	case engine.CheckCompatible(p.compatible) != nil:
		return 0, engine.ErrTooOld
	case elapsed(p.seen, now) < -clockSkew:
		return 0, fmt.Errorf("the clock is behind the time at which it was written, %s: it cannot be known how old it is", p.seen)
	case age >= cfg.MaxStaleness:
		return 0, fmt.Errorf("it was last up to date %s ago, which is more than max_staleness, %s", age.Round(time.Second), cfg.MaxStaleness)
	}
	return max(age, least), nil // the clock can be a little behind
}

func readReplicaPosition(ctx context.Context, tx querier) (p replicaPosition, err error) {
	var ref []byte
	err = tx.QueryRowContext(ctx, `SELECT store_id, place, pepper, compatible, timeline, seq, mark_at, mark_kind, mark_ref, phase, account, key_row, job_digest,
		age, seen_at, owner FROM position`).Scan(&p.storeID, &p.place, &p.pepper, &p.compatible, &p.timeline, &p.seq, &p.mark.at, &p.mark.kind, &ref,
		&p.phase, &p.account, &p.keyRow, &p.jobDigest, &p.age, &p.seen, &p.owner)
	p.mark.ref = string(ref)
	return p, err
}

// write writes the position.
func (p *replicaPosition) write(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE position SET store_id = $1, pepper = $2, compatible = $3, timeline = $4, seq = $5, mark_at = $6,
		mark_kind = $7, mark_ref = $8, phase = $9, account = $10, key_row = $11, job_digest = $12, age = $13, seen_at = $14, owner = $15, place = $16`,
		p.storeID, p.pepper, p.compatible, p.timeline, p.seq, p.mark.at, p.mark.kind, []byte(p.mark.ref), p.phase, p.account, p.keyRow,
		notNil(p.jobDigest), p.age, p.seen, p.owner, p.place)
	return err
}

// elapsed returns the time from one instant to a later one.
func elapsed(from, to policy.Time) time.Duration { return time.Duration(to-from) * time.Millisecond }

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// hear tells the replica what the follower has heard.
func (r *replica) hear(w replicaWord) {
	if r == nil {
		return
	}
	r.word.Store(&w)
	r.rouse()
}

// rouse lets the goroutine look at the file now.
func (r *replica) rouse() {
	select {
	case r.wake <- struct{}{}:
	default: // it is to wake already
	}
}

// readable returns the file as a database for lookups, if it may be trusted now.
func (r *replica) readable() (*database, *replicaCopy) {
	if r == nil || r.store.feed.refused.Load() {
		return nil, nil
	}
	file, c := r.file.Load(), r.copied.Load()
	if file == nil || c == nil {
		return nil, nil
	}
	if r.ageOf(c) >= r.store.cfg.MaxStaleness {
		return nil, nil
	}
	return &database{reader: file.Reader(), lists: file.Reader(), text: func(query string) string { return query }, id: c.storeID}, c
}
