package recordcache

import "encoding/binary"

// doorkeeper decides which new entries a full table admits: an entry that the table
// refused a short time ago. So keys that are used once do not evict keys that are used
// often.
//
// It remembers refused digests by a tag of 32 bits, each at one place of an array. If
// two digests share place and tag, the second is admitted at once, which does no harm.
type doorkeeper struct {
	tags    []uint32 // of refused digests, by place; 0 is an empty place
	refused uint     // how many times a digest was refused
}

// admits reports whether d was refused lately. If not, it remembers that d is refused
// now. slots and capacity are the length and capacity of the table: the doorkeeper
// remembers about as many digests as the table has slots.
func (k *doorkeeper) admits(d Digest, slots, capacity int) bool {
	if len(k.tags) < slots {
		k.tags = make([]uint32, capacity) // forgets all digests, so each is refused once more
	}
	if len(k.tags) == 0 {
		return true
	}
	place := &k.tags[binary.LittleEndian.Uint32(d[9:])%uint32(len(k.tags))]
	tag := binary.LittleEndian.Uint32(d[13:]) | 1 // never 0, which is an empty place
	if *place == tag {
		*place = 0
		return true
	}
	// Only every second digest takes a place from another. So two digests that share a
	// place and come in turns are both admitted sooner or later.
	if k.refused++; *place == 0 || k.refused%2 == 0 {
		*place = tag
	}
	return false
}
