package keystore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// Config says which store to open, and how.
type Config struct {
	// Path is the database file. The file and missing directories are made,
	// for the owner's eyes only.
	Path string
	// Pepper goes into every digest. Empty is none. Given to a store that has
	// none, it is added to it, irreversibly.
	Pepper policy.Secret
	// KeepPepper refuses a store that has no pepper instead of adding one.
	KeepPepper bool
	// PepperFault says why Pepper must not be given to any store. It is the error
	// where a pepper would be added; a store that has this pepper already keeps
	// it, because a pepper cannot be changed. Default: none.
	PepperFault error
	// MustExist refuses, with ErrNoStore, to make a store where there is no file
	// or an empty one. Default: the store is made.
	MustExist bool
	// MaxStaleness is how long cached records are trusted when the change feed
	// cannot be read. Default 5 seconds.
	MaxStaleness time.Duration
	// Retention is how long ended keys and jobs are kept. Default 90 days.
	Retention time.Duration
	// CacheBytes is how much memory cached records may take: half of it those of
	// keys, three eighths those of jobs, and an eighth the digests of unknown
	// keys. From MinCacheBytes to MaxCacheBytes; default DefaultCacheBytes.
	CacheBytes int64
	// Clock is the time by which the store acts by itself. Default: a [SystemClock].
	Clock func() policy.Time
	// Ahead is how far Clock is ahead of the wall clock, for the operator to be
	// told. Default: that of the default Clock; nil with another Clock.
	Ahead func() time.Duration
	// Logger gets what happens in the background. Default: none.
	Logger *zap.Logger
	// MinFree is the free space on the disk, in bytes, below which only writes that
	// end something are made. Default: MinFreeBytes.
	MinFree int64
	// Reserve is the size of the reserve, in bytes. Default: ReserveBytes.
	Reserve int64
	// CommandLine opens the store for one command beside a running server: it
	// caches nothing and runs nothing in the background, and refuses a file
	// that belongs to another user.
	CommandLine bool
}

// Timings of the background work, in a running server.
const (
	pollEvery  = 100 * time.Millisecond // the change feed; a change of another process counts within 250 ms
	flushEvery = 5 * time.Second        // last-used times
	pruneFirst = time.Minute            // after opening, so that starting is not slowed
	pruneEvery = time.Hour
	flushLimit = 5 * time.Second // how long closing waits to write last-used times
)

// Store is an open keystore. Its methods may be called concurrently.
type Store struct {
	cfg    Config
	log    *zap.Logger
	hash   hasher
	mono   func() time.Duration // time that no one can set; tests drive it
	loaded func()               // called between reading a record and caching it; tests only

	state atomic.Pointer[state]

	queue      chan *write
	coming     atomic.Int64  // writes that are expected
	vain       int           // how many batches in a row have waited for none; the writer's
	hurry      int           // how many are not to wait; the writer's
	settled    chan struct{} // tells the writer that none is any more
	gatherIn   time.Duration // tests change it
	closing    chan struct{} // closed when no write is taken any more
	writerDone chan struct{}

	uses    chan use
	pending map[digest]policy.Time // uses to write; the flusher's

	feedLost bool      // the poller's, as lastID
	lastID   string    // of the store that was open last
	ruined   *database // whose file was overwritten, see errOverwritten

	watchers *watchers

	jobKeep atomic.Int64 // nanoseconds, see KeepJobs

	room   room
	behind time.Duration // see Behind
	clock  clockWatch    // watchClock's

	stop       context.CancelFunc // ends the background work
	background sync.WaitGroup
	closeOnce  sync.Once
	closeErr   error
}

// state is what lookups work on: a database, or the reason why there is none.
type state struct {
	db    *database
	fault error
}

// fresh reports whether the caches may be trusted at now.
func (st *state) fresh(now time.Duration) bool {
	return st.fault == nil && int64(now) < st.db.freshUntil.Load()
}

// Open opens the store, and makes or upgrades it where needed. The error is
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
	s := &Store{
		cfg:        cfg,
		log:        cfg.Logger,
		hash:       newHasher(cfg.Pepper),
		mono:       mono,
		queue:      make(chan *write, queueLen),
		settled:    make(chan struct{}, 1),
		gatherIn:   gatherIn,
		closing:    make(chan struct{}),
		writerDone: make(chan struct{}),
		uses:       make(chan use, maxPendingUses),
		pending:    map[digest]policy.Time{},
		watchers:   newWatchers(),
	}
	s.room.free = freeSpace
	db, err := s.openDatabase(ctx, !cfg.MustExist)
	if err != nil {
		return nil, err
	}
	if err := s.logOpening(ctx, db); err != nil {
		_ = db.close() // err says more
		return nil, fault(s.explain(err))
	}
	s.state.Store(&state{db: db})
	s.checkClock(ctx, db)
	go s.runWriter(context.WithoutCancel(ctx))
	bg, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	if !cfg.CommandLine {
		s.every(bg, pollEvery, pollEvery, s.poll)
		s.every(bg, pollEvery, pollEvery, s.watchClock)
		s.every(bg, flushEvery, flushEvery, func(ctx context.Context) { s.flushUses(ctx, usePause) })
		s.every(bg, 0, reserveEvery, s.keepReserve)
		s.every(bg, pruneFirst, pruneEvery, s.pruneInBackground)
	}
	return s, nil
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Path == "" || strings.ContainsRune(cfg.Path, 0) {
		return cfg, fmt.Errorf("keystore path %q: want the name of a file", cfg.Path)
	}
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return cfg, fmt.Errorf("keystore %s: %w", cfg.Path, err)
	}
	cfg.Path = path
	if cfg.MaxStaleness < 0 || cfg.Retention < 0 {
		return cfg, fmt.Errorf("keystore %s: a staleness or retention below zero: want zero for the default, or more", cfg.Path)
	}
	if cfg.CacheBytes != 0 && (cfg.CacheBytes < MinCacheBytes || cfg.CacheBytes > MaxCacheBytes) {
		return cfg, fmt.Errorf("keystore %s: a cache of %d bytes: want zero for the default, or from %d to %d", cfg.Path, cfg.CacheBytes, MinCacheBytes, int64(MaxCacheBytes))
	}
	setDefault(&cfg.MaxStaleness, 5*time.Second)
	setDefault(&cfg.Retention, 90*24*time.Hour)
	setDefault(&cfg.CacheBytes, DefaultCacheBytes)
	setDefault(&cfg.MinFree, MinFreeBytes)
	setDefault(&cfg.Reserve, ReserveBytes)
	if cfg.Clock == nil {
		clock := SystemClock()
		cfg.Clock, cfg.Ahead = clock.Now, clock.Ahead
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	cfg.Logger = cfg.Logger.With(zap.String("keystore", cfg.Path))
	return cfg, nil
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
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

// Close writes what is pending and closes the store. Calls under way finish or
// fail with ErrClosed, as later ones do. Closing again returns the same error.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.stop()
		s.background.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
		defer cancel()
		s.flushUses(ctx, 0)
		close(s.closing)
		<-s.writerDone
		if old := s.state.Swap(&state{fault: ErrClosed}); old.db != nil {
			old.db.dropCaches()
			if err := old.db.close(); err != nil {
				s.closeErr = fmt.Errorf("keystore %s: closing: %w", s.cfg.Path, err)
			}
		}
	})
	return s.closeErr
}

// database returns what reads that bypass the caches work on.
func (s *Store) database() (*database, error) {
	st := s.state.Load()
	return st.db, st.fault
}

// lookupTries bounds how often a lookup reads when changes keep overtaking it.
const lookupTries = 16

var errOvertaken = errors.New("the record changes faster than it can be read")

// lookup reads the record named d, which the cache did not have, and caches
// it, by the rule that cache states. Whoever goes away meanwhile does not end it:
// that would be a fault where there is none.
func lookup[V any](ctx context.Context, s *Store, d digest, in func(*database) *recordcache.Cache[V], read func(context.Context, *database) (V, string, error)) (V, string, error) {
	var none V
	ctx = context.WithoutCancel(ctx)
	for range lookupTries {
		st := s.state.Load()
		if st.fault != nil {
			return none, "", st.fault
		}
		c := in(st.db)
		generation := c.Generation(d)
		v, text, err := read(ctx, st.db)
		if s.loaded != nil {
			s.loaded()
		}
		switch absent := errors.Is(err, ErrNotFound); {
		case s.state.Load() != st:
			continue // another database stands there now
		case err != nil && !absent:
			return none, "", fault(err)
		case absent && c.PutAbsent(d, generation), !absent && c.Put(d, generation, v, text):
			return v, text, err
		}
	}
	return none, "", fault(errOvertaken)
}

// monotonic returns a clock that nobody can set.
func monotonic() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
