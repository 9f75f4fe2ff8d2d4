package keystore

import (
	"encoding/binary"
	"sync"

	"github.com/maypok86/otter/v2"
)

// entry is a pointer to what a cache holds.
type entry interface {
	comparable
	is(d digest) bool // whether d is its digest
	bytes() uint32    // the memory that it takes
}

// cache holds records, and under the same rules the knowledge that there is no
// record. A nil cache holds nothing.
//
// The rule that keeps it right: whoever reads a record takes the generation of
// its digest first, and put refuses what was read under an older one. drop
// moves the generation. So a read that began before a change can neither put
// the old record back nor pass for a current one. Generations are kept for 256
// groups of digests, so that changes to some keys seldom make lookups of
// others read twice.
type cache[V entry] struct {
	present *otter.Cache[shortName, V]
	absent  *otter.Cache[digest, struct{}] // nil where absence is not cached; apart, so that unknown keys push no record out
	groups  [256]group
}

type group struct {
	mu         sync.Mutex
	generation uint64
}

// shortName files a record, which has its whole digest itself: a second copy
// would be a seventh of the cache. Of two records with one name the later one
// takes the place.
type shortName uint64

func short(d digest) shortName { return shortName(binary.LittleEndian.Uint64(d[:])) }

// newCache returns a cache that takes about that many bytes for records and for
// absences.
func newCache[V entry](bytes, absences int64) *cache[V] {
	c := &cache[V]{present: otter.Must(&otter.Options[shortName, V]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ shortName, v V) uint32 { return nodeBytes + v.bytes() },
	})}
	if absences > 0 {
		c.absent = otter.Must(&otter.Options[digest, struct{}]{MaximumSize: max(int(absences/absenceBytes), 1)})
	}
	return c
}

// get returns the record; nil with ok is a known absence.
func (c *cache[V]) get(d digest) (v V, ok bool) {
	var none V
	if c == nil {
		return none, false
	}
	if v, ok = c.present.GetIfPresent(short(d)); ok && v.is(d) {
		return v, true
	}
	if c.absent == nil {
		return none, false
	}
	_, ok = c.absent.GetIfPresent(d)
	return none, ok
}

// generation is to be taken before a read whose result goes to put.
func (c *cache[V]) generation(d digest) uint64 {
	if c == nil {
		return 0
	}
	g := &c.groups[d[0]]
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.generation
}

// put files v, nil for an absence, and reports whether what was read under
// that generation may be used at all.
func (c *cache[V]) put(d digest, generation uint64, v V) bool {
	if c == nil {
		return true
	}
	var none V
	g := &c.groups[d[0]]
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.generation != generation:
		return false
	case v != none:
		c.present.Set(short(d), v)
	case c.absent != nil:
		c.absent.Set(d, struct{}{})
	}
	return true
}

// drop forgets what is known of d.
func (c *cache[V]) drop(d digest) {
	if c == nil {
		return
	}
	g := &c.groups[d[0]]
	g.mu.Lock()
	defer g.mu.Unlock()
	g.generation++
	c.present.Invalidate(short(d))
	if c.absent != nil {
		c.absent.Invalidate(d)
	}
}

// dropIf forgets the records that match and lets no read under way pass.
// Nothing is put meanwhile, so no record escapes the search.
func (c *cache[V]) dropIf(match func(V) bool) {
	if c == nil {
		return
	}
	defer c.moveAll()()
	var matching []shortName
	for name, v := range c.present.All() {
		if match(v) {
			matching = append(matching, name)
		}
	}
	for _, name := range matching {
		c.present.Invalidate(name)
	}
}

// dropAll forgets everything.
func (c *cache[V]) dropAll() {
	if c == nil {
		return
	}
	defer c.moveAll()()
	c.present.InvalidateAll()
	if c.absent != nil {
		c.absent.InvalidateAll()
	}
}

// moveAll locks every group and moves its generation; the result unlocks.
func (c *cache[V]) moveAll() (unlock func()) {
	for i := range c.groups {
		c.groups[i].mu.Lock()
		c.groups[i].generation++
	}
	return func() {
		for i := range c.groups {
			c.groups[i].mu.Unlock()
		}
	}
}
