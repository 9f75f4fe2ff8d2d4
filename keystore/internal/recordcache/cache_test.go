package recordcache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// item is the value of the records in these tests.
type item struct{ value int }

const someBytes = 1 << 20 // enough for all records of a test

// put caches an item as a lookup does that no change overtakes.
func put(c *Cache[item], d Digest, value int) bool {
	return c.Put(d, c.Generation(d), item{value}, string(d[:]))
}

func putAbsent(c *Cache[item], d Digest) bool { return c.PutAbsent(d, c.Generation(d)) }

// look returns what the cache knows about d: a value, "absent" or "unknown".
func look(c *Cache[item], d Digest) string {
	switch e := c.Get(d); e.State {
	case Present:
		return fmt.Sprint(e.Value.value)
	case Absent:
		return "absent"
	}
	return "unknown"
}

func TestCache_SimilarDigestsAreApart(t *testing.T) {
	t.Parallel()
	base := Digest{1, 2, 3, 31: 9}
	first, last := base, base
	first[0]++
	last[31]++
	c := New[item](someBytes, someBytes)
	put(c, base, 1)
	putAbsent(c, last)
	for d, want := range map[Digest]string{base: "1", last: "absent", first: "unknown"} {
		if got := look(c, d); got != want {
			t.Errorf("%x: %s, want %s", d, got, want)
		}
	}
	// base and last have the same hash.
	put(c, last, 2)
	if got := look(c, last) + look(c, base); got != "21" {
		t.Errorf("last and base: %s", got)
	}
	c.Drop(base)
	if got := look(c, last) + look(c, base); got != "2unknown" {
		t.Errorf("last, and base, which was dropped: %s", got)
	}
}

func TestCache_GenerationRule(t *testing.T) {
	t.Parallel()
	d := Digest{7}
	record := string(d[:])
	for name, change := range map[string]func(*Cache[item]){
		"Drop":                    func(c *Cache[item]) { c.Drop(d) },
		"DropAll":                 func(c *Cache[item]) { c.DropAll() },
		"DropAbsences":            func(c *Cache[item]) { c.DropAbsences() },
		"DropIf, matching or not": func(c *Cache[item]) { c.DropIf(func(*item, string) bool { return false }) },
	} {
		c := New[item](someBytes, someBytes)
		old := c.Generation(d)
		change(c)
		if c.Put(d, old, item{1}, record) {
			t.Errorf("%s: a record that was read before it was put", name)
		}
		if look(c, d) != "unknown" {
			t.Errorf("%s: a record that was read before it is in the cache", name)
		}
		if c.PutAbsent(d, old) || look(c, d) != "unknown" {
			t.Errorf("%s: an absence that was read before it was put", name)
		}
		if !put(c, d, 1) {
			t.Errorf("%s: a record that was read after it was refused", name)
		}
	}
}

func TestCache_DropAbsencesKeepsRecords(t *testing.T) {
	t.Parallel()
	d := Digest{7}
	c := New[item](someBytes, someBytes)
	put(c, d, 1)
	if c.DropAbsences(); look(c, d) != "1" {
		t.Error("DropAbsences dropped a record")
	}
}

func TestCache_DropIfDropsWhatMatches(t *testing.T) {
	t.Parallel()
	d := Digest{7}
	c := New[item](someBytes, 0)
	put(c, d, 1)
	c.DropIf(func(v *item, _ string) bool { return v.value != 1 })
	if look(c, d) != "1" {
		t.Error("DropIf dropped a record that does not match")
	}
	c.DropIf(func(v *item, _ string) bool { return v.value == 1 })
	if look(c, d) != "unknown" {
		t.Error("DropIf kept a record that matches")
	}
}

func TestCache_AChangeRepeatsFewOtherLookups(t *testing.T) {
	t.Parallel()
	d := Digest{7}
	c := New[item](someBytes, 0)
	repeated := 0
	for first := range 256 {
		g := c.Generation(d)
		c.Drop(Digest{byte(first), 1})
		if !c.Put(d, g, item{1}, string(d[:])) {
			repeated++
		}
	}
	if repeated != 1 {
		t.Errorf("changes to %d of 256 keys made a lookup of another read again, want 1", repeated)
	}
}

// Evict is no change: the lookups that are reading need not read again.
func TestCache_EvictKeepsTheGeneration(t *testing.T) {
	t.Parallel()
	d := Digest{7}
	c := New[item](someBytes, 0)
	put(c, d, 1)
	g := c.Generation(d)
	c.Evict(d)
	if look(c, d) != "unknown" {
		t.Error("the record is still cached")
	}
	if !c.Put(d, g, item{1}, string(d[:])) {
		t.Error("a lookup that was reading meanwhile was refused")
	}
}

func TestCache_UpdateChangesACachedValue(t *testing.T) {
	t.Parallel()
	d := Digest{7}
	c := New[item](someBytes, someBytes)
	add := func(v *item) { v.value++ }
	c.Update(d, add)
	if look(c, d) != "unknown" {
		t.Error("Update of a record that is not cached made one")
	}
	put(c, d, 1)
	if c.Update(d, add); look(c, d) != "2" {
		t.Errorf("after Update: %s, want 2", look(c, d))
	}
}

func TestCache_NilKeepsNothing(t *testing.T) {
	t.Parallel()
	var c *Cache[item]
	other := New[item](someBytes, someBytes)
	d := Digest{7}
	put(other, d, 1)
	if !put(c, d, 1) || !putAbsent(c, d) || look(c, d) != "unknown" {
		t.Error("a nil cache refused a record, or knows one")
	}
	if a, b := GetBoth(c, d, other, d); a.State != Unknown || b.Value.value != 1 {
		t.Errorf("GetBoth of nil and another returned %+v and %+v", a, b)
	}
	if a, b := GetBoth(other, d, c, d); a.Value.value != 1 || b.State != Unknown {
		t.Errorf("GetBoth of another and nil returned %+v and %+v", a, b)
	}
	c.Update(d, func(*item) { t.Error("Update found a record") })
	c.Drop(d)
	c.DropIf(func(*item, string) bool { return true })
	c.DropAll()
	if records, bytes := c.Size(); records != 0 || bytes != 0 {
		t.Errorf("%d records of %d bytes", records, bytes)
	}
}

// GetBoth returns what two calls of Get return.
func TestGetBoth_IsGetTwice(t *testing.T) {
	t.Parallel()
	a, b := New[item](someBytes, someBytes), New[struct{}](someBytes, 0)
	present, absent, unknown := Digest{1}, Digest{2}, Digest{3}
	for _, d := range []Digest{present, absent} {
		b.Put(d, 0, struct{}{}, string(d[:])+"job")
	}
	put(a, present, 1)
	putAbsent(a, absent)
	for _, d1 := range []Digest{present, absent, unknown} {
		for _, d2 := range []Digest{present, absent, unknown} {
			e1, e2 := GetBoth(a, d1, b, d2)
			if e1 != a.Get(d1) || e2 != b.Get(d2) {
				t.Errorf("of %x and %x: %+v and %+v, want %+v and %+v", d1[0], d2[0], e1, e2, a.Get(d1), b.Get(d2))
			}
		}
	}
}

func TestCache_UnknownKeysEvictNoRecord(t *testing.T) {
	t.Parallel()
	const bytes = 1 << 20
	c := New[item](bytes, bytes)
	for i := range 50 {
		put(c, Digest{byte(i)}, i)
	}
	for i := range 100_000 {
		putAbsent(c, Digest{0: byte(i), 1: byte(i >> 8), 2: byte(i >> 16), 3: 1})
	}
	var absences int64
	for i := range c.shards {
		absences += c.shards[i].absent.used
	}
	if absences > bytes || absences < bytes/2 {
		t.Errorf("absences take %d bytes of %d", absences, bytes)
	}
	for i := range 50 {
		if got := look(c, Digest{byte(i)}); got != fmt.Sprint(i) {
			t.Fatalf("record %d: %s", i, got)
		}
	}
}

// Lookups and changes run at once. A lookup that begins after a change was made never
// returns the value before it.
func TestCache_NoLookupReturnsAnOldValue(t *testing.T) {
	t.Parallel()
	c := New[item](64*shardCount*100, someBytes) // too small for all
	var database [300]atomic.Int64               // the value of each record
	lookup := func(i int) int64 {
		d := digestOf(i)
		if e := c.Get(d); e.State == Present {
			return int64(e.Value.value)
		}
		for {
			g := c.Generation(d)
			value := database[i].Load()
			if c.Put(d, g, item{int(value)}, string(d[:])) {
				return value
			}
		}
	}
	var wg sync.WaitGroup
	var stop atomic.Bool
	for range 3 {
		wg.Go(func() {
			for !stop.Load() {
				i := rand.IntN(len(database))
				before := database[i].Load()
				if got := lookup(i); got < before-1 {
					t.Errorf("record %d: found %d, long after it became %d", i, got, before)
					return
				}
			}
		})
	}
	for range 20_000 {
		i := rand.IntN(len(database))
		value := database[i].Add(1)
		c.Drop(digestOf(i))
		if got := lookup(i); got != value {
			t.Errorf("record %d: found %d after it became %d", i, got, value)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
}

func TestCache_SizeCountsAllShards(t *testing.T) {
	t.Parallel()
	c := New[item](someBytes, someBytes)
	for i := range shardCount {
		put(c, Digest{byte(i)}, i)
	}
	putAbsent(c, Digest{0, 1})
	want := shardCount * c.shards[0].present.cost(len(Digest{}))
	if records, bytes := c.Size(); records != shardCount || bytes != want {
		t.Errorf("%d records of %d bytes, want %d of %d", records, bytes, shardCount, want)
	}
}

// A key that was unknown is no longer absent once it was issued.
func TestCache_DropForgetsAnAbsence(t *testing.T) {
	t.Parallel()
	d := Digest{7}
	for name, change := range map[string]func(*Cache[item]){
		"Drop":         func(c *Cache[item]) { c.Drop(d) },
		"DropAll":      func(c *Cache[item]) { c.DropAll() },
		"DropAbsences": func(c *Cache[item]) { c.DropAbsences() },
	} {
		c := New[item](someBytes, someBytes)
		putAbsent(c, d)
		if got := look(c, d); got != "absent" {
			t.Fatalf("before %s it is %s", name, got)
		}
		if change(c); look(c, d) != "unknown" {
			t.Errorf("after %s it is %s, want unknown", name, look(c, d))
		}
	}
}
