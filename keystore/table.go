package keystore

import (
	"encoding/binary"
	"unsafe"
)

// entry is what a table holds. It has few pointers or none: the garbage collector
// looks at each of them again and again.
type entry interface {
	is(d digest) bool // whether d is its digest
	bytes() int64     // the memory that it takes elsewhere
}

// table holds entries by their digests within a bound of bytes. It is one array
// and an index, which the collector passes at a glance: the linked nodes that a
// cache is made of otherwise cost each request a sixth of what plain Caddy spends
// on it, with a hundred thousand keys.
//
// When it is full, an entry that has been asked for stays, and the hand goes on
// (the CLOCK algorithm, with a count of up to three). And then a newcomer is
// admitted when it comes for the second time within as many others as the table
// holds, so that a run through many keys, each used once, pushes nothing out.
type table[V entry] struct {
	limit int64 // bytes; 0 holds nothing
	taken int64
	index map[shortName]uint32 // into slots
	slots []slot[V]
	free  []uint32 // slots without an entry
	hand  int

	seen   []uint32 // of those that were turned away
	turned uint     // how many those are
}

type slot[V entry] struct {
	name  shortName
	hits  uint8 // how often it has been asked for lately, and whether there is an entry
	value V
}

const (
	slotFree = 0
	slotCold = 1 // not asked for since the hand came by
	slotHot  = 4
)

// shortName files an entry, which has its whole digest itself. Of two with one
// name the later one takes the place.
type shortName uint64

func short(d digest) shortName { return shortName(binary.LittleEndian.Uint64(d[1:])) }

// indexBytes is what an entry takes in the index, the list of free slots and that
// of those turned away, at most.
const indexBytes = 48

// cost is what an entry takes. Slots are counted as the array has them when it has
// just grown.
func (*table[V]) cost(v *V) int64 {
	return int64(unsafe.Sizeof(slot[V]{}))*9/8 + indexBytes + (*v).bytes()
}

// get returns the entry, to be used at once; nil if there is none.
func (t *table[V]) get(d digest) *V {
	i, ok := t.index[short(d)]
	if !ok || !t.slots[i].value.is(d) {
		return nil
	}
	s := &t.slots[i]
	if s.hits < slotHot {
		s.hits++
	}
	return &s.value
}

// put files an entry in the place of one with its name, or where there is room.
func (t *table[V]) put(d digest, v V) {
	name := short(d)
	if i, ok := t.index[name]; ok {
		t.remove(i)
	} else if t.taken+t.cost(&v) > t.limit && !t.comesAgain(d) {
		return
	}
	cost := t.cost(&v)
	if cost > t.limit {
		return
	}
	for t.taken+cost > t.limit {
		t.turn()
	}
	if t.index == nil {
		t.index = make(map[shortName]uint32)
	}
	t.taken += cost
	i := len(t.slots)
	if n := len(t.free); n > 0 {
		i, t.free = int(t.free[n-1]), t.free[:n-1]
		t.slots[i] = slot[V]{name, slotCold, v}
	} else {
		if len(t.slots) == cap(t.slots) { // by little: append would take half as much again
			t.slots = append(make([]slot[V], 0, len(t.slots)*9/8+4), t.slots...)
		}
		t.slots = append(t.slots, slot[V]{name, slotCold, v})
	}
	t.index[name] = uint32(i)
}

// turn moves the hand over one slot.
func (t *table[V]) turn() {
	if t.hand++; t.hand >= len(t.slots) {
		t.hand = 0
	}
	switch s := &t.slots[t.hand]; {
	case s.hits > slotCold:
		s.hits--
	case s.hits == slotCold:
		t.remove(uint32(t.hand))
	}
}

// comesAgain reports whether d has been turned away lately, and notes that it is
// now.
func (t *table[V]) comesAgain(d digest) bool {
	if len(t.seen) < len(t.slots) {
		t.seen = make([]uint32, cap(t.slots)) // forgets, which costs a lookup each
	}
	if len(t.seen) == 0 {
		return true
	}
	place := &t.seen[binary.LittleEndian.Uint32(d[9:])%uint32(len(t.seen))]
	tag := binary.LittleEndian.Uint32(d[13:]) | 1 // never that of nobody
	if *place == tag {
		*place = 0
		return true
	}
	// Of two that share a place, each must find its own there sooner or later.
	if t.turned++; *place == 0 || t.turned%2 == 0 {
		*place = tag
	}
	return false
}

func (t *table[V]) remove(i uint32) {
	s := &t.slots[i]
	t.taken -= t.cost(&s.value)
	delete(t.index, s.name)
	*s = slot[V]{}
	t.free = append(t.free, i)
}

func (t *table[V]) drop(d digest) {
	if i, ok := t.index[short(d)]; ok {
		t.remove(i)
	}
}

func (t *table[V]) dropIf(match func(*V) bool) {
	for i := range t.slots {
		if s := &t.slots[i]; s.hits != slotFree && match(&s.value) {
			t.remove(uint32(i))
		}
	}
}

func (t *table[V]) clear() { *t = table[V]{limit: t.limit} }
