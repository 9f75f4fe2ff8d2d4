package keystore

import "math/bits"

// The bounds of Config.CacheBytes, and what it is where it is not set.
const (
	MinCacheBytes     = 1 << 20
	MaxCacheBytes     = 64 << 30
	DefaultCacheBytes = 128 << 20
)

// allocated is about what the allocator takes for an object of n bytes: it has
// sizes in steps of 16 bytes, and above 256 of an eighth or less.
func allocated(n int) int64 {
	if n == 0 {
		return 0
	}
	step := 1 << max(bits.Len(uint(n-1))-4, 4)
	return int64((n + step - 1) &^ (step - 1))
}
