package keystore

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
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

// putTypicalJobs caches the records of n typical jobs.
func putTypicalJobs(t *testing.T, c *recordcache.Cache[struct{}], n int) {
	t.Helper()
	for i := range n {
		j := typicalJob(fmt.Sprintf("%036d", i))
		d := jobDigest(j.Backend, j.ID)
		p, err := packJob(&j, d)
		if err != nil {
			t.Fatal(err)
		}
		c.Put(d, c.Generation(d), struct{}{}, string(p))
	}
}

// perRecord is what one record of a cache takes, in bytes.
type perRecord struct {
	heap    float64 // of the Go heap
	counted float64 // of the cache's limit, which also covers the unused space of a full cache
}

// measure fills a cache of its own with n records.
func measure[V any](t *testing.T, n int, fill func(*testing.T, *recordcache.Cache[V], int)) perRecord {
	t.Helper()
	before := liveBytes()
	c := recordcache.New[V](int64(n)*600, 0)
	fill(t, c, n)
	heap := liveBytes() - before
	records, counted := c.Size()
	if records != n {
		t.Fatalf("%d records are cached, want %d", records, n)
	}
	runtime.KeepAlive(c)
	return perRecord{float64(heap) / float64(n), float64(counted) / float64(n)}
}

// addressBytes returns what an entry in a key's list of addresses adds to its record.
// format makes an address of a number up to 99.
func addressBytes(t *testing.T, format string) float64 {
	t.Helper()
	const n = 40
	length := func(allow string) int {
		k := typicalKey(t, 1)
		k.Allow = addrs(t, allow)
		r, err := newRecord(&k, digest{})
		if err != nil {
			t.Fatal(err)
		}
		return len(r.packed)
	}
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, format+",", 10+2*i)
	}
	return float64(length(strings.TrimSuffix(list.String(), ","))-length("")) / n
}

// docs/performance.md tells how much memory cached records take. No other page or
// comment tells it, so that the figures cannot differ. This test measures the heap, so
// it does not run in parallel.
func TestCache_TakesWhatTheDocsSay(t *testing.T) { //nolint:paralleltest // measures the heap
	const n = 100_000
	key, job := measure(t, n, putTypical), measure(t, n, putTypicalJobs)
	t.Logf("a key takes %.0f bytes, and is counted as %.0f; a job %.0f and %.0f", key.heap, key.counted, job.heap, job.counted)
	for what, r := range map[string]perRecord{"a key": key, "a job": job} {
		// A full cache has unused space in its chunks and lists: a third at most.
		if r.counted < r.heap || r.counted > r.heap*4/3 {
			t.Errorf("%s takes %.0f bytes, and is counted as %.0f", what, r.heap, r.counted)
		}
	}
	if key.heap > 180 || job.heap > 230 {
		t.Errorf("a key takes %.0f bytes and a job %.0f, want at most 180 and 230", key.heap, job.heap)
	}
	text, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile(`([\d,]+) bytes for a key in use, some ([\d,]+) more for each allowed IPv4 address and ([\d,]+) for each IPv6 address, and ([\d,]+) for a job. ` +
		"The default `cache_size` of 128 MiB holds some ([\\d,]+) keys and ([\\d,]+) jobs").FindSubmatch(text)
	if told == nil {
		t.Fatal("docs/performance.md does not tell what a cached record takes, or in other words than this test knows")
	}
	for i, measured := range []float64{
		key.heap, addressBytes(t, "203.0.113.%d"), addressBytes(t, "2001:db8::%d"), job.heap,
		defaultCacheBytes / 2 / key.counted, defaultCacheBytes * 3 / 8 / job.counted,
	} {
		figure, err := strconv.ParseFloat(strings.ReplaceAll(string(told[i+1]), ",", ""), 64)
		if err != nil || math.Abs(figure-measured) > measured/10 {
			t.Errorf("docs/performance.md says %s, and %.0f was measured", told[i+1], measured)
		}
	}
}
