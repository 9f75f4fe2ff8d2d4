package keystore

import "sync"

// cache holds records, and under the same rules the knowledge that there is no
// record. A nil cache holds nothing.
//
// The rule that keeps it right: whoever reads a record takes the generation of
// its digest first, and put refuses what was read under an older one. drop
// moves the generation. So a read that began before a change can neither put
// the old record back nor pass for a current one. There are 256 generations, so
// that changes to some keys seldom make lookups of others read twice.
type cache[V any] struct {
	shards [shardCount]shard[V] // by the first byte of digests, which are evenly spread
}

// shardCount is enough for many cores, which need a shard for a moment only, unless
// it makes room just then, and few enough that the shards themselves stay in a core's
// own cache.
const shardCount = 16

type shard[V any] struct {
	mu          sync.Mutex // never held while something is read
	present     table[V]
	absent      table[struct{}] // apart, so that unknown keys push no record out
	generations [256 / shardCount]uint64
}

// generation is that of d among those of its shard.
func (s *shard[V]) generation(d digest) *uint64 { return &s.generations[d[0]/shardCount] }

// overtake lets no read under way pass.
func (s *shard[V]) overtake() {
	for i := range s.generations {
		s.generations[i]++
	}
}

// newCache returns a cache that takes about that many bytes for records and for
// absences, which are not remembered where that is none.
func newCache[V any](bytes, absences int64) *cache[V] {
	c := new(cache[V])
	c.setBytes(bytes, absences)
	return c
}

func (c *cache[V]) setBytes(bytes, absences int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.present.limit, s.absent.limit = bytes/int64(len(c.shards)), absences/int64(len(c.shards))
		s.mu.Unlock()
	}
}

func (c *cache[V]) shard(d digest) *shard[V] { return &c.shards[d[0]%shardCount] }

// known is what a cache knows.
type known uint8

const (
	unknown known = iota
	present       // there is a record
	absent        // there is none
)

// get returns the record and its text, if it is present.
func (c *cache[V]) get(d digest) (v V, text string, known known) {
	if c == nil {
		return v, "", unknown
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(d)
}

// get is [cache.get] for whoever holds mu.
func (s *shard[V]) get(d digest) (v V, text string, known known) {
	if found, text := s.present.get(d); found != nil {
		return *found, text, present
	}
	if found, _ := s.absent.get(d); found != nil {
		return v, "", absent
	}
	return v, "", unknown
}

// edit changes the record where it is cached.
func (c *cache[V]) edit(d digest, change func(*V)) {
	if c == nil {
		return
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, _ := s.present.get(d); found != nil {
		change(found)
	}
}

// generation is to be taken before a read whose result goes to put.
func (c *cache[V]) generation(d digest) uint64 {
	if c == nil {
		return 0
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.generation(d)
}

// put files what v points to and its text, which begins with d, or an absence for
// nil, and reports whether what was read under that generation may be used at all.
func (c *cache[V]) put(d digest, generation uint64, v *V, text string) bool {
	if c == nil {
		return true
	}
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s.generation(d) != generation {
		return false
	}
	if v == nil {
		s.absent.put(d, struct{}{}, string(d[:]))
	} else {
		s.present.put(d, *v, text)
	}
	return true
}

// drop forgets what is known of d.
func (c *cache[V]) drop(d digest) {
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

// dropIf forgets the records that match, and lets no read under way pass: what
// such a read puts into a shard before its turn is among what is searched, and
// after it the shard's generations have moved.
func (c *cache[V]) dropIf(match func(*V, string) bool) {
	if c == nil {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.overtake()
		s.present.dropIf(match)
		s.mu.Unlock()
	}
}

// dropAll forgets everything.
func (c *cache[V]) dropAll() {
	if c == nil {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.overtake()
		s.present.clear()
		s.absent.clear()
		s.mu.Unlock()
	}
}

// size is how many records are cached, and what they are counted as.
func (c *cache[V]) size() (records int, bytes int64) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		records, bytes = records+s.present.live(), bytes+s.present.taken
		s.mu.Unlock()
	}
	return records, bytes
}
