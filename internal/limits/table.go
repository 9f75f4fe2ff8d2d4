package limits

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/speechgate/speechgate/policy"
)

// table finds subjects by their ID. Finding takes no lock: the table is an array of pointers,
// with open addressing, and a larger array takes its place when it is half full. The new
// array leaves out the subjects that are idle.
type table struct {
	seed    maphash.Seed
	changes *changes                                  // of the subjects
	slots   atomic.Pointer[[]atomic.Pointer[subject]] // their number is a power of two

	mu   sync.Mutex // of those that add subjects
	used int        // slots with a subject
}

const firstSlots = 64

func (t *table) init(c *changes) {
	t.changes = c
	t.seed = maphash.MakeSeed()
	slots := make([]atomic.Pointer[subject], firstSlots)
	t.slots.Store(&slots)
}

// find returns the subject with this ID; nil if the table does not have it.
func (t *table) find(id string) *subject {
	return findIn(*t.slots.Load(), maphash.String(t.seed, id), id)
}

func findIn(slots []atomic.Pointer[subject], hash uint64, id string) *subject {
	for at := hash; ; at++ {
		s := slots[at&uint64(len(slots)-1)].Load()
		if s == nil || s.hash == hash && s.id == id {
			return s
		}
	}
}

// of returns the subject with this ID, and adds it if it is not there. The caller must have
// locked no subject.
func (t *table) of(id string, now policy.Time) *subject {
	hash := maphash.String(t.seed, id)
	if s := findIn(*t.slots.Load(), hash, id); s != nil {
		return s
	}
	return t.add(hash, id, now)
}

// locked does what of does, and locks the subject.
func (t *table) locked(id string, now policy.Time) *subject {
	for {
		if s := t.of(id, now); s.lock() {
			return s
		}
	}
}

// add returns the subject with this ID, which it adds if it is not there.
func (t *table) add(hash uint64, id string, now policy.Time) *subject {
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := *t.slots.Load()
	if s := findIn(slots, hash, id); s != nil {
		return s
	}
	if t.used*2 >= len(slots) {
		slots = t.rebuild(slots, now)
	}
	s := &subject{id: strings.Clone(id), hash: hash, changes: t.changes} // the ID can point into the cache of the keystore
	put(slots, s)
	t.used++
	return s
}

// rebuild replaces the array by one without the subjects that are idle. It locks each subject
// for a moment. The new array is at most a quarter full, so that it is used for a while.
func (t *table) rebuild(old []atomic.Pointer[subject], now policy.Time) []atomic.Pointer[subject] {
	var kept []*subject
	for i := range old {
		if s := old[i].Load(); s != nil && !s.dropIfIdle(now) {
			kept = append(kept, s)
		}
	}
	size := firstSlots
	for size < 4*(len(kept)+1) {
		size *= 2
	}
	slots := make([]atomic.Pointer[subject], size)
	for _, s := range kept {
		put(slots, s)
	}
	t.used = len(kept)
	t.slots.Store(&slots)
	return slots
}

// put stores a subject in the first free slot. The caller has locked the table.
func put(slots []atomic.Pointer[subject], s *subject) {
	for at := s.hash; ; at++ {
		if slot := &slots[at&uint64(len(slots)-1)]; slot.Load() == nil {
			slot.Store(s)
			return
		}
	}
}
