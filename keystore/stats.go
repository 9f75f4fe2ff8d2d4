package keystore

import (
	"time"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
)

// Stats says how a store works at one instant.
type Stats struct {
	// Open says that the database is open, and that cached records may be used.
	Open bool
	// Age is how old the cached records can be at most: the time since the change feed was
	// last read with success.
	Age time.Duration
	// Caches has one entry for each of the caches. It is empty with Config.CommandLine.
	Caches []CacheStats
	// Bytes is the size of the database on the disk, and LogBytes the size of its log of
	// changes, which SQLite calls the WAL. They are zero if the database is not open, and -1 if
	// it is not on a disk of this machine.
	Bytes, LogBytes int64
	// FreeBytes is how much space the disk has for the keystore, or -1 if the system does
	// not tell.
	FreeBytes int64
	// Replica is nil for a store without one.
	Replica *ReplicaStats
}

// CacheStats says how one cache of records works.
type CacheStats struct {
	Name    string // what the records are of: one of CacheNames
	Hits    uint64 // lookups that the cache has answered
	Misses  uint64 // records that were looked for in the database
	Entries int    // records, and secrets that are known to belong to no key
	Bytes   int64  // of Config.CacheBytes
}

// CacheNames lists the names of the caches.
func CacheNames() []string { return []string{"keys", "jobs", "tokens"} }

// Stats returns the current Stats. It takes some microseconds, and reads no table.
func (s *Store) Stats() Stats {
	st := s.state.Load()
	stats := Stats{Open: s.fresh(st), Age: s.feed.age(s.mono()), FreeBytes: s.room.free(s.room.dir), Replica: s.replica.stats()}
	if stats.FreeBytes == spaceUnknown {
		stats.FreeBytes = -1
	}
	switch {
	case s.cfg.Postgres != nil:
		stats.Bytes, stats.LogBytes = -1, -1
	case st.fault == nil:
		stats.Bytes, stats.LogBytes = st.db.Size()
	}
	if s.cfg.CommandLine {
		return stats
	}
	for i, cache := range []recordcache.Stats{s.cache.keys.Stats(), s.cache.jobs.Stats(), s.cache.tokens.Stats()} {
		stats.Caches = append(stats.Caches, CacheStats{CacheNames()[i], cache.Hits, cache.Misses, cache.Entries, cache.Bytes})
	}
	return stats
}

// Silence returns how long ago the store knew that its records are up to date, if it has found that it does not
// know now: the change feed could not be read for Config.MaxStaleness, or the database is gone. Otherwise it
// returns zero. All watchers are notified when Silence begins and when it ends.
func (s *Store) Silence() time.Duration {
	if !s.feed.stale.Load() {
		return 0
	}
	return s.feed.age(s.mono())
}

// age returns the time since the last poll that succeeded.
func (f *feedFollower) age(now time.Duration) time.Duration {
	return max(now+f.store.cfg.MaxStaleness-time.Duration(f.until.Load()), 0)
}
