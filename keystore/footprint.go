package keystore

import (
	"math"
	"math/bits"
)

// The bounds of Config.CacheBytes, and what it is where it is not set.
const (
	MinCacheBytes     = 1 << 20
	MaxCacheBytes     = 64 << 30
	DefaultCacheBytes = 128 << 20
)

// What one entry of a cache takes beside the record: the hash table and the
// frequency sketch are counted as when they have just doubled.
const (
	tableBytes   = 64*8/15 + 16            // of buckets of 64 bytes for five, three eighths full, and of the sketch
	nodeBytes    = 32 + 8 + 8 + tableBytes // of a record: the header, its short name, its pointer
	absenceBytes = 32 + 32 + tableBytes    // of an absence: the header and the whole digest
)

// weight is the memory of a record of fixed size and its text.
func weight(fixed uintptr, text string) uint32 {
	return uint32(min(uint64(allocated(int(fixed))+allocated(len(text))), math.MaxUint32-nodeBytes))
}

// allocated is about what the allocator takes for an object of n bytes: it has
// sizes in steps of 16 bytes, and above 256 of an eighth or less.
func allocated(n int) int {
	if n == 0 {
		return 0
	}
	step := 1 << max(bits.Len(uint(n-1))-4, 4)
	return (n + step - 1) &^ (step - 1)
}
