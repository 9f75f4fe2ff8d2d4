// Package upstreamkey is about the upstream keys of a backend that are used in turn: which of them
// a request takes, and what still needs each of them. New work takes the first key. What began with
// another key goes on with that key.
package upstreamkey

import (
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Most is how many upstream keys a backend may have at a time: the newest one, and old ones that
// are still needed. Two are enough for a change, and two more for changes that overlap.
const Most = 4

// Backend has the upstream keys of the gates with one backend name.
type Backend struct {
	Name string
	Keys []policy.Secret // for new work, then the old ones, the oldest last; empty if the gates have none
}

// Choose returns the index of the key for what began with the key of this fingerprint. prints has
// the fingerprints of the keys, and n is how many keys there are.
//
// A record without a fingerprint is older than fingerprints, and therefore older than every record
// that has one: it gets the oldest key, which is the last one. If the key is not among the keys,
// known is false, and the index is that of the first key.
func Choose(prints *keystore.Fingerprints, n int, began policy.Fingerprint) (index int, known bool) {
	if began == 0 {
		return max(0, n-1), true
	}
	if i := prints.Index(began); i >= 0 {
		return i, true
	}
	return 0, false
}

// Need says what still needs an upstream key.
type Need struct {
	Backend     string
	Position    int                // from 1, which is for new work; 0 if the key is not configured any more
	Fingerprint policy.Fingerprint // 0 while the keystore is unavailable
	Jobs        int                // recorded jobs whose end no poll has seen
	LastJob     policy.Time        // when the newest of these jobs was created; zero without one
	Tokens      int                // tokens that have not expired
	Streams     int                // live streams of this process
	Requests    int                // requests of this process that are running, without most polls
	LastUsed    policy.Time        // when this process used the key last; zero if it has not used the key
}

// Idle reports whether nothing needs the key.
func (n *Need) Idle() bool { return n.Jobs == 0 && n.Tokens == 0 && n.Streams == 0 && n.Requests == 0 }

// Needs joins what the keystore says with the uses of this process. It returns an entry for each key
// of the backends, in order, and then one for each other key of these backends that something still
// needs. uses can be nil.
func Needs(store *keystore.Store, backends []Backend, recorded []keystore.UpstreamKeyNeed, uses *Uses) (all []Need) {
	for _, b := range backends {
		all = append(all, needsOf(store, b, recorded, uses)...)
	}
	return all
}

func needsOf(store *keystore.Store, b Backend, recorded []keystore.UpstreamKeyNeed, uses *Uses) []Need {
	prints := store.Fingerprints(nil, b.Name, b.Keys)
	var needs []Need
	for i := range b.Keys {
		needs = append(needs, Need{Backend: b.Name, Position: i + 1, Fingerprint: prints.Of(i)})
	}
	of := func(began policy.Fingerprint) *Need {
		if i, known := Choose(prints, len(b.Keys), began); known {
			return &needs[i]
		}
		for i := range needs {
			if needs[i].Fingerprint == began {
				return &needs[i]
			}
		}
		needs = append(needs, Need{Backend: b.Name, Fingerprint: began})
		return &needs[len(needs)-1]
	}
	for _, r := range recorded {
		if r.Backend != b.Name || r.Fingerprint == 0 && len(b.Keys) == 0 { // these jobs began without an upstream key
			continue
		}
		n := of(r.Fingerprint)
		n.Jobs += r.Jobs
		n.Tokens += r.Tokens
		n.LastJob = max(n.LastJob, r.LastJob)
	}
	uses.each(b.Name, func(key policy.Secret, u *Use) {
		// A key that is not configured any more counts only while it is in use.
		fingerprint := store.Fingerprints(nil, b.Name, []policy.Secret{key}).Of(0)
		if fingerprint == 0 || prints.Index(fingerprint) < 0 && !u.running() {
			return
		}
		n := of(fingerprint)
		n.Streams, n.Requests, n.LastUsed = int(u.streams.Load()), int(u.requests.Load()), policy.Time(u.last.Load())
	})
	return needs
}
