package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// simGateway is a gateway of a simulation: a store, whose network and clock are scripted.
type simGateway struct {
	sim    *simulation
	number int
	deaf   bool          // a pooler is in between: no notification comes
	skew   time.Duration // of its clock, at the begin
	leaps  []simSpan     // of its clock: the length of a span is how far it leaps at the begin
	back   time.Time     // when its clock is set back by simBack; the zero time if it is not

	cut, silent, slow []simSpan // of its network
	troubles          []simSpan // in which it may be behind, or answer that the store is unavailable

	store       atomic.Pointer[Store] // nil while it restarts
	fromReplica atomic.Bool           // the process has started with its replica
	listener    atomic.Pointer[simListener]
	word        atomic.Pointer[simSpan] // the last one from the server that the process knows of was sent within this time
	seq         int64                   // of the feed, for the journal; the follower uses it

	mu     sync.Mutex
	conns  map[*simConn]struct{}
	made   map[string]int // how many generators of random numbers each part has had
	own    []int          // numbers of the states that transactions of this gateway have made
	floor  map[digest]simFloor
	tried  map[digest]time.Time // when the last write of the key began, or has ended with any result
	heard  map[int]bool         // numbers of the states whose notification has come in time
	counts map[string][]int
}

// simFloor has the numbers of the states from which on a gateway's answers for a key must be, because the
// gateway has written them.
type simFloor struct {
	key     int // all answers, after a change of the key
	account int // after a change of its account: a cached absence of the key may be older
}

// of returns the floor of an answer.
func (f simFloor) of(absent bool) int {
	if absent {
		return f.key
	}
	return max(f.key, f.account)
}

// simBack is how far a clock is set back: further than a simulation lasts, so that each start with a replica
// must notice it.
const simBack = time.Minute

// simSpan is a time of a script.
type simSpan struct{ from, to time.Time }

func (s simSpan) has(t time.Time) bool { return !t.Before(s.from) && t.Before(s.to) }

// endOfSpan returns the end of the last span that has t; the zero time if none has.
func endOfSpan(spans []simSpan, t time.Time) (end time.Time) {
	for _, s := range spans {
		if s.has(t) && s.to.After(end) {
			end = s.to
		}
	}
	return end
}

// newRand returns a generator for a part of the gateway. Each part and connection has one of its own:
// its numbers do not depend on what other goroutines do.
func (g *simGateway) newRand(part string) *rand.Rand {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.made[part]++
	return g.sim.newRand(fmt.Sprint(g.number, part, g.made[part]))
}

// clock is the time of the gateway.
func (g *simGateway) clock() policy.Time {
	now := time.Now()
	at := now.Add(g.skew)
	for _, leap := range g.leaps {
		if !now.Before(leap.from) {
			at = at.Add(leap.to.Sub(leap.from))
		}
	}
	if !g.back.IsZero() && !now.Before(g.back) {
		at = at.Add(-simBack)
	}
	return policy.Time(at.UnixMilli())
}

// delay is how long a message takes in one direction.
func (g *simGateway) delay(rng *rand.Rand) time.Duration {
	if !g.sim.started.Load() {
		return time.Nanosecond
	}
	d := 100*time.Microsecond + time.Duration(rng.ExpFloat64()*float64(time.Millisecond))
	if d = min(d, 10*time.Millisecond); !endOfSpan(g.slow, time.Now()).IsZero() {
		d += time.Duration(rng.Int64N(int64(g.sim.slowness)))
	}
	return d
}

// silentUntil returns when the network will stop to drop all packets; the zero time if it drops none.
func (g *simGateway) silentUntil(now time.Time) time.Time { return endOfSpan(g.silent, now) }

// reachable reports whether the server takes a new connection of the gateway.
func (g *simGateway) reachable() bool {
	now := time.Now()
	return endOfSpan(g.cut, now).IsZero() && endOfSpan(g.sim.down, now).IsZero()
}

func (g *simGateway) pool(p simPool) *sql.DB {
	db := sql.OpenDB(simConnector{g, p})
	db.SetMaxOpenConns(p.size)
	db.SetMaxIdleConns(p.size)
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(10 * time.Minute)
	return db
}

func (g *simGateway) track(c *simConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = struct{}{}
}

func (g *simGateway) forget(c *simConn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// kill breaks all connections.
func (g *simGateway) kill() {
	g.mu.Lock()
	var all []*simConn
	for c := range g.conns {
		all = append(all, c)
	}
	g.mu.Unlock()
	for _, c := range all {
		c.kill()
	}
}

// count counts a query, by the second in which the server runs it.
func (g *simGateway) count(p simPool) {
	second := int(time.Since(g.sim.begun) / time.Second)
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.counts[p.name]) <= second {
		g.counts[p.name] = append(g.counts[p.name], 0)
	}
	g.counts[p.name][second]++
}

// hear receives the notification of a state. inTime says that it was neither lost nor late.
func (g *simGateway) hear(state int, inTime bool) {
	l := g.listener.Load()
	if l == nil || !l.hears.Load() || !g.silentUntil(time.Now()).IsZero() {
		return
	}
	if inTime {
		g.mu.Lock()
		g.heard[state] = true
		g.mu.Unlock()
	}
	l.notify()
}

// random returns the pauses of the follower of one process.
func (g *simGateway) random() func(below time.Duration) time.Duration {
	rng := g.newRand("pauses")
	return func(below time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(below))) }
}

// open opens the store, again and again until it succeeds.
func (g *simGateway) open(ctx context.Context) error {
	cfg, err := Config{
		Postgres:  &Postgres{DSN: policy.NewSecret("postgres://gateway@localhost/speechgate?sslmode=disable")},
		MustExist: true, Clock: g.clock, MaxStaleness: g.sim.staleness, CacheBytes: MinCacheBytes,
		random: g.random(),
	}.withDefaults()
	if err != nil {
		return err
	}
	if g.edge() {
		cfg.Postgres.Replica = g.replica()
	}
	for {
		s, err := openWith(ctx, cfg, monotonic(), simEngine{g})
		if err == nil {
			g.opened(s)
			g.store.Store(s)
			return nil
		}
		if !errors.Is(err, ErrUnavailable) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // the simulation ends
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// noteFeed notes how far the follower of the feed is, if the follower has moved. The follower calls it.
func (g *simGateway) noteFeed(err error) {
	s := g.store.Load()
	if s == nil || s.feed.seq == g.seq && err == nil {
		return
	}
	g.seq = s.feed.seq
	g.sim.note("gateway %d has read the feed up to change %d %q: %v", g.number, g.seq, s.feed.mark.kind, err)
}

// committed notes which state a transaction of this gateway has made.
func (g *simGateway) committed(state int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.own = append(g.own, state)
}

// writes returns how many transactions of this gateway have made a state.
func (g *simGateway) writes() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.own)
}

// wrote notes that a write of this gateway has succeeded: the gateway must not answer by a state any more that
// is older than its own change of the key. before is what writes has returned before the write. A write that
// has found nothing to change, such as the import of a key that another gateway has imported, changes no key.
func (g *simGateway) wrote(before int, d digest, note func(floor *simFloor, state int)) {
	g.mu.Lock()
	own := g.own[before:]
	g.mu.Unlock()
	at := slices.IndexFunc(own, func(state int) bool { return g.sim.server.changed(state, d) })
	if at < 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.floor[d]
	note(&f, own[at])
	g.floor[d] = f
}

// wroteKey does what wrote does, for a change of a key.
func (g *simGateway) wroteKey(before int, d digest) {
	g.wrote(before, d, func(f *simFloor, state int) { f.key = max(f.key, state) })
}

// wroteAccount does what wrote does for all keys, after a change of their account.
func (g *simGateway) wroteAccount(before int, id string) {
	for _, d := range g.sim.keysOf(id) {
		g.wrote(before, d, func(f *simFloor, state int) { f.account = max(f.account, state) })
	}
}

// keysOf returns the keys that an account has now.
func (sim *simulation) keysOf(account string) (digests []digest) {
	now := time.Now()
	states, _ := sim.server.statesBetween(now, now)
	for d, k := range states[len(states)-1].keys {
		if k.AccountID == account {
			digests = append(digests, d)
		}
	}
	return digests
}

// trying notes that a write of keys begins, and returns the function that notes its end.
func (g *simGateway) trying(keys ...digest) (done func()) {
	note := func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, d := range keys {
			g.tried[d] = time.Now()
		}
	}
	note()
	return note
}

func (g *simGateway) floorOf(d digest) simFloor {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.floor[d]
}

// troubled reports whether the gateway has any trouble between two instants, or at one of them: an answer can come
// in the instant in which a trouble begins.
func (g *simGateway) troubled(from, to time.Time) bool {
	for _, s := range g.sim.troublesOf(g) {
		if !s.from.After(to) && from.Before(s.to) {
			return true
		}
	}
	return false
}
