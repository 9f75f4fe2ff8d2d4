package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/keystore"
)

// sharedStore is a keystore that several configurations share, one after the other or at the
// same time. It is opened when it is first used. It is closed when no configuration refers to
// it and no request uses it, because a request can run longer than the configuration that
// admitted it.
type sharedStore struct {
	pool   *caddy.UsagePool
	key    string
	name   string // of the place of the store: see keystore.Config.Name
	cfg    keystore.Config
	create bool // create an empty store even if this server had one before
	shares *share.Exchange

	open  atomic.Pointer[keystore.Store]
	users atomic.Int64 // the number of acquire calls whose release has not come yet
	keep  atomic.Int64 // nanoseconds, see keepJobs

	startedWith atomic.Pointer[string] // the ID of the store when a configuration was started last

	mu           sync.Mutex                 // for the fields below, and held while the store is opened
	unshare      map[*keystore.Store]func() // stops the sharing of counts over a store that is not closed yet
	history      History                    // of the configuration that started last
	unreferenced bool                       // no configuration refers to the store
	failed       error                      // why opening failed; nil if it has not
	failedAt     time.Time
}

const (
	openRetry  = time.Second            // between a failed try to open a store and the next try
	closeDelay = time.Second            // before an unreferenced store is closed: for requests on their way to the gate
	usersCheck = 100 * time.Millisecond // between two checks whether requests use the store
	exitWait   = 5 * time.Second        // how long a process that exits waits for requests
	openWithin = 30 * time.Second       // how long opening may take
)

// acquireStore returns the store with these settings from the pool. The caller has a reference to
// the store until it calls dropReference. If the pool has no such store, acquireStore adds a store
// that is not open yet.
func acquireStore(pool *caddy.UsagePool, shares *share.Exchange, cfg keystore.Config, create bool, history History) (*sharedStore, error) {
	name, err := cfg.Name()
	if err != nil {
		return nil, err
	}
	key := storeKey(name, &cfg, create)
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &sharedStore{pool: pool, key: key, name: name, cfg: cfg, create: create, shares: shares, history: history, unshare: make(map[*keystore.Store]func())}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedStore), nil
}

// dropReference drops the reference of a configuration to the store. When the last reference is
// dropped, the store is closed (see Destruct).
func (s *sharedStore) dropReference() error {
	_, err := s.pool.Delete(s.key)
	return err
}

// acquire keeps the store open until release is called. It does not open the store. Each acquire
// needs one release.
func (s *sharedStore) acquire() { s.users.Add(1) }

func (s *sharedStore) release() { s.users.Add(-1) }

// get returns the store, opened. The caller must have acquired it.
func (s *sharedStore) get() (*keystore.Store, error) {
	if store := s.open.Load(); store != nil {
		return store, nil
	}
	return s.openOnce()
}

// use returns the store, or nil if it is not open. It does not open the store. The store stays
// open until release is called.
func (s *sharedStore) use() (store *keystore.Store, release func()) {
	s.acquire()
	return s.open.Load(), s.release
}

// start does what check does, for a configuration that starts. From now on the store uses the
// history in this configuration's storage, because Caddy closes the storage of the previous
// configuration.
func (s *sharedStore) start(history History) (*keystore.Store, error) {
	s.mu.Lock()
	s.history = history
	s.mu.Unlock()
	return s.check(history)
}

// check opens the store. If the store is open already, check only checks that it can still be
// written.
func (s *sharedStore) check(history History) (*keystore.Store, error) {
	store := s.open.Load()
	if store == nil {
		return s.openOnce()
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	if err := store.Check(ctx); err != nil {
		return nil, s.openingError(err, history.Previous(ctx, s.name))
	}
	return store, nil
}

// checkReload returns the error that opening the store would return, as far as this can be
// known without a change that the running configuration would notice: Caddy may refuse the
// new configuration for another reason. It creates no store and adds no pepper.
func (s *sharedStore) checkReload(history History) error {
	if s.open.Load() != nil {
		_, err := s.check(history)
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	cfg := s.cfg
	cfg.MustExist, cfg.KeepPepper, cfg.Logger = true, true, nil
	store, err := keystore.Open(ctx, cfg)
	if err == nil {
		return store.Close()
	}
	before := history.Previous(ctx, s.name)
	switch {
	case errors.Is(err, keystore.ErrNoStore) && !s.mustExist(before):
		if err = keystore.CheckNew(ctx, s.cfg); err == nil {
			return nil // Start creates the store
		}
	case errors.Is(err, keystore.ErrNewPepper) && s.cfg.PepperFault == nil:
		return nil // Start adds the pepper
	case errors.Is(err, keystore.ErrNewPepper):
		err = fmt.Errorf("keystore %s: %w", s.name, s.cfg.PepperFault)
	}
	return s.openingError(err, before)
}

// openingError is the error of a configuration whose keystore cannot be opened.
func (s *sharedStore) openingError(err error, before *HistoryEntry) error {
	return fmt.Errorf("opening the keystore: %w", explainMissing(err, before, &s.cfg))
}

// mustExist reports whether opening the store must not create it. The argument before is
// the keystore that this server had until now; nil if it had no keystore.
func (s *sharedStore) mustExist(before *HistoryEntry) bool {
	return s.cfg.MustExist || before != nil && !s.create
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
	before := s.history.Previous(ctx, s.name)
	cfg := s.cfg
	cfg.MustExist = s.mustExist(before)
	store, err := keystore.Open(ctx, cfg)
	if err != nil {
		s.failed, s.failedAt = s.openingError(err, before), time.Now()
		return nil, s.failed
	}
	store.KeepJobs(time.Duration(s.keep.Load()))
	s.failed = nil
	s.open.Store(store)
	s.unshare[store] = shareCounts(s.shares, store, s.cfg.Logger)
	if s.unreferenced {
		// A request has reached its gate after the configuration was replaced. The store is
		// closed again when no request uses it.
		go func() { _ = s.closeWhenUnused(0, 0) }()
	}
	return store, nil
}

// keepJobs makes the store keep the records of jobs for at least d, the longest grace window
// of the configuration.
func (s *sharedStore) keepJobs(d time.Duration) {
	s.keep.Store(int64(d))
	if store := s.open.Load(); store != nil {
		store.KeepJobs(d)
	}
}

// Destruct closes the store when no request uses it. A process that exits waits for this; a
// reload does not. The pool calls Destruct when the last reference is dropped.
func (s *sharedStore) Destruct() error {
	s.mu.Lock()
	s.unreferenced = true
	s.mu.Unlock()
	if caddy.Exiting() {
		return s.closeWhenUnused(0, exitWait)
	}
	go func() { _ = s.closeWhenUnused(closeDelay, 0) }()
	return nil
}

// closeWhenUnused takes the store out of use after a delay, waits until no request uses it,
// and closes it. If atMost is not 0, the wait lasts at most that long.
func (s *sharedStore) closeWhenUnused(after, atMost time.Duration) error {
	time.Sleep(after)
	store := s.open.Swap(nil)
	if store == nil {
		return nil
	}
	tick := time.NewTicker(usersCheck)
	defer tick.Stop()
	for begun := time.Now(); s.users.Load() > 0 && (atMost == 0 || time.Since(begun) < atMost); {
		<-tick.C
	}
	s.mu.Lock()
	unshare := s.unshare[store]
	delete(s.unshare, store)
	s.mu.Unlock()
	unshare()
	return store.Close()
}
