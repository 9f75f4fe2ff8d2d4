package throttle

import (
	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/policy"
)

var _ share.Source = (*Throttle[string])(nil)

// shared is what a throttle needs to count together with other gateways.
type shared[K comparable] struct {
	name   func(K) string
	tell   func() // called when untold gets its first key; nil: nothing is noted
	untold map[K]share.Past
}

// Named sets the function that returns the name by which the gateways call a key. Nobody may be able
// to find the key by its name. A key with an empty name is not shared. Without the function, no key
// is shared. Call Named before the throttle is used.
func (t *Throttle[K]) Named(name func(K) string) *Throttle[K] {
	t.shared.name = name
	return t
}

// othersOf returns the window of a key at the other gateways. The caller has locked t.
func (t *Throttle[K]) othersOf(key K, now policy.Time) window[string] {
	if len(t.others.byKey) == 0 {
		return window[string]{start: now}
	}
	name := t.shared.name(key)
	if name == "" {
		return window[string]{start: now}
	}
	return t.others.at(name, now)
}

// note notes a failing request for the other gateways. The caller has locked t.
func (t *Throttle[K]) note(key K, now policy.Time) {
	if t.shared.tell == nil {
		return
	}
	if len(t.shared.untold) == 0 {
		t.shared.tell()
	}
	past, known := t.shared.untold[key]
	switch {
	case !known && len(t.shared.untold) >= t.own.limit:
		return // the throttle has forgotten other keys too
	case !known, now < past.At:
		past.At = now
	}
	past.N++
	t.shared.untold[key] = past
}

// Share implements [share.Source].
func (t *Throttle[K]) Share(changed func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shared.name == nil {
		return
	}
	t.shared.tell, t.shared.untold = changed, make(map[K]share.Past)
}

// Changes implements [share.Source].
func (t *Throttle[K]) Changes(bool) []share.Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]share.Change, 0, len(t.shared.untold))
	for key, past := range t.shared.untold {
		if name := t.shared.name(key); name != "" {
			list = append(list, share.Change{ID: name, Past: []share.Past{past}})
		}
	}
	clear(t.shared.untold)
	return list
}

// Add implements [share.Source]. The first failing request of a key at any of the other gateways
// begins the window of the others.
func (t *Throttle[K]) Add(now policy.Time, c share.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, past := range c.Past {
		if past.N <= 0 || t.others.over(&window[string]{start: past.At}, now) {
			continue
		}
		w := t.others.window(c.ID, now)
		if w.count == 0 {
			w.start = past.At
		}
		w.count = min(w.count+past.N, t.failures)
	}
}
