// Package throttle counts failing requests, such as those with wrong credentials, and says
// how long a client must wait after too many of them.
package throttle

import (
	"container/list"
	"sync"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// clockSlack is how much earlier than its window a request may be, in milliseconds:
// concurrent requests read the clock in any order. If a request is earlier than that,
// the clock was set back.
const clockSlack = 1000

// Rule says how many failing requests are allowed.
type Rule struct {
	// Failures is how many failing requests of a key are allowed in a window.
	Failures int
	// Window is how long a window lasts, in whole milliseconds.
	Window time.Duration
	// Keys is how many keys are remembered; at least one.
	Keys int
}

// Throttle counts failing requests by a key, such as the network of a client:
// [policy.NetworkOf].
//
// The first failing request of a key begins a window. As many failing requests as the rule
// says are allowed in the window. The next failing requests must wait until the window ends.
//
// A throttle remembers a limited number of keys. To make room for another key, it forgets
// the key whose window began first. So no request is refused wrongly, but a client that has
// more keys than the limit is not slowed down.
//
// It is safe for concurrent use.
type Throttle[K comparable] struct {
	failures int
	length   policy.Time // of a window
	limit    int

	mu      sync.Mutex
	windows map[K]*list.Element
	order   *list.List // of *window[K]; the window that began first is in front
}

type window[K comparable] struct {
	key   K
	start policy.Time
	count int
}

// New returns a throttle with this rule.
func New[K comparable](r Rule) *Throttle[K] {
	return &Throttle[K]{
		failures: r.Failures, length: policy.Time(r.Window.Milliseconds()), limit: max(r.Keys, 1),
		windows: make(map[K]*list.Element), order: list.New(),
	}
}

// Fail counts a failing request. It returns 0 if the request is allowed. Otherwise it returns
// the seconds until the window ends, at least 1.
//
// The caller reads the clock when the request fails, not when the request begins. If now is
// before the window by more than clockSlack, a new window begins: so a clock that is set
// back locks nobody out.
func (t *Throttle[K]) Fail(key K, now policy.Time) (retryAfter int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.window(key, now)
	w.start = min(w.start, now)
	if w.count < t.failures {
		w.count++
		return 0
	}
	return t.left(w, now)
}

// Wait returns what Fail would return, and counts nothing. It is for requests that must not
// be tried before their key has waited, such as those with a guessed password.
func (t *Throttle[K]) Wait(key K, now policy.Time) (retryAfter int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.windows[key]
	if !ok {
		return 0
	}
	w := windowOf[K](e)
	if w.count < t.failures || t.over(w, now) {
		return 0
	}
	return t.left(&window[K]{start: min(w.start, now)}, now)
}

// Count returns how many failing requests of a key its window has so far, if now is in it.
func (t *Throttle[K]) Count(key K, now policy.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.windows[key]; ok && !t.over(windowOf[K](e), now) {
		return windowOf[K](e).count
	}
	return 0
}

// left returns the seconds until a window ends, at least 1.
func (t *Throttle[K]) left(w *window[K], now policy.Time) int {
	return (int(t.length) - int(now-w.start) + 999) / 1000
}

// window returns the window of a key that includes now. It begins a new window if there is no
// such window.
func (t *Throttle[K]) window(key K, now policy.Time) *window[K] {
	if e, ok := t.windows[key]; ok {
		w := windowOf[K](e)
		if t.over(w, now) {
			*w = window[K]{key: key, start: now}
			t.order.MoveToBack(e)
		}
		return w
	}
	for e := t.order.Front(); e != nil && (len(t.windows) >= t.limit || t.over(windowOf[K](e), now)); e = t.order.Front() {
		delete(t.windows, windowOf[K](e).key)
		t.order.Remove(e)
	}
	w := &window[K]{key: key, start: now}
	t.windows[key] = t.order.PushBack(w)
	return w
}

// over reports whether now is outside the window. The differences are unsigned, because a
// signed difference of two extreme instants can overflow.
func (t *Throttle[K]) over(w *window[K], now policy.Time) bool {
	if now < w.start {
		return uint64(w.start-now) > clockSlack
	}
	return uint64(now-w.start) >= uint64(t.length)
}

func windowOf[K comparable](e *list.Element) *window[K] {
	w, _ := e.Value.(*window[K]) // the list has no other values
	return w
}
