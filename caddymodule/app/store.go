package app

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/keystore"
)

// sharedStore is a keystore that several configurations hold, one after the
// other or at once. It opens on first use and closes when the last of them has
// let go and the last request has finished: requests outlive the configuration
// that admitted them.
type sharedStore struct {
	pool   *caddy.UsagePool
	key    string
	cfg    keystore.Config
	create bool // an empty store, even if this server had one before

	open  atomic.Pointer[keystore.Store]
	users atomic.Int64 // requests that hold it
	keep  atomic.Int64 // nanoseconds, see keepJobs

	mu       sync.Mutex // guards opening and closing
	history  History    // of the configuration that has started last
	gone     bool
	failed   error // why opening failed
	failedAt time.Time
}

const (
	openRetry  = time.Second            // between two tries to open a store that fails to
	closeDelay = time.Second            // for requests on their way to the gate
	drainTick  = 100 * time.Millisecond // between two looks at who still holds it
	exitDrain  = 5 * time.Second        // how long a process that exits waits
	openWithin = 30 * time.Second
)

// acquireStore finds the store with these settings, or makes one that is not
// open yet.
func acquireStore(pool *caddy.UsagePool, cfg keystore.Config, create bool, history History) (*sharedStore, error) {
	key := storeKey(cfg, create)
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &sharedStore{pool: pool, key: key, cfg: cfg, create: create, history: history}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedStore), nil
}

// letGo ends one configuration's hold.
func (s *sharedStore) letGo() error {
	_, err := s.pool.Delete(s.key)
	return err
}

// acquire keeps the store from being closed until release is called, once. It
// opens nothing.
func (s *sharedStore) acquire() { s.users.Add(1) }

func (s *sharedStore) release() { s.users.Add(-1) }

// get returns the store, opened. The caller must have acquired it.
func (s *sharedStore) get() (*keystore.Store, error) {
	if store := s.open.Load(); store != nil {
		return store, nil
	}
	return s.openOnce()
}

// start is get for a configuration that starts: a store that is open already
// must still be writable. Caddy closes the storage of the configuration before.
func (s *sharedStore) start(history History) (*keystore.Store, error) {
	s.mu.Lock()
	s.history = history
	s.mu.Unlock()
	store := s.open.Load()
	if store == nil {
		return s.openOnce()
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	if err := store.Check(ctx); err != nil {
		return nil, fmt.Errorf("opening the keystore: %w", missing(err, history.Recall(ctx, s.cfg.Path), s.cfg.MustExist))
	}
	return store, nil
}

func (s *sharedStore) openOnce() (*keystore.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if store := s.open.Load(); store != nil {
		return store, nil
	}
	if s.failed != nil && time.Since(s.failedAt) < openRetry {
		return nil, s.failed
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	before := s.history.Recall(ctx, s.cfg.Path)
	cfg := s.cfg
	cfg.MustExist = cfg.MustExist || before != nil && !s.create
	store, err := keystore.Open(ctx, cfg)
	if err != nil {
		s.failed, s.failedAt = fmt.Errorf("opening the keystore: %w", missing(err, before, s.cfg.MustExist)), time.Now()
		return nil, s.failed
	}
	store.KeepJobs(time.Duration(s.keep.Load()))
	s.failed = nil
	s.open.Store(store)
	if s.gone {
		// For a request that came to its gate after the configuration had gone.
		go func() { _ = s.drain(0, 0) }()
	}
	return store, nil
}

// keepJobs has job records kept for at least d, the longest grace there is.
func (s *sharedStore) keepJobs(d time.Duration) {
	s.keep.Store(int64(d))
	if store := s.open.Load(); store != nil {
		store.KeepJobs(d)
	}
}

// Destruct closes the store once no request holds it. A process that exits
// waits for that; a reload does not.
func (s *sharedStore) Destruct() error {
	s.mu.Lock()
	s.gone = true
	s.mu.Unlock()
	if caddy.Exiting() {
		return s.drain(0, exitDrain)
	}
	go func() { _ = s.drain(closeDelay, 0) }()
	return nil
}

// drain takes the store out of use, after a while in which requests on their
// way still find it, and closes it once nobody holds it or, unless that is 0,
// atMost is over.
func (s *sharedStore) drain(after, atMost time.Duration) error {
	time.Sleep(after)
	store := s.open.Swap(nil)
	if store == nil {
		return nil
	}
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	for begun := time.Now(); s.users.Load() > 0 && (atMost == 0 || time.Since(begun) < atMost); {
		<-tick.C
	}
	return store.Close()
}
