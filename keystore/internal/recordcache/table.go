package recordcache

import (
	"crypto/rand"
	"encoding/binary"
	"unsafe"
)

// table is a hash table of records within a limit of bytes. It consists of a few large
// arrays:
//
//	buckets  hash → number of the first slot of a chain
//	slots    small and without pointers: the chain, the value, where the record is
//	arena    the records, end to end
//
// Buckets and slots are small enough to stay near a core. The records are in distant
// memory, and a lookup waits for them once. The value has no pointers, so the garbage
// collector does not look inside the slots. A map with linked nodes and strings costs
// each request one fifth of the time that plain Caddy takes, with 100,000 keys.
//
// table is not safe for concurrent use.
type table[V any] struct {
	seed    uint64   // see hash
	buckets []uint32 // slot numbers, from 1; 0 is an empty chain. The length is a power of 2
	slots   []slot[V]
	free    []uint32 // the numbers of the slots without an entry
	arena   arena

	limit     int64 // in bytes; 0 keeps nothing
	used      int64 // in bytes
	clockHand int   // the number of the slot that eviction looked at last

	doorkeeper doorkeeper
}

// slot holds one entry of the table.
type slot[V any] struct {
	hash   uint32 // of the digest
	next   uint32 // the number of the next slot of the chain; 0 at the end
	record span
	hits   uint8 // slotFree, or slotCold and how often the entry was requested lately
	value  V
}

const (
	slotFree = 0 // the slot has no entry
	slotCold = 1 // not requested since the clock hand passed
	slotHot  = 4 // the highest count
)

// randomSeed returns a seed for hash.
func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:])                      // never fails
	return binary.LittleEndian.Uint64(b[:]) | 1 // odd: multiplication by it loses no bit
}

// hash returns part of the digest, mixed with a random seed. A client knows the digests
// of its own keys. Without the seed it could send unknown keys that all share one chain.
func (t *table[V]) hash(d *Digest) uint32 {
	return uint32(binary.LittleEndian.Uint64(d[1:]) * t.seed >> 32)
}

// indexBytes is the most that an entry takes in buckets, free and the doorkeeper.
const indexBytes = 8 + 6 + 6

// cost returns how many bytes an entry counts for. The slots count as the array has
// them when it has just grown, and the record counts with the unused space of the arena.
func (*table[V]) cost(recordLen int) int64 {
	return int64(unsafe.Sizeof(slot[V]{}))*9/8 + indexBytes + int64(recordLen)*5/4
}

// slot returns slot number i, from 1.
func (t *table[V]) slot(i uint32) *slot[V] { return &t.slots[i-1] }

// get returns the value and the record of d; nil if the table does not have d. The pointer is valid
// until the next call of another method.
func (t *table[V]) get(d *Digest) (*V, string) {
	i := t.find(d)
	if i == 0 {
		return nil, ""
	}
	s := t.slot(i)
	if s.hits < slotHot {
		s.hits++
	}
	return &s.value, t.arena.get(s.record)
}

// find returns the number of d's slot; 0 if the table does not have d.
func (t *table[V]) find(d *Digest) uint32 {
	if len(t.buckets) == 0 {
		return 0
	}
	hash := t.hash(d)
	i := *t.bucket(hash)
	for i != 0 {
		s := t.slot(i)
		if s.hash == hash && t.arena.get(s.record)[:len(d)] == string(d[:]) {
			break
		}
		i = s.next
	}
	return i
}

func (t *table[V]) bucket(hash uint32) *uint32 { return &t.buckets[hash&uint32(len(t.buckets)-1)] }

// put stores a record, which must begin with d, and its value. It replaces the entry
// of d if there is one. A full table evicts others, or refuses the entry.
func (t *table[V]) put(d Digest, value V, record string) {
	if record[:len(d)] != string(d[:]) {
		panic("recordcache: the record does not begin with its digest")
	}
	cost := t.cost(len(record))
	if i := t.find(&d); i != 0 {
		t.remove(i)
	} else if t.used+cost > t.limit && !t.doorkeeper.admits(d, len(t.slots), cap(t.slots)) {
		return
	}
	if cost > t.limit {
		return
	}
	for t.used+cost > t.limit {
		t.advanceClockHand()
	}
	t.used += cost
	i := t.freeSlot()
	hash := t.hash(&d)
	bucket := t.bucket(hash)
	*t.slot(i) = slot[V]{hash, *bucket, t.arena.add(record), slotCold, value}
	*bucket = i
}

// freeSlot returns the number of a slot without an entry.
func (t *table[V]) freeSlot() uint32 {
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		return i
	}
	if len(t.slots) == cap(t.slots) { // grow by 1/8: append would grow by 1/4 or more
		t.slots = append(make([]slot[V], 0, len(t.slots)*9/8+4), t.slots...)
	}
	t.slots = append(t.slots, slot[V]{})
	if len(t.slots) > len(t.buckets) {
		t.rehash(max(8, 2*len(t.buckets)))
	}
	return uint32(len(t.slots))
}

// rehash makes n buckets and puts every entry into its new chain.
func (t *table[V]) rehash(n int) {
	t.buckets = make([]uint32, n)
	for i := range t.slots {
		if s := &t.slots[i]; s.hits != slotFree {
			bucket := t.bucket(s.hash)
			s.next, *bucket = *bucket, uint32(i+1)
		}
	}
}

// advanceClockHand moves the clock hand to the next slot. It evicts the entry there
// unless the entry was requested lately (the CLOCK algorithm, with a count up to three).
func (t *table[V]) advanceClockHand() {
	t.clockHand = t.clockHand%len(t.slots) + 1
	switch s := t.slot(uint32(t.clockHand)); {
	case s.hits > slotCold:
		s.hits--
	case s.hits == slotCold:
		t.remove(uint32(t.clockHand))
	}
}

func (t *table[V]) remove(i uint32) {
	s := t.slot(i)
	link := t.bucket(s.hash)
	for *link != i {
		link = &t.slot(*link).next
	}
	*link = s.next
	t.used -= t.cost(int(s.record.length))
	compact := t.arena.drop(s.record)
	*s = slot[V]{}
	t.free = append(t.free, i)
	if compact {
		t.compact()
	}
}

// compact copies the records that are in use into new chunks.
func (t *table[V]) compact() {
	old := t.arena
	t.arena = arena{live: old.live} // the size of the first chunk depends on live
	for i := range t.slots {
		if s := &t.slots[i]; s.hits != slotFree {
			s.record = t.arena.add(old.get(s.record))
		}
	}
	t.arena.live = old.live
}

func (t *table[V]) drop(d Digest) {
	if i := t.find(&d); i != 0 {
		t.remove(i)
	}
}

func (t *table[V]) dropIf(match func(*V, string) bool) {
	for i := range t.slots {
		if s := &t.slots[i]; s.hits != slotFree && match(&s.value, t.arena.get(s.record)) {
			t.remove(uint32(i + 1))
		}
	}
}

// clear removes all entries.
func (t *table[V]) clear() {
	*t = table[V]{seed: t.seed, limit: t.limit}
}

// live returns the number of entries.
func (t *table[V]) live() int { return len(t.slots) - len(t.free) }
