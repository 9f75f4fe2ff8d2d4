package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/postgres"
	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
	"github.com/speechgate/speechgate/policy"
)

// Store is an open keystore. Its methods may be called concurrently.
//
// A store has several parts. Each part is a type in a file of its own, and most parts
// have a goroutine. The goroutines share the state pointer, the caches and the watchers,
// which may be used concurrently.
type Store struct {
	cfg    Config
	log    *zap.Logger
	hash   hasher
	mono   func() time.Duration // a clock that no one can set; tests drive it
	engine engine.Engine        // opens the database
	state  atomic.Pointer[state]

	cache caches // the records that were read from the database
	// commits is the only goroutine that runs the writes of callers. Opening and a restore
	// have a transaction of their own.
	commits  *groupCommit
	feed     *feedFollower  // applies what other processes change
	uses     *useRecorder   // writes last-used times
	usage    *usageRecorder // adds usage up, and writes it
	watchers *watchers      // are notified of changes
	room     *diskRoom      // keeps space on the disk for revocations
	clock    *clockWatch    // finds leaps of the clock
	replica  *replica       // has the records while the database is away; nil if the store has no replica
	outbox   *outbox        // has the jobs that wait for the database; nil if the store has no replica

	swept   atomic.Int64  // when the reports of gateways were swept last, on the clock mono
	behind  time.Duration // set by Open: see Behind
	jobKeep atomic.Int64  // nanoseconds, see KeepJobs
	loaded  func()        // called between the read of a record and its caching; tests only

	stop       context.CancelFunc // ends the background work
	background sync.WaitGroup
	closeOnce  sync.Once
	closeErr   error
}

// caches hold records by digest. With Config.CommandLine they are nil, and
// nothing is cached.
type caches struct {
	keys *recordcache.Cache[policy.Time] // the value is the last use of the key
	jobs *recordcache.Cache[struct{}]
	// The record of a token never says whether the token's owner has ended, so the end of a
	// key drops no token.
	tokens *recordcache.Cache[struct{}]
}

// Open opens the store, and creates or upgrades it if necessary. The error is
// one sentence for the operator: it names the file, what is wrong, and what
// would be right.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	return open(ctx, cfg, monotonic())
}

func open(ctx context.Context, cfg Config, mono func() time.Duration) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return openWith(ctx, cfg, mono, newEngine(cfg))
}

// openWith opens the store with an engine. cfg has its defaults.
func openWith(ctx context.Context, cfg Config, mono func() time.Duration, engine engine.Engine) (*Store, error) {
	s := newStore(cfg, mono)
	s.engine = engine
	var err error
	if s.replica, err = openReplica(ctx, s); err != nil {
		return nil, err
	}
	s.outbox = newOutbox(ctx, s)
	if err := s.openFirst(ctx); err != nil {
		s.outbox.close()
		s.replica.close() //nolint:contextcheck // it is closed also if ctx has ended
		return nil, err
	}
	s.start(context.WithoutCancel(ctx))
	return s, nil
}

// openFirst opens the database. If it cannot be reached, the store begins with its replica, if it can.
func (s *Store) openFirst(ctx context.Context) error {
	db, err := s.openDatabase(ctx, !s.cfg.MustExist)
	if err != nil {
		return s.replica.begin(ctx, err)
	}
	if err := s.logOpening(ctx, db, mostCounted); err != nil {
		_ = db.Close() // err says more
		return fault(s.explain(err))
	}
	s.state.Store(&state{db: db})
	s.outbox.belongs(db.id)
	s.replica.resume(ctx, db)
	s.checkClock(ctx, db)
	return nil
}

// newStore returns a store that is not open.
func newStore(cfg Config, mono func() time.Duration) *Store {
	s := &Store{
		cfg:      cfg,
		log:      cfg.Logger,
		hash:     newHasher(cfg.Pepper),
		mono:     mono,
		engine:   newEngine(cfg),
		watchers: newWatchers(),
		room:     newDiskRoom(cfg, mono),
	}
	if !cfg.CommandLine {
		total := cfg.CacheBytes
		s.cache.keys = recordcache.New[policy.Time](total/2, total/16)
		s.cache.jobs = recordcache.New[struct{}](total*3/8, 0)
		s.cache.tokens = recordcache.New[struct{}](total/16, 0)
	}
	s.commits = newGroupCommit(s)
	s.feed = &feedFollower{store: s}
	s.uses = newUseRecorder(s.writeUses)
	s.usage = newUsageRecorder(s)
	s.clock = &clockWatch{clock: cfg.Clock, ahead: cfg.Ahead, mono: mono, log: cfg.Logger, leapt: s.leapt}
	return s
}

// newEngine returns the engine of a configuration.
func newEngine(cfg Config) engine.Engine {
	if cfg.Postgres != nil {
		return postgres.New(cfg.place, cfg.CommandLine, cfg.Logger)
	}
	return sqlite.New(cfg.Path, cfg.CommandLine)
}

// start starts the goroutines. With Config.CommandLine it starts the writer only.
func (s *Store) start(ctx context.Context) {
	go s.commits.run(ctx)
	ctx, s.stop = context.WithCancel(ctx)
	if !s.cfg.CommandLine {
		s.background.Go(func() { s.feed.run(ctx) })
	}
	if s.replica != nil {
		s.background.Go(func() { s.replica.run(ctx) })
		s.background.Go(func() { s.outbox.run(ctx) })
	}
	for _, task := range s.tasks() {
		s.every(ctx, task.first, task.period, task.run)
	}
}

// task is background work, which runs after first, and then once per period.
type task struct {
	first, period time.Duration
	run           func(context.Context)
}

// tasks returns the background work that has a period. A store with Config.CommandLine has no
// background work.
func (s *Store) tasks() []task {
	if s.cfg.CommandLine {
		return nil
	}
	tasks := []task{
		{clockEvery, clockEvery, func(context.Context) { s.clock.check() }},
		{useEvery, useEvery, func(ctx context.Context) { s.uses.flush(ctx, usePause) }},
		{usageEvery, usageEvery, s.usage.flush},
		{foldEvery, foldEvery, s.foldInBackground},
	}
	if s.cfg.Postgres == nil {
		tasks = append(tasks, task{0, reserveEvery, func(context.Context) { s.room.keepReserve() }})
	}
	return append(tasks, task{pruneFirst, pruneEvery, s.pruneInBackground})
}

// every runs f after first, and then once per period, until ctx ends.
func (s *Store) every(ctx context.Context, first, period time.Duration, f func(context.Context)) {
	s.background.Go(func() {
		timer := time.NewTimer(first)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
				f(ctx)
				timer.Reset(period)
			}
		}
	})
}

// closeLimit is how long closing waits for usage and the last-used times to be written.
const closeLimit = 5 * time.Second

// Close writes the pending usage and last-used times, and closes the store. Calls under way
// finish or fail with ErrClosed, as later calls do. Closing again returns the
// same error.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.stop()
		s.background.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		s.usage.flush(ctx)
		s.uses.flush(ctx, 0)
		s.commits.close()
		s.outbox.close()
		s.replica.close()
		if old := s.state.Swap(&state{fault: ErrClosed}); old.db != nil {
			s.dropAll()
			if err := old.db.Close(); err != nil {
				s.closeErr = fmt.Errorf("keystore %s: closing: %w", s.cfg.name, err)
			}
		}
	})
	return s.closeErr
}

// monotonic returns a clock that no one can set.
func monotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}

// leapt is called when the clock has leapt forward: the machine can have been suspended.
func (s *Store) leapt() {
	s.feed.expire()
	s.watchers.notifyAll()
}

// fresh reports whether cached records may be used: the database is open, and its
// change feed was read within Config.MaxStaleness.
func (s *Store) fresh(st *state) bool { return st.fault == nil && s.feed.fresh(s.mono()) }

// lookupLimit is how long a lookup waits for a database on another machine.
const lookupLimit = 2 * time.Second

var (
	errAway    = errors.New("the database does not answer")
	errRefused = errors.New("the database refuses this gateway: the log has the reason")
)

// awayAfter is how many polls of the feed fail until the database counts as away. The first one can
// fail because this process itself was stopped for a while, such as with its virtual machine.
const awayAfter = 2

// away returns an error if the last polls of the feed of a database on another machine have failed.
// Lookups then fail at once: they would only wait, and all ask at the same time when the
// database comes back.
func (s *Store) away() error {
	if s.cfg.Postgres == nil || s.feed.failures.Load() < awayAfter {
		return nil
	}
	why := errAway
	if s.feed.refused.Load() {
		why = errRefused
	}
	return fault(fmt.Errorf("keystore %s: %w", s.cfg.name, why))
}

// lookupTries bounds how often a lookup reads again because of changes.
const lookupTries = 16

var errOvertaken = errors.New("the record changes faster than it can be read")

// lookup reads the record with digest d, which the cache does not have, and
// caches it. If the record may have changed during the read, lookup reads it again: see
// the generation rule of package recordcache. If the caller goes away, the read goes on,
// because its error would count as a failure of the store.
func lookup[V any](ctx context.Context, s *Store, d digest, c *recordcache.Cache[V], read func(context.Context, *database) (V, string, error)) (V, string, error) {
	var none V
	if err := s.away(); err != nil {
		return none, "", err
	}
	ctx = context.WithoutCancel(ctx)
	if s.cfg.Postgres != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lookupLimit)
		defer cancel()
	}
	for range lookupTries {
		st := s.state.Load()
		if st.fault != nil {
			return none, "", st.fault
		}
		generation := c.Generation(d)
		v, packed, err := read(ctx, st.db)
		if s.loaded != nil {
			s.loaded()
		}
		switch absent := errors.Is(err, ErrNotFound) || s.engine.Unstorable(err); {
		case s.state.Load() != st:
			continue // another database is open now
		case s.engine.Broken(err):
			continue // on another connection
		case err != nil && !absent:
			return none, "", fault(err)
		case absent && c.PutAbsent(d, generation), !absent && c.Put(d, generation, v, packed):
			if absent {
				return none, "", ErrNotFound
			}
			return v, packed, nil
		}
	}
	return none, "", fault(errOvertaken)
}
