// Package throttle counts failing requests, such as those with wrong credentials, and says
// how long a client must wait after too many of them.
package throttle

import (
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
// If the process shares its counts (package share, see [Throttle.Named]), the failing requests of a
// key at the other gateways have a window of their own, and count too.
//
// It is safe for concurrent use.
type Throttle[K comparable] struct {
	failures int

	mu     sync.Mutex
	own    windows[K]
	others windows[string] // of the other gateways, by the name of the key
	shared shared[K]
}

// New returns a throttle with this rule.
func New[K comparable](r Rule) *Throttle[K] {
	return &Throttle[K]{failures: r.Failures, own: newWindows[K](r), others: newWindows[string](r)}
}

// Fail counts a failing request. It returns 0 if the request is allowed. Otherwise it returns
// the seconds until a window ends, so that the request is allowed again: at least 1.
//
// The caller reads the clock when the request fails, not when the request begins. If now is
// before the window by more than clockSlack, a new window begins: so a clock that is set
// back locks nobody out.
func (t *Throttle[K]) Fail(key K, now policy.Time) (retryAfter int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.own.window(key, now)
	w.start = min(w.start, now)
	other := t.othersOf(key, now)
	if w.count+other.count < t.failures {
		w.count++
		t.note(key, now)
		return 0
	}
	return t.left(w, other, now)
}

// Wait returns what Fail would return, and counts nothing. It is for requests that must not
// be tried before their key has waited, such as those with a guessed password.
func (t *Throttle[K]) Wait(key K, now policy.Time) (retryAfter int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, other := t.own.at(key, now), t.othersOf(key, now)
	if w.count+other.count < t.failures {
		return 0
	}
	return t.left(&w, other, now)
}

// Count returns how many failing requests of a key its windows have so far, if now is in them.
func (t *Throttle[K]) Count(key K, now policy.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.own.at(key, now).count + t.othersOf(key, now).count
}

// left returns the seconds until so many of a key's windows have ended that a request is allowed, at
// least 1. If one of the windows has counted nothing, the other one is full, and decides.
func (t *Throttle[K]) left(own *window[K], other window[string], now policy.Time) int {
	first, last := t.own.left(own.start, now), t.others.left(other.start, now)
	rest := other.count // when the first window has ended
	if last < first {
		first, last, rest = last, first, own.count
	}
	if rest < t.failures {
		return first
	}
	return last
}
