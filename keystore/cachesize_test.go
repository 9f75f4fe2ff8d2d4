package keystore

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// The garbage collector would follow pointers in every value of the cache.
func TestCache_ValuesHaveNoPointers(t *testing.T) {
	t.Parallel()
	if kind := reflect.TypeFor[policy.Time]().Kind(); kind != reflect.Int64 {
		t.Errorf("the last use of a key is a %s in the cache, want an int64", kind)
	}
}

// liveBytes returns the bytes on the heap that are in use.
func liveBytes() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC() // sweeps what the first one has freed
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// putTypical caches the records of n typical keys.
func putTypical(t *testing.T, c *recordcache.Cache[policy.Time], n int) {
	t.Helper()
	random := rand.New(rand.NewPCG(3, 4))
	for i := range n {
		var d digest
		_, _ = source{random}.Read(d[:])
		k := typicalKey(t, i)
		r, err := newRecord(&k, d)
		if err != nil {
			t.Fatal(err)
		}
		c.Put(d, c.Generation(d), r.lastUsed, r.packed)
	}
}

func TestCache_AKeyTakesLittleMemory(t *testing.T) { //nolint:paralleltest // measures allocations
	const n = 100_000
	before := liveBytes()
	c := recordcache.New[policy.Time](n*400, 0)
	putTypical(t, c, n)
	each := (liveBytes() - before) / n
	records, counted := c.Size()
	if counted /= n; records != n {
		t.Fatalf("%d records are cached, want %d", records, n)
	}
	t.Logf("a key takes %d bytes, and is counted as %d", each, counted)
	if each > 180 {
		t.Errorf("a key takes %d bytes, want at most 180", each)
	}
	// A third is for what is dead among the texts, and for lists that a full cache has.
	if counted < each || counted > each*4/3 {
		t.Errorf("a key takes %d bytes, and is counted as %d", each, counted)
	}
	runtime.KeepAlive(c)

	before = liveBytes()
	jobs := recordcache.New[struct{}](n*600, 0)
	for i := range n {
		j := typicalJob(fmt.Sprintf("%036d", i))
		d := jobDigest(j.Backend, j.ID)
		r, err := packJob(&j, d)
		if err != nil {
			t.Fatal(err)
		}
		jobs.Put(d, jobs.Generation(d), struct{}{}, string(r))
	}
	if each = (liveBytes() - before) / n; each > 230 {
		t.Errorf("a job takes %d bytes, want at most 230", each)
	}
	_, counted = jobs.Size()
	counted /= n
	t.Logf("a job takes %d bytes, and is counted as %d", each, counted)
	if counted < each || counted > each*4/3 {
		t.Errorf("a job takes %d bytes, and is counted as %d", each, counted)
	}
	runtime.KeepAlive(jobs)
}
