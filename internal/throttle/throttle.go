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
// If the process shares its counts (package share, see [Throttle.Named]), a key has one window at all
// gateways: it begins with the first failing request at any of them.
//
// It is safe for concurrent use.
type Throttle[K comparable] struct {
	failures int

	mu      sync.Mutex
	windows windows[subject[K]]
	shared  shared[K]
}

// subject is what a window counts for: a key, or the name by which all gateways call the key.
type subject[K comparable] struct {
	key  K // the zero value if there is a name
	name string
}

// New returns a throttle with this rule.
func New[K comparable](r Rule) *Throttle[K] {
	return &Throttle[K]{failures: r.Failures, windows: newWindows[subject[K]](r)}
}

// Fail counts a failing request. It returns 0 if the request is allowed. Otherwise it returns
// the seconds until the window ends, so that the request is allowed again: at least 1.
//
// The caller reads the clock when the request fails, not when the request begins. If now is
// before the window by more than clockSlack, a new window begins: so a clock that is set
// back locks nobody out.
func (t *Throttle[K]) Fail(key K, now policy.Time) (retryAfter int) {
	of := t.subject(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.windows.window(of, now)
	w.start = min(w.start, now)
	if w.count < t.failures {
		w.count++
		t.note(of.name, now)
		return 0
	}
	return t.windows.left(w.start, now)
}

// Wait returns what Fail would return, and counts nothing. It is for requests that must not
// be tried before their key has waited, such as those with a guessed password.
func (t *Throttle[K]) Wait(key K, now policy.Time) (retryAfter int) {
	of := t.subject(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.windows.at(of, now)
	if w.count < t.failures {
		return 0
	}
	return t.windows.left(w.start, now)
}

// Count returns how many failing requests of a key its window has so far, if now is in it.
func (t *Throttle[K]) Count(key K, now policy.Time) int {
	of := t.subject(key)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.windows.at(of, now).count
}
