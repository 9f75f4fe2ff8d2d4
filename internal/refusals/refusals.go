// Package refusals has the last refusals of a process, for people who watch them as they happen.
//
// Requests add to a [Feed] without a lock, and never wait for a reader. A reader asks for what is
// new, and learns how much it has missed. A feed that nobody wants takes one atomic read.
package refusals

import (
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/speechgate/speechgate/policy"
)

// Refusal is one request or stream that was refused or cut.
type Refusal struct {
	Seq       uint64 // the number of the refusal in its process, from 1
	At        policy.Time
	Reason    policy.Reason
	Operation policy.Operation
	Backend   string // the backend name of the gate
	KeyID     string // empty if the key is unknown
	AccountID string
	Client    netip.Addr // as the gate sees it; invalid if it is unknown
	// Hops are the addresses that X-Forwarded-For names, and the other end of the connection.
	// A client can write into X-Forwarded-For what it wants.
	Hops string
}

// Size is how many refusals a feed keeps.
const Size = 512

// Feed keeps the last refusals. Its zero value is ready. It is safe for concurrent use.
type Feed struct {
	wanted atomic.Int32
	last   atomic.Uint64
	ring   [Size]atomic.Pointer[Refusal]
}

// Want makes the feed keep refusals until the returned function is called.
func (f *Feed) Want() (done func()) {
	f.wanted.Add(1)
	var once atomic.Bool
	return func() {
		if once.CompareAndSwap(false, true) {
			f.wanted.Add(-1)
		}
	}
}

// Wanted reports whether somebody wants refusals.
func (f *Feed) Wanted() bool { return f.wanted.Load() > 0 }

// Add adds a refusal. It sets Seq. The IDs can point into a cache of records, so the feed keeps
// copies.
func (f *Feed) Add(r Refusal) {
	r.KeyID, r.AccountID = strings.Clone(r.KeyID), strings.Clone(r.AccountID)
	r.Seq = f.last.Add(1)
	f.put(&r)
}

// put stores a refusal in its place. A refusal with a greater number stays there: readers expect
// it. It can be there first if this goroutine had to wait.
func (f *Feed) put(r *Refusal) {
	place := &f.ring[r.Seq%Size]
	for {
		there := place.Load()
		if there != nil && there.Seq > r.Seq || place.CompareAndSwap(there, r) {
			return
		}
	}
}

// Since returns the refusals after the one with the number seq, oldest first, and how many others
// there were that are no longer kept. The next call continues at the number at.
func (f *Feed) Since(seq uint64) (all []Refusal, missed, at uint64) {
	last := f.last.Load()
	if seq > last { // of a process before this one
		seq = 0
	}
	if last-seq > Size {
		missed = last - seq - Size
		seq = last - Size
	}
	for n := seq + 1; n <= last; n++ {
		r := f.ring[n%Size].Load()
		switch {
		case r == nil || r.Seq < n:
			return all, missed, n - 1 // it is being added
		case r.Seq > n:
			missed++
		default:
			all = append(all, *r)
		}
	}
	return all, missed, last
}
