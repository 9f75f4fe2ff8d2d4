package keystore

// The bounds and the default of [Config.CacheBytes]. docs/performance.md says how many
// keys and jobs the default holds.
const (
	MinCacheBytes     = 1 << 20
	MaxCacheBytes     = 64 << 30
	DefaultCacheBytes = 128 << 20
)
