package keystore

// The bounds of Config.CacheBytes, and what it is where it is not set.
const (
	MinCacheBytes     = 1 << 20
	MaxCacheBytes     = 64 << 30
	DefaultCacheBytes = 128 << 20
)
