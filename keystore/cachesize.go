package keystore

// The bounds and the default of [Config.CacheBytes], in bytes. docs/performance.md says
// how many keys and jobs the default holds.
const (
	MinCacheBytes     = 1 << 20
	MaxCacheBytes     = 64 << 30
	defaultCacheBytes = 128 << 20
)
