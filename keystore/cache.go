package keystore

import (
	"sync"

	"github.com/maypok86/otter/v2"
)

// cache holds records, and under the same rules the knowledge that there is no
// record. A nil cache holds nothing.
//
// The rule that keeps it right: whoever reads a record takes the generation of
// its digest first, and put refuses what was read under an older one. drop
// moves the generation. So a read that began before a change can neither put
// the old record back nor pass for a current one. Generations are kept for 256
// groups of digests, so that changes to some keys seldom make lookups of
// others read twice.
type cache[V any] struct {
	present *otter.Cache[digest, *V]
	absent  *otter.Cache[digest, struct{}] // nil where absence is not cached; apart, so that unknown keys push no record out
	groups  [256]group
}

type group struct {
	mu         sync.Mutex
	generation uint64
}

// newCache returns a cache of that many records and absences.
func newCache[V any](size, absences int) *cache[V] {
	c := &cache[V]{present: otter.Must(&otter.Options[digest, *V]{MaximumSize: size})}
	if absences > 0 {
		c.absent = otter.Must(&otter.Options[digest, struct{}]{MaximumSize: absences})
	}
	return c
}

// get returns the record; nil with ok is a known absence.
func (c *cache[V]) get(d digest) (v *V, ok bool) {
	if c == nil {
		return nil, false
	}
	if v, ok = c.present.GetIfPresent(d); ok || c.absent == nil {
		return v, ok
	}
	_, ok = c.absent.GetIfPresent(d)
	return nil, ok
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
func (c *cache[V]) put(d digest, generation uint64, v *V) bool {
	if c == nil {
		return true
	}
	g := &c.groups[d[0]]
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.generation != generation:
		return false
	case v != nil:
		c.present.Set(d, v)
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
	c.forget(d)
}

// dropIf forgets the records that match and lets no read under way pass.
// Nothing is put meanwhile, so no record escapes the search.
func (c *cache[V]) dropIf(match func(*V) bool) {
	if c == nil {
		return
	}
	defer c.moveAll()()
	var matching []digest
	for d, v := range c.present.All() {
		if match(v) {
			matching = append(matching, d)
		}
	}
	for _, d := range matching {
		c.forget(d)
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

func (c *cache[V]) forget(d digest) {
	c.present.Invalidate(d)
	if c.absent != nil {
		c.absent.Invalidate(d)
	}
}
