package issuance

import (
	"container/list"
	"net/netip"
	"sync"

	"github.com/speechgate/speechgate/policy"
)

const (
	// failuresAllowed is how many failing calls an address has in a window.
	failuresAllowed = 30

	// failureWindow is how long a window lasts, in milliseconds.
	failureWindow = 60_000

	// clockSlack is how far calls that run side by side may lie apart, in
	// milliseconds. More, and the clock was set back.
	clockSlack = 1000

	// throttledAddresses is how many addresses the gateway keeps count of.
	throttledAddresses = 16_384
)

// throttle counts failing calls by the client's address. An IPv4 address counts
// by itself, an IPv6 address with its /64, which is what one client has; a mapped
// IPv4 address is the one that it carries. Calls of unknown addresses count
// together.
//
// A minute begins with an address's first failing call. Within it, that many
// failing calls as are allowed have their own answers, and the others are to wait
// until it is over. A call that does not fail is none of the throttle's matter.
//
// It keeps count of a limited number of addresses, and forgets the one whose
// minute began first for the next one to come. Nobody is refused wrongly by
// that, but who has more addresses than the limit is not slowed down.
//
// It is safe for concurrent use.
type throttle struct {
	limit int

	mu      sync.Mutex
	windows map[netip.Prefix]*list.Element
	order   *list.List // of *window, the one that began first in front
}

type window struct {
	key   netip.Prefix
	start policy.Time
	count int
}

// newThrottle keeps count of up to limit addresses, and of one at least.
func newThrottle(limit int) *throttle {
	return &throttle{limit: max(limit, 1), windows: make(map[netip.Prefix]*list.Element), order: list.New()}
}

// fail notes a failing call and returns zero if it is still allowed, or the
// seconds, from 1 to 60, after which the next one is. Take now when the call has
// failed, not when it began: a now that lies before the minute begins a new one,
// so that a clock that is set back locks nobody out.
func (t *throttle) fail(addr netip.Addr, now policy.Time) (retryAfter int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.window(policy.NetworkOf(addr), now)
	w.start = min(w.start, now)
	if w.count < failuresAllowed {
		w.count++
		return 0
	}
	left := failureWindow - int(now-w.start)
	return (left + 999) / 1000
}

// window is the one that key has at now.
func (t *throttle) window(key netip.Prefix, now policy.Time) *window {
	if e, ok := t.windows[key]; ok {
		w := windowOf(e)
		if w.over(now) {
			*w = window{key: key, start: now}
			t.order.MoveToBack(e)
		}
		return w
	}
	for e := t.order.Front(); e != nil && (len(t.windows) >= t.limit || windowOf(e).over(now)); e = t.order.Front() {
		delete(t.windows, windowOf(e).key)
		t.order.Remove(e)
	}
	w := &window{key: key, start: now}
	t.windows[key] = t.order.PushBack(w)
	return w
}

// over reports whether now is in no minute of the window's. The differences are
// taken as unsigned, for they can be larger than the signed numbers go.
func (w *window) over(now policy.Time) bool {
	if now < w.start {
		return uint64(w.start-now) > clockSlack
	}
	return uint64(now-w.start) >= failureWindow
}

func windowOf(e *list.Element) *window {
	w, _ := e.Value.(*window) // nothing else is in the list
	return w
}
