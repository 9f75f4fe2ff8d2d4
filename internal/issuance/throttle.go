package issuance

import (
	"container/list"
	"net/netip"
	"sync"

	"github.com/speechgate/speechgate/policy"
)

const (
	// failuresAllowed is how many failing requests of one address get their own
	// refusal in a window.
	failuresAllowed = 30

	// failureWindow is how long a window lasts, in milliseconds.
	failureWindow = 60_000

	// clockSlack is how far apart the instants of concurrent requests can be, in
	// milliseconds. If an instant is further back, the clock was set back.
	clockSlack = 1000

	// throttledAddresses is how many addresses the gateway counts.
	throttledAddresses = 16_384
)

// throttle counts failing requests by client address. See [policy.NetworkOf] for
// the addresses that count together. Requests from unknown addresses count
// together, too.
//
// A window of one minute begins with an address's first failing request. The first
// 30 failing requests in the window get their own refusals. Further failing
// requests have to wait until the window ends. Requests that do not fail are not
// counted and never have to wait.
//
// A throttle counts a limited number of addresses. To make room for another
// address, it forgets the address whose window began first. Forgetting never
// refuses a request wrongly, but a client with more addresses than the limit is not
// slowed down.
//
// It is safe for concurrent use.
type throttle struct {
	limit int

	mu      sync.Mutex
	windows map[netip.Prefix]*list.Element
	order   *list.List // of *window; the window that began first is in front
}

type window struct {
	key   netip.Prefix
	start policy.Time
	count int
}

// newThrottle returns a throttle that counts up to limit addresses, and at least
// one.
func newThrottle(limit int) *throttle {
	return &throttle{limit: max(limit, 1), windows: make(map[netip.Prefix]*list.Element), order: list.New()}
}

// fail counts a failing request. It returns 0 if the request may have its own
// refusal, and otherwise the seconds, from 1 to 60, until the window ends. The
// caller reads the clock when the request fails, not when the request begins. If
// now is before the window by more than clockSlack, a new window begins, so that a
// clock that is set back locks nobody out.
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

// window returns the window of key at now.
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

// over reports whether now is outside the window. The differences are unsigned
// because a signed difference of two extreme instants overflows.
func (w *window) over(now policy.Time) bool {
	if now < w.start {
		return uint64(w.start-now) > clockSlack
	}
	return uint64(now-w.start) >= failureWindow
}

func windowOf(e *list.Element) *window {
	w, _ := e.Value.(*window) // the list holds nothing else
	return w
}
