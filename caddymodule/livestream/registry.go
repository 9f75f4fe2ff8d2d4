// Package livestream is the registry of the live streams of a server. It limits how many
// streams a key, an account and a network may have. It lists and cuts streams for the admin
// API.
//
// If the server shares its counts (package share), the streams of a key and of an account at the
// other gateways count too. What is listed and cut, and the streams of a network that wait for their
// first start command, are those of this server.
package livestream

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	"github.com/speechgate/speechgate/policy"
)

// Registry has a snapshot of each live stream, and counts the streams. The stream itself
// belongs to the gate that serves it. A registry is a [share.Source].
type Registry struct {
	mu        sync.Mutex
	last      uint64               // number of the stream that began last
	streams   map[string]*entry    // by stream ID
	byKey     map[string]int       // number of streams by key ID
	byAccount map[string]int       // number of streams by account ID
	waiting   map[netip.Prefix]int // number of streams without an accepted start command, by network

	others  map[string]int  // number of streams at the other gateways, by the ID of the key or account
	changed map[string]bool // IDs of keys and accounts whose streams have changed since Changes
	tell    func()          // called when changed gets its first ID; nil: nothing is noted
}

// entry is one live stream.
type entry struct {
	snapshot Snapshot
	number   uint64 // a stream that began later has a larger number
	cut      func() bool
}

// Snapshot describes a live stream at one instant.
type Snapshot struct {
	ID       string
	Backend  string     // backend name of the gate
	Client   netip.Addr // invalid if it is unknown
	Begun    policy.Time
	Owner    policy.Identity // of the key of the last accepted start command; zero before the first
	Accepted policy.Time     // when this start command was accepted; zero before the first
}

// NewRegistry returns a registry without streams.
func NewRegistry() *Registry {
	return &Registry{
		streams:   make(map[string]*entry),
		byKey:     make(map[string]int),
		byAccount: make(map[string]int),
		waiting:   make(map[netip.Prefix]int),
		others:    make(map[string]int),
		changed:   make(map[string]bool),
	}
}

// Begin adds a stream that has no accepted start command yet. Begin adds nothing and returns
// false if the client's network already has maxWaiting such streams. The function cut must end
// the stream. It must return false if the stream had ended before.
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

// Acceptance says whether a stream got its owner.
type Acceptance uint8

// The results of [Registry.Accept].
const (
	Accepted    Acceptance = iota
	Ended                  // the stream has ended
	KeyFull                // the key has as many other streams as it may have
	AccountFull            // the account has as many other streams as it may have
)

// Accept sets the owner of a stream, whose start command was accepted at the instant at. It
// changes nothing if the stream has ended, if the key has perKey other streams, or if the
// account has perAccount other streams. A limit of 0 is no limit.
func (r *Registry) Accept(id string, owner policy.Identity, at policy.Time, perKey, perAccount int) Acceptance {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.streams[id]
	if e == nil {
		return Ended
	}
	if full := r.full(owner, e.snapshot.Owner, perKey, perAccount); full != Accepted {
		return full
	}
	r.uncount(e)
	e.snapshot.Owner, e.snapshot.Accepted = owner, at
	r.byKey[owner.KeyID]++
	r.byAccount[owner.AccountID]++
	r.note(owner)
	return Accepted
}

// full returns whether a stream may get this owner, if it has the owner before.
func (r *Registry) full(owner, before policy.Identity, perKey, perAccount int) Acceptance {
	switch {
	case perKey > 0 && owner.KeyID != before.KeyID && r.byKey[owner.KeyID]+r.others[owner.KeyID] >= perKey:
		return KeyFull
	case perAccount > 0 && owner.AccountID != before.AccountID && r.byAccount[owner.AccountID]+r.others[owner.AccountID] >= perAccount:
		return AccountFull
	}
	return Accepted
}

// Check returns what Accept would return for a new stream of this owner, and changes nothing.
func (r *Registry) Check(owner policy.Identity, perKey, perAccount int) Acceptance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full(owner, policy.Identity{}, perKey, perAccount)
}

// Count returns how many streams run on a key, and how many on all keys of its account, at all
// gateways.
func (r *Registry) Count(owner policy.Identity) (ofKey, ofAccount int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byKey[owner.KeyID] + r.others[owner.KeyID], r.byAccount[owner.AccountID] + r.others[owner.AccountID]
}

// uncount removes a stream from the counts.
func (r *Registry) uncount(e *entry) {
	if e.snapshot.Owner == (policy.Identity{}) {
		decrement(r.waiting, policy.NetworkOf(e.snapshot.Client))
		return
	}
	decrement(r.byKey, e.snapshot.Owner.KeyID)
	decrement(r.byAccount, e.snapshot.Owner.AccountID)
	r.note(e.snapshot.Owner)
}

func decrement[K comparable](counts map[K]int, key K) {
	if counts[key]--; counts[key] <= 0 {
		delete(counts, key)
	}
}

// End removes a stream. It does nothing if the stream has been removed before.
func (r *Registry) End(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.streams[id]; e != nil {
		delete(r.streams, id)
		r.uncount(e)
	}
}

// Len returns the number of live streams.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.streams)
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

// CutIf cuts the streams for which match returns true. It returns how many of them had not
// ended before.
func (r *Registry) CutIf(match func(*Snapshot) bool) (cut int) {
	for _, e := range r.find(match) {
		if e.cut() {
			cut++
		}
	}
	return cut
}

// find returns the streams for which match returns true, the oldest first. It calls match with
// the registry locked.
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
