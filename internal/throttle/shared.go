package throttle

import (
	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/policy"
)

var _ share.Source = (*Throttle[string])(nil)

// shared is what a throttle needs to count together with other gateways.
type shared[K comparable] struct {
	nameOf func(K) string
	tell   func()                // called when untold gets its first name; nil: nothing is noted
	untold map[string]share.Past // by the name of the key
}

// Named sets the function that returns the name by which the gateways call a key. Nobody may be able
// to find the key by its name. A key with an empty name is not shared. Without the function, no key
// is shared. Call Named before the throttle is used.
func (t *Throttle[K]) Named(name func(K) string) *Throttle[K] {
	t.shared.nameOf = name
	return t
}

// subject returns what the window of a key counts for.
func (t *Throttle[K]) subject(key K) subject[K] {
	if t.shared.nameOf != nil {
		if name := t.shared.nameOf(key); name != "" {
			return subject[K]{name: name}
		}
	}
	return subject[K]{key: key}
}

// note notes a failing request for the other gateways. The caller has locked t.
func (t *Throttle[K]) note(name string, now policy.Time) {
	if t.shared.tell == nil || name == "" {
		return
	}
	if len(t.shared.untold) == 0 {
		t.shared.tell()
	}
	past, known := t.shared.untold[name]
	switch {
	case !known && len(t.shared.untold) >= t.windows.limit:
		return // the throttle has forgotten other keys too
	case !known, t.windows.over(past.At, now):
		past = share.Past{At: now} // what is over counts nowhere any more
	}
	past.At = min(past.At, now)
	past.N++
	t.shared.untold[name] = past
}

// Share implements [share.Source].
func (t *Throttle[K]) Share(changed func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shared.nameOf == nil {
		return
	}
	t.shared.tell, t.shared.untold = changed, make(map[string]share.Past)
}

// Changes implements [share.Source].
func (t *Throttle[K]) Changes(bool) []share.Change {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]share.Change, 0, len(t.shared.untold))
	for name, past := range t.shared.untold {
		list = append(list, share.Change{ID: name, Past: []share.Past{past}})
	}
	clear(t.shared.untold)
	return list
}

// Add implements [share.Source]. The window of a key begins no later than what is added.
func (t *Throttle[K]) Add(now policy.Time, c share.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := subject[K]{name: c.ID}
	for _, past := range c.Past {
		if past.N <= 0 || t.windows.over(past.At, now) {
			continue
		}
		w := t.windows.window(of, now)
		w.start = min(w.start, past.At)
		w.count = min(w.count+past.N, t.failures)
	}
}
