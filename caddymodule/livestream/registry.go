// Package livestream is the registry of the live streams of a server. It limits how many
// streams a key, an account and a network may have, and it lists and cuts streams for
// the admin API.
package livestream

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/policy"
)

// Registry knows the live streams of the process, and counts them. It holds
// snapshots: the state of a stream belongs to the gate that serves the stream.
type Registry struct {
	mu        sync.Mutex
	last      uint64 // the number that was given out last
	streams   map[string]*entry
	byKey     map[string]int       // how many streams each key has, by the key's ID
	byAccount map[string]int       // how many streams each account has
	waiting   map[netip.Prefix]int // how many streams of each network have shown no key yet
}

// entry is one live stream.
type entry struct {
	snapshot Snapshot
	number   uint64 // in the order in which the streams began
	cut      func() bool
}

// Snapshot is what the registry tells about a live stream.
type Snapshot struct {
	ID       string
	Backend  string     // backend name of the gate
	Client   netip.Addr // invalid where it is unknown
	Begun    policy.Time
	Owner    handler.Identity // of the key of the last start command; zero before the first
	Accepted policy.Time      // of the last start command; zero before the first
}

// NewRegistry returns a registry without streams.
func NewRegistry() *Registry {
	return &Registry{
		streams:   make(map[string]*entry),
		byKey:     make(map[string]int),
		byAccount: make(map[string]int),
		waiting:   make(map[netip.Prefix]int),
	}
}

// Begin adds a stream that has shown no key yet. It adds none, and returns false,
// if maxWaiting streams of the client's network wait for their first command. Cut
// must end the stream, and report whether the stream had not ended before.
func (r *Registry) Begin(s Snapshot, maxWaiting int, cut func() bool) bool {
	network := policy.NetworkOf(s.Client)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting[network] >= maxWaiting {
		return false
	}
	r.waiting[network]++
	r.last++
	r.streams[s.ID] = &entry{snapshot: s, number: r.last, cut: cut}
	return true
}

// Accept gives a stream to an owner. It changes nothing, and returns false, if the
// stream has ended, or if the key or its account has as many streams as it may
// have; 0 is no limit.
func (r *Registry) Accept(id string, owner handler.Identity, at policy.Time, perKey, perAccount int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.streams[id]
	if e == nil {
		return false
	}
	before := e.snapshot.Owner
	if perKey > 0 && owner.KeyID != before.KeyID && r.byKey[owner.KeyID] >= perKey ||
		perAccount > 0 && owner.AccountID != before.AccountID && r.byAccount[owner.AccountID] >= perAccount {
		return false
	}
	r.uncount(e)
	e.snapshot.Owner, e.snapshot.Accepted = owner, at
	r.byKey[owner.KeyID]++
	r.byAccount[owner.AccountID]++
	return true
}

// uncount takes a stream out of the counts.
func (r *Registry) uncount(e *entry) {
	if e.snapshot.Owner == (handler.Identity{}) {
		decrement(r.waiting, policy.NetworkOf(e.snapshot.Client))
		return
	}
	decrement(r.byKey, e.snapshot.Owner.KeyID)
	decrement(r.byAccount, e.snapshot.Owner.AccountID)
}

func decrement[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// End removes a stream. Only the first call for a stream does anything.
func (r *Registry) End(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.streams[id]; e != nil {
		delete(r.streams, id)
		r.uncount(e)
	}
}

// List returns a snapshot of every live stream, the oldest stream first.
func (r *Registry) List() []Snapshot {
	found := r.find(func(*Snapshot) bool { return true })
	all := make([]Snapshot, len(found))
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, e := range found {
		all[i] = e.snapshot
	}
	return all
}

// CutIf cuts the streams that match, and returns how many of them had not ended
// before.
func (r *Registry) CutIf(match func(*Snapshot) bool) (cut int) {
	for _, e := range r.find(match) {
		if e.cut() {
			cut++
		}
	}
	return cut
}

// find returns the streams that match, the oldest first. It calls match with the
// registry locked.
func (r *Registry) find(match func(*Snapshot) bool) (found []*entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.streams {
		if match(&e.snapshot) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.number, b.number) })
	return found
}
