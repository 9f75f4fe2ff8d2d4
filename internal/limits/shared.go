package limits

import (
	"math"
	"sync/atomic"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/policy"
)

var _ share.Source = (*Counters)(nil)

// shared is what a subject needs to count together with other gateways.
type shared struct {
	running uint32 // requests at a time at the others
	minute  window // requests in the last minute at the others
	told    window // what the others know of the subject's minute
}

// changes are the subjects whose counts have changed since they were taken: a list, the last one
// first.
type changes struct {
	told  atomic.Pointer[func()] // called when the list gets its first subject; nil: nothing is noted
	first atomic.Pointer[subject]
}

// note adds a subject to the list, if it is not there. It is called after the change, and takes no
// lock. A nil subject counts nothing.
func (c *changes) note(s *subject) {
	if s == nil {
		return
	}
	tell := c.told.Load()
	if tell == nil || s.noted.Load() || s.noted.Swap(true) {
		return
	}
	for {
		first := c.first.Load()
		s.next = first
		if c.first.CompareAndSwap(first, s) {
			if first == nil {
				(*tell)()
			}
			return
		}
	}
}

// take returns the subjects, and empties the list. A change after it is noted again.
func (c *changes) take() []*subject {
	var all []*subject
	for s := c.first.Swap(nil); s != nil; {
		next := s.next // before another call of note changes it
		s.noted.Store(false)
		all = append(all, s)
		s = next
	}
	return all
}

// Share implements [share.Source].
func (c *Counters) Share(changed func()) {
	if changed == nil {
		c.changes.told.Store(nil)
		return
	}
	c.changes.told.Store(&changed)
	for _, s := range c.subjects.all() {
		c.changes.note(s)
	}
}

// Changes implements [share.Source].
func (c *Counters) Changes(all bool) []share.Change {
	subjects := c.changes.take()
	known := make(map[string]bool, len(subjects))
	list := make([]share.Change, 0, len(subjects))
	add := func(s *subject) {
		if !known[s.id] {
			known[s.id] = true
			list = append(list, c.change(s.id))
		}
	}
	for _, s := range subjects {
		add(s)
	}
	if all {
		for _, s := range c.subjects.all() {
			if s.running.Load() > 0 {
				add(s)
			}
		}
	}
	return list
}

// change returns what the others do not know of the subject with this ID. The table can have dropped
// the subject: then it has no request.
func (c *Counters) change(id string) share.Change {
	change := share.Change{ID: id}
	s := c.subjects.find(id)
	if !s.lock() || s == nil {
		return change
	}
	defer s.unlock()
	change.Now = int(s.running.Load())
	told := &s.share().told
	told.advance(s.minute.last)
	for at := s.minute.last - seconds + 1; at <= s.minute.last; at++ {
		if more := int(s.minute.at(at)) - int(told.at(at)); more != 0 {
			told.addAt(at, more)
			// At the end of the second: so the place comes free at the others no earlier than here.
			change.Past = append(change.Past, share.Past{At: policy.Time(at*1000 + 999), N: more})
		}
	}
	return change
}

// Add implements [share.Source].
func (c *Counters) Add(now policy.Time, change share.Change) {
	s := c.subjects.locked(change.ID, now)
	defer s.unlock()
	others := s.share()
	others.running = uint32(min(max(int64(others.running)+int64(change.Now), 0), math.MaxInt32))
	others.minute.advance(secondOf(now))
	for _, p := range change.Past {
		others.minute.addAt(secondOf(p.At), p.N)
	}
}

// share returns what the subject needs to share its counts. The caller has locked s.
func (s *subject) share() *shared {
	if s.shared == nil {
		s.shared = new(shared)
	}
	return s.shared
}

// all returns the subjects of the table.
func (t *table) all() []*subject {
	slots := *t.slots.Load()
	var all []*subject
	for i := range slots {
		if s := slots[i].Load(); s != nil {
			all = append(all, s)
		}
	}
	return all
}
