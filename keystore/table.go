package keystore

import (
	"crypto/rand"
	"encoding/binary"
	"unsafe"
)

// table holds texts by the digests that they begin with, and with each a value that
// can change, within a bound of bytes. It is a few large arrays: of slots in chains,
// which are small enough to stay near a core, and of texts, which are far away and
// hold all else, so that a lookup waits for them once. A value must have no pointers,
// so that the garbage collector passes all of it at a glance: the linked nodes and
// strings that a cache is made of otherwise cost each request a fifth of what plain
// Caddy spends on it, with a hundred thousand keys.
//
// When it is full, an entry that has been asked for stays, and the hand goes on
// (the CLOCK algorithm, with a count of up to three). And then a newcomer is
// admitted when it comes for the second time within as many others as the table
// holds, so that a run through many keys, each used once, pushes nothing out.
type table[V any] struct {
	heads []uint32 // of chains of slots, by their names: numbers from 1, 0 for none
	slots []slot[V]
	texts texts

	limit int64 // bytes; 0 holds nothing
	taken int64
	free  []uint32 // slots without an entry
	hand  int      // the slot that was looked at last

	seen   []uint32 // of those that were turned away
	turned uint     // how many those are
}

// slot is an entry's place.
type slot[V any] struct {
	name  uint32 // the nameOf its digest
	next  uint32 // in its chain, as in heads
	text  textSpan
	hits  uint8 // how often it has been asked for lately, and whether there is an entry
	value V
}

const (
	slotFree = 0
	slotCold = 1 // not asked for since the hand came by
	slotHot  = 4
)

// nameOf is what a digest is filed under: a part of it, mixed with what nobody outside
// knows, who could otherwise look for keys that all share a chain.
func nameOf(d *digest) uint32 { return uint32(binary.LittleEndian.Uint64(d[1:]) * nameSeed >> 32) }

var nameSeed = func() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])                      // never fails
	return binary.LittleEndian.Uint64(b[:]) | 1 // an odd factor loses nothing
}()

// indexBytes is what an entry takes in the heads of chains, the list of free slots
// and that of those turned away, at most.
const indexBytes = 8 + 6 + 6

// cost is what an entry takes. Slots are counted as the array has them when it has
// just grown, and texts with what is dead among them.
func (*table[V]) cost(length int) int64 {
	return int64(unsafe.Sizeof(slot[V]{}))*9/8 + indexBytes + int64(length)*5/4
}

// slot is the one with that number, from 1.
func (t *table[V]) slot(i uint32) *slot[V] { return &t.slots[i-1] }

// get returns the value, to be used at once, and its text; nil if there is none.
func (t *table[V]) get(d digest) (*V, string) {
	i := t.find(&d)
	if i == 0 {
		return nil, ""
	}
	s := t.slot(i)
	if s.hits < slotHot {
		s.hits++
	}
	return &s.value, t.texts.get(s.text)
}

// find is the number of the slot with that digest, from 1; 0 if there is none.
func (t *table[V]) find(d *digest) uint32 {
	if len(t.heads) == 0 {
		return 0
	}
	name := nameOf(d)
	i := *t.head(name)
	for i != 0 {
		s := t.slot(i)
		if s.name == name && t.texts.get(s.text)[:len(d)] == string(d[:]) {
			break
		}
		i = s.next
	}
	return i
}

func (t *table[V]) head(name uint32) *uint32 { return &t.heads[name&uint32(len(t.heads)-1)] }

// put files a value and its text in the place of those with its digest, or where
// there is room.
func (t *table[V]) put(d digest, v V, text string) {
	if text[:len(d)] != string(d[:]) {
		panic("keystore: a text is filed under another digest than it begins with")
	}
	cost := t.cost(len(text))
	if i := t.find(&d); i != 0 {
		t.remove(i)
	} else if t.taken+cost > t.limit && !t.comesAgain(d) {
		return
	}
	if cost > t.limit {
		return
	}
	for t.taken+cost > t.limit {
		t.turn()
	}
	t.taken += cost
	i := t.room()
	name := nameOf(&d)
	head := t.head(name)
	*t.slot(i) = slot[V]{name, *head, t.texts.add(text), slotCold, v}
	*head = i
}

// room is the number of a slot without an entry.
func (t *table[V]) room() uint32 {
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		return i
	}
	if len(t.slots) == cap(t.slots) { // by little: append would take half as much again
		t.slots = append(make([]slot[V], 0, len(t.slots)*9/8+4), t.slots...)
	}
	t.slots = append(t.slots, slot[V]{})
	if len(t.slots) > len(t.heads) {
		t.heads = make([]uint32, max(8, 2*len(t.heads)))
		for i := range t.slots {
			if s := &t.slots[i]; s.hits != slotFree {
				head := t.head(s.name)
				s.next, *head = *head, uint32(i+1)
			}
		}
	}
	return uint32(len(t.slots))
}

// turn moves the hand over one slot.
func (t *table[V]) turn() {
	t.hand = t.hand%len(t.slots) + 1
	switch s := t.slot(uint32(t.hand)); {
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
	s := t.slot(i)
	link := t.head(s.name)
	for *link != i {
		link = &t.slot(*link).next
	}
	*link = s.next
	t.taken -= t.cost(int(s.text.length))
	gather := t.texts.drop(s.text)
	*s = slot[V]{}
	t.free = append(t.free, i)
	if gather {
		t.gather()
	}
}

// gather moves the texts that are in use together.
func (t *table[V]) gather() {
	from, live := t.texts.pieces, t.texts.live
	t.texts.clear()
	t.texts.live = live // so that the first piece has a fitting size
	for i := range t.slots {
		if s := &t.slots[i]; s.hits != slotFree {
			s.text = t.texts.add(from[s.text.piece][s.text.from:][:s.text.length])
		}
	}
	t.texts.live = live
}

func (t *table[V]) drop(d digest) {
	if i := t.find(&d); i != 0 {
		t.remove(i)
	}
}

func (t *table[V]) dropIf(match func(*V, string) bool) {
	for i := range t.slots {
		if s := &t.slots[i]; s.hits != slotFree && match(&s.value, t.texts.get(s.text)) {
			t.remove(uint32(i + 1))
		}
	}
}

func (t *table[V]) clear() {
	t.texts.clear()
	t.heads, t.slots, t.taken, t.free, t.hand, t.seen = nil, nil, 0, nil, 0, nil
}

// live is how many entries there are.
func (t *table[V]) live() int { return len(t.slots) - len(t.free) }
