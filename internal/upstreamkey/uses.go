package upstreamkey

import (
	"sync"
	"sync/atomic"

	"github.com/speechgate/speechgate/policy"
)

// Uses has the uses of all upstream keys by a process. They outlive reloads. The zero value is ready.
type Uses struct {
	mu  sync.Mutex
	all map[used]*Use
}

// used is an upstream key of a backend.
type used struct{ backend, key string }

// Of returns the use of an upstream key of a backend. It is the same one after each reload.
func (u *Uses) Of(backend string, key policy.Secret) *Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all == nil {
		u.all = make(map[used]*Use)
	}
	name := used{backend, key.Reveal()}
	if u.all[name] == nil {
		u.all[name] = new(Use)
	}
	return u.all[name]
}

// each calls f with each key of a backend that was used or configured. u can be nil.
func (u *Uses) each(backend string, f func(key policy.Secret, use *Use)) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for name, use := range u.all {
		if name.backend == backend {
			f(policy.NewSecret(name.key), use)
		}
	}
}

// Use tells how a process uses an upstream key of a backend. A nil Use notes nothing.
type Use struct {
	last     atomic.Int64 // when it was noted last, as a policy.Time
	requests atomic.Int64
	streams  atomic.Int64
}

// noteEvery is the accuracy of the last use, in milliseconds. To write at each request would make the
// processors wait for each other.
const noteEvery = 1000

// Note notes that the key is used at this instant.
func (u *Use) Note(at policy.Time) {
	if u == nil {
		return
	}
	if last := u.last.Load(); int64(at) >= last+noteEvery {
		u.last.CompareAndSwap(last, int64(at)) // if another request was faster, its instant is as good
	}
}

// BeginRequest counts a request until EndRequest.
func (u *Use) BeginRequest() { u.addRequests(1) }

// EndRequest ends a request that BeginRequest has counted.
func (u *Use) EndRequest() { u.addRequests(-1) }

func (u *Use) addRequests(n int64) {
	if u != nil {
		u.requests.Add(n)
	}
}

// BeginStream counts a live stream until EndStream.
func (u *Use) BeginStream() {
	if u != nil {
		u.streams.Add(1)
	}
}

// EndStream ends a live stream that BeginStream has counted, at this instant.
func (u *Use) EndStream(at policy.Time) {
	if u != nil {
		u.Note(at)
		u.streams.Add(-1)
	}
}

// running reports whether a request or a stream uses the key now.
func (u *Use) running() bool { return u.requests.Load() != 0 || u.streams.Load() != 0 }
