package issuance

import (
	"container/list"
	"net/netip"
	"sync"

	"github.com/speechgate/speechgate/policy"
)

const (
	// failuresAllowed is how many failing requests of one address get the refusal for their
	// own reason in a window.
	failuresAllowed = 30

	// failureWindow is how long a window lasts, in milliseconds.
	failureWindow = 60_000

	// clockSlack is how much earlier than its window a request may be, in milliseconds:
	// concurrent requests read the clock in any order. If a request is earlier than that,
	// the clock was set back.
	clockSlack = 1000

	// throttledAddresses is how many addresses a throttle remembers.
	throttledAddresses = 16_384
)

// throttle counts failing requests by client address. [policy.NetworkOf] says which
// addresses count together. All requests from unknown addresses count together, too.
//
// The first failing request of an address begins a window of one minute. The first 30
// failing requests in the window get their own refusals. The next failing requests are told
// to wait until the window ends. Requests that do not fail are not counted and never have
// to wait.
//
// A throttle remembers a limited number of addresses. To make room for another address, it
// forgets the address whose window began first. So no request is refused wrongly, but a
// client that has more addresses than the limit is not slowed down.
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

// fail counts a failing request. It returns 0 if the request may have its own refusal.
// Otherwise it returns the seconds, from 1 to 60, until the window ends.
//
// The caller reads the clock when the request fails, not when the request begins. If now is
// before the window by more than clockSlack, a new window begins: so a clock that is set
// back locks nobody out.
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

// window returns the window of a network that includes now. It begins a new window if there
// is no such window.
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

// over reports whether now is outside the window. The differences are unsigned, because a
// signed difference of two extreme instants can overflow.
func (w *window) over(now policy.Time) bool {
	if now < w.start {
		return uint64(w.start-now) > clockSlack
	}
	return uint64(now-w.start) >= failureWindow
}

func windowOf(e *list.Element) *window {
	w, _ := e.Value.(*window) // the list has no other values
	return w
}
