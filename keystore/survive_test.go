package keystore

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// sharedKey is a key that goroutines look up in two stores all the time.
type sharedKey struct {
	id, account string
	secret      policy.Secret
	ended       [2]atomic.Int64 // the time from which each store must find it ended; 0 before that
}

func isEnded(r *Record) bool {
	k := r.Key()
	return !k.RevokedAt.IsZero() || !k.AccountOpen
}

// crowd is two stores of one file, as two processes have them. Their caches are too small
// for the keys, so that records are evicted and read again all the time.
type crowd struct {
	t      *testing.T
	begun  time.Time
	stores [2]fixture
	keys   []*sharedKey
	polls  sync.WaitGroup
	next   [2]atomic.Pointer[sharedKey] // the key that each store is about to end, or has just ended
}

const (
	crowdAccounts = 12
	crowdKeys     = 12 // of each account
)

func newCrowd(t *testing.T) *crowd {
	path := newPath(t)
	c := &crowd{t: t, begun: time.Now(), stores: [2]fixture{openStore(t, path), openStore(t, path)}}
	for range crowdAccounts {
		a := c.stores[0].account()
		for range crowdKeys {
			k, secret := c.stores[0].key(a.ID)
			c.keys = append(c.keys, &sharedKey{id: k.ID, account: a.ID, secret: secret})
		}
	}
	for _, s := range c.stores {
		s.cache.keys.SetLimits(16*300, 0) // one or none in each of its 16 shards
		// Some reads last long enough for a change to overtake them.
		s.loaded = func() {
			if rand.IntN(2) == 0 {
				time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond)
			}
		}
	}
	return c
}

// now returns the time since the test began, in nanoseconds.
func (c *crowd) now() int64 { return int64(time.Since(c.begun)) }

// pick returns a random key. Half of the time it prefers a key that is about to end, and
// sometimes evicts that key first.
func (c *crowd) pick(store int) *sharedKey {
	h := c.next[rand.IntN(2)].Load()
	if h == nil || rand.IntN(2) == 0 {
		return c.keys[rand.IntN(len(c.keys))]
	}
	if rand.IntN(2) == 0 {
		d := c.stores[store].hash.secret(h.secret)
		c.stores[store].cache.keys.Evict(d)
	}
	return h
}

// find looks up a key, half of the time as requests do.
func (c *crowd) find(store int, secret policy.Secret) (Record, error) {
	if rand.IntN(2) == 0 {
		var known Cached
		if c.stores[store].Cached(&known, secret, "amivoice", "j1"); known.KeyKnown {
			if !known.Key.Found() {
				return Record{}, ErrNotFound
			}
			return known.Key, nil
		}
	}
	return c.stores[store].FindKey(c.t.Context(), secret)
}

// lookUp finds keys in one store until done.
func (c *crowd) lookUp(store int, done <-chan struct{}) {
	for {
		h := c.pick(store)
		ended, begun := h.ended[store].Load(), c.now()
		r, err := c.find(store, h.secret)
		if err != nil {
			c.t.Error(err)
			return
		}
		if ended != 0 && begun >= ended && !isEnded(&r) {
			c.t.Errorf("store %d: a lookup found a key live %s after it must be ended", store, time.Duration(begun-ended))
			return
		}
		select {
		case <-done:
			return
		default:
			runtime.Gosched()
		}
	}
}

// end marks keys that a store has ended. They count as ended in the other store when it has polled.
func (c *crowd) end(store int, ended ...*sharedKey) {
	for _, h := range ended {
		h.ended[store].Store(c.now())
	}
	c.polls.Go(func() {
		c.stores[1-store].waitForPoll()
		for _, h := range ended {
			h.ended[1-store].Store(c.now())
		}
	})
}

// allEnded reports whether a store finds exactly the ended keys ended.
func (c *crowd) allEnded(s fixture) bool {
	for _, h := range c.keys {
		if isEnded(s.find(h.secret)) != (h.ended[0].Load() != 0) {
			return false
		}
	}
	return true
}

// settled reports whether the records that a store has cached are those of the database.
func (c *crowd) settled(s fixture) bool {
	n := 0
	for _, r := range cached(s.cache.keys) {
		id, _ := r.IDs()
		k, err := s.Key(c.t.Context(), id)
		if err != nil {
			c.t.Fatal(err)
		}
		k.Label, k.Prefix, k.RevokeReason = "", "", ""
		if r.Key() != k {
			return false
		}
		n++
	}
	if n == 0 || n > len(c.keys)/2 {
		c.t.Errorf("%d of %d records are cached, where some have to go for others", n, len(c.keys))
	}
	return true
}

// Records are evicted and read again while keys end. A lookup that begins after a key has
// ended finds the key ended: at once in the process that ended it, and after a poll in
// another.
func TestR2_EndedKeyNeverSurvivesWhereRecordsComeAndGo(t *testing.T) {
	t.Parallel()
	c := newCrowd(t)
	done := make(chan struct{})
	var lookups, changes sync.WaitGroup
	for i := range 4 {
		lookups.Go(func() { c.lookUp(i%2, done) })
	}
	byAccount := func(account int) []*sharedKey { return c.keys[account*crowdKeys:][:crowdKeys] }
	for store := range c.stores {
		changes.Go(func() {
			s := c.stores[store]
			for account := store; account < crowdAccounts; account += 2 {
				keys := byAccount(account)
				c.next[store].Store(keys[0])
				if account < 4 {
					if _, err := s.CloseAccount(t.Context(), start, operator, keys[0].account); err != nil {
						t.Error(err)
					}
					c.end(store, keys...)
					continue
				}
				for _, h := range keys[:crowdKeys/2] {
					c.next[store].Store(h)
					if _, err := s.RevokeKey(t.Context(), start, operator, h.id, strconv.Itoa(store)); err != nil {
						t.Error(err)
					}
					c.end(store, h)
				}
			}
		})
	}
	changes.Wait()
	c.polls.Wait() // every end has to count now
	close(done)
	lookups.Wait()
	for i, s := range c.stores {
		if !c.allEnded(s) {
			t.Errorf("store %d finds a key live that has ended, or the reverse", i)
		}
		testutil.Eventually(t, "what is cached is what the database says", func() bool { return c.settled(s) })
	}
}
