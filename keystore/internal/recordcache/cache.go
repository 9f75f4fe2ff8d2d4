package recordcache

import (
	"crypto/sha256"
	"sync"
)

// Digest identifies a record. Digests must be evenly distributed, as hashes are.
type Digest [sha256.Size]byte

// State says what a cache knows about a digest.
type State uint8

// The states. The zero State is Unknown.
const (
	Unknown State = iota // the cache cannot say: read the database
	Present              // there is a record
	Absent               // there is no record
)

// Entry is what a cache knows about a digest.
type Entry[V any] struct {
	State  State
	Value  V      // zero unless Present
	Record string // begins with the digest; empty unless Present
}

// Cache keeps records by their digest. With each record it keeps a small value that
// can be changed in place. V must not contain pointers.
//
// Its methods may be called concurrently. A nil *Cache is an empty cache that keeps
// nothing: its Get returns Unknown, and its Put returns true.
type Cache[V any] struct {
	shards [shardCount]shard[V] // by the first byte of the digest
}

// shardCount is large enough that many cores rarely wait for each other, and small
// enough that all shard headers stay in a core's cache.
const shardCount = 16

type shard[V any] struct {
	mu          sync.Mutex // never held during a read of the database
	present     table[V]
	absent      table[struct{}] // a table of its own: unknown keys evict no record
	generations [256 / shardCount]uint64

	hits, misses uint64 // see Stats
}

// New returns a cache that uses about recordBytes for records and about absenceBytes
// for digests without a record. Zero keeps none of that kind.
func New[V any](recordBytes, absenceBytes int64) *Cache[V] {
	c := new(Cache[V])
	seed := randomSeed()
	for i := range c.shards {
		c.shards[i].present.seed, c.shards[i].absent.seed = seed, seed
	}
	c.SetLimits(recordBytes, absenceBytes)
	return c
}

// SetLimits changes the limits that [New] set, in bytes. A lower limit takes effect with
// the next Put. Except for New, only tests call it.
func (c *Cache[V]) SetLimits(recordBytes, absenceBytes int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.present.limit, s.absent.limit = recordBytes/shardCount, absenceBytes/shardCount
		s.mu.Unlock()
	}
}

func (c *Cache[V]) shard(d Digest) *shard[V] { return &c.shards[d[0]%shardCount] }

// Get returns what the cache knows about d.
func (c *Cache[V]) Get(d Digest) Entry[V] {
	if c == nil {
		return Entry[V]{}
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(&d)
}

// GetBoth returns what two different caches know about one digest each, at the same
// instant. It is faster than two calls of Get: the processor waits for the memory of
// both records at the same time.
//
// To exclude deadlocks, every call must name the two caches in the same order.
func GetBoth[V, W any](c1 *Cache[V], d1 Digest, c2 *Cache[W], d2 Digest) (Entry[V], Entry[W]) {
	if c1 == nil || c2 == nil {
		return c1.Get(d1), c2.Get(d2)
	}
	s1, s2 := c1.shard(d1), c2.shard(d2)
	s1.mu.Lock()
	defer s1.mu.Unlock()
	s2.mu.Lock()
	defer s2.mu.Unlock()
	return s1.get(&d1), s2.get(&d2)
}

// get must be called with mu held. It takes the digest by pointer, as table.get does, so
// that a lookup copies the digest once.
func (s *shard[V]) get(d *Digest) (e Entry[V]) {
	if value, record := s.present.get(d); value != nil {
		s.hits++
		return Entry[V]{Present, *value, record}
	}
	if found, _ := s.absent.get(d); found != nil {
		s.hits++
		e.State = Absent
	}
	return e
}

// Update calls change with the value of d's record, if the record is cached. No other
// call sees the value while change runs, so change must be short.
func (c *Cache[V]) Update(d Digest, change func(*V)) {
	if c == nil {
		return
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if value, _ := s.present.get(&d); value != nil {
		change(value)
	}
}

// Generation returns the current generation of d. A lookup calls it before it reads
// the record, and gives the result to Put or PutAbsent. Each call counts as a miss.
func (c *Cache[V]) Generation(d Digest) uint64 {
	if c == nil {
		return 0
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.misses++
	return *s.generation(d)
}

func (s *shard[V]) generation(d Digest) *uint64 { return &s.generations[d[0]/shardCount] }

// Put caches a record, which must begin with d, and its value. If d has a newer
// generation than the given one, Put caches nothing and returns false: the record may
// have changed since it was read, and the caller must read it again.
//
// A true result does not mean that the record is cached: a full cache keeps a new
// record only when Put is called for it a second time.
func (c *Cache[V]) Put(d Digest, generation uint64, value V, record string) bool {
	if c == nil {
		return true
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s.generation(d) != generation {
		return false
	}
	s.present.put(d, value, record)
	return true
}

// PutAbsent is [Cache.Put] for a digest that has no record.
func (c *Cache[V]) PutAbsent(d Digest, generation uint64) bool {
	if c == nil {
		return true
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s.generation(d) != generation {
		return false
	}
	s.absent.put(d, struct{}{}, string(d[:]))
	return true
}

// Drop removes what is cached for d, and makes the lookups of d that are reading now
// read again.
func (c *Cache[V]) Drop(d Digest) {
	if c == nil {
		return
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.generation(d)++
	s.present.drop(d)
	s.absent.drop(d)
}

// DropIf removes the records for which match returns true, and makes all lookups that
// are reading now read again. It locks one shard after the other. A record that a
// lookup caches meanwhile is handled in both cases: before DropIf reaches the shard,
// match sees the record; afterwards, Put refuses it because the generation is newer.
//
// match must be short, and must not call the cache.
func (c *Cache[V]) DropIf(match func(value *V, record string) bool) {
	c.changeAll(func(s *shard[V]) { s.present.dropIf(match) })
}

// DropAbsences removes all digests without a record, and makes all lookups that are reading now
// read again.
func (c *Cache[V]) DropAbsences() {
	c.changeAll(func(s *shard[V]) { s.absent.clear() })
}

// DropAll removes everything, and makes all lookups that are reading now read again.
func (c *Cache[V]) DropAll() {
	c.changeAll(func(s *shard[V]) {
		s.present.clear()
		s.absent.clear()
	})
}

// changeAll calls change for one shard after the other, with a new generation of all its digests.
func (c *Cache[V]) changeAll(change func(*shard[V])) {
	if c == nil {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for j := range s.generations {
			s.generations[j]++
		}
		change(s)
		s.mu.Unlock()
	}
}

// Evict removes the record of d without a new generation, as a full cache does to make
// space. Tests call it so that the next lookup reads the database.
func (c *Cache[V]) Evict(d Digest) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present.drop(d)
}

// Size returns how many records are cached, and how many bytes of the limit they use.
// Tests call it.
func (c *Cache[V]) Size() (records int, bytes int64) {
	if c == nil {
		return 0, 0
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		records, bytes = records+s.present.live(), bytes+s.present.used
		s.mu.Unlock()
	}
	return records, bytes
}

// Stats says what a cache holds, and how useful it is.
type Stats struct {
	Hits    uint64 // lookups that the cache has answered, since New
	Misses  uint64 // records that were looked for in the database, since New
	Entries int    // records, and digests without a record
	Bytes   int64  // of the limits that the entries use
}

// Stats returns the current Stats.
func (c *Cache[V]) Stats() (sum Stats) {
	if c == nil {
		return Stats{}
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		sum.Hits, sum.Misses = sum.Hits+s.hits, sum.Misses+s.misses
		sum.Entries += s.present.live() + s.absent.live()
		sum.Bytes += s.present.used + s.absent.used
		s.mu.Unlock()
	}
	return sum
}
