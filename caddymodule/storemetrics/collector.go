package storemetrics

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Source is what the running configuration gives to a [Collector].
type Source struct {
	// Now is the time of the process.
	Now func() policy.Time
	// Store returns the keystore, and a function that must be called after its use. The
	// keystore is nil if it is not open.
	Store func() (store *keystore.Store, release func())
	// Graces has the grace windows of the gates, by backend name.
	Graces map[string][]policy.Grace
	// Streams returns the number of live streams.
	Streams func() int
	// Upstreams are the upstream keys of the gates, by backend name.
	Upstreams []upstreamkey.Backend
	// KeyUses tells how the process uses them.
	KeyUses *upstreamkey.Uses
}

// Collector is the collector of the keystore's metrics. It survives reloads: each configuration
// has a registry, and the Collector is registered with all of them. Use tells it which
// configuration runs.
type Collector struct {
	writeSeconds prometheus.Histogram
	writeErrors  *prometheus.CounterVec
	cacheHits    *prometheus.CounterVec
	cacheMisses  *prometheus.CounterVec
	issued       *prometheus.CounterVec
	ended        *prometheus.CounterVec

	mu      sync.Mutex // held during a scrape
	sources []*Source  // of the configurations that have started, the oldest first
	caches  cacheCounts
	census  census
}

// New returns a Collector that has no source.
func New() *Collector {
	c := &Collector{
		writeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "store_write_seconds",
			Help: "Time of the keystore's transactions that write, with the waits for other processes and for the disk.",
			// Classic buckets are for a Prometheus that does not read native histograms.
			Buckets:                         []float64{250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 5},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}),
		writeErrors: newCounters("store_write_errors_total", "Writes to the keystore that failed, by cause.", "cause"),
		cacheHits:   newCounters("cache_hits_total", "Lookups that the cache answered, by what is cached.", "cache"),
		cacheMisses: newCounters("cache_misses_total", "Records that were looked for in the database, by what is cached.", "cache"),
		issued:      newCounters("keys_issued_total", "Keys issued since the server started, by every process, by the issuer.", "by"),
		ended:       newCounters("keys_ended_total", "Keys that have ended since the server started, by how they ended.", "how"),
	}
	for _, cause := range keystore.WriteFaults() {
		c.writeErrors.WithLabelValues(string(cause))
	}
	for _, cache := range keystore.CacheNames() {
		c.cacheHits.WithLabelValues(cache)
		c.cacheMisses.WithLabelValues(cache)
	}
	for _, by := range keystore.Issuers() {
		c.issued.WithLabelValues(string(by))
	}
	for _, how := range keystore.KeyEnds() {
		c.ended.WithLabelValues(string(how))
	}
	return c
}

// Use makes the Collector tell of this source until Drop. Keys that are issued or end from now on
// are counted.
func (c *Collector) Use(source *Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources = append(c.sources, source)
	c.census.begin(source)
}

// Drop ends the use of a source. The Collector tells of the source that was used before, if it is
// still in use: the configuration of that source goes on if the start of the next one fails.
func (c *Collector) Drop(source *Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources = slices.DeleteFunc(c.sources, func(s *Source) bool { return s == source })
}

// source returns the source to tell of, or nil. The caller holds mu.
func (c *Collector) source() *Source {
	if len(c.sources) == 0 {
		return nil
	}
	return c.sources[len(c.sources)-1]
}

// Wrote counts a transaction of a keystore. It is the Wrote of keystore.Config.
func (c *Collector) Wrote(w keystore.Written) {
	if w.Took > 0 {
		c.writeSeconds.Observe(w.Took.Seconds())
	}
	if w.Failed > 0 {
		c.writeErrors.WithLabelValues(string(w.Cause)).Add(float64(w.Failed))
	}
}

// counters are the metrics that count events.
func (c *Collector) counters() []prometheus.Collector {
	return []prometheus.Collector{c.writeSeconds, c.writeErrors, c.cacheHits, c.cacheMisses, c.issued, c.ended}
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, counter := range c.counters() {
		counter.Describe(ch)
	}
	for _, g := range gauges {
		ch <- g.desc
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if source := c.source(); source != nil {
		ch <- streams.of(float64(source.Streams()))
		c.collectStore(ch, source)
	}
	for _, counter := range c.counters() {
		counter.Collect(ch)
	}
}

// collectStore tells how the keystore works, and what is counted in it.
func (c *Collector) collectStore(ch chan<- prometheus.Metric, source *Source) {
	store, release := source.Store()
	defer release()
	if store == nil {
		ch <- storeUp.of(0)
		return
	}
	stats := store.Stats()
	ch <- storeUp.of(oneIf(stats.Open))
	ch <- cacheAge.of(stats.Age.Seconds())
	if stats.Bytes >= 0 {
		ch <- storeBytes.of(float64(stats.Bytes))
		ch <- walBytes.of(float64(stats.LogBytes))
	}
	if stats.FreeBytes >= 0 {
		ch <- diskFree.of(float64(stats.FreeBytes))
	}
	for _, cache := range stats.Caches {
		hits, misses := c.caches.since(store, &cache)
		c.cacheHits.WithLabelValues(cache.Name).Add(float64(hits))
		c.cacheMisses.WithLabelValues(cache.Name).Add(float64(misses))
		ch <- cacheBytes.of(float64(cache.Bytes), cache.Name)
		ch <- cacheEntries.of(float64(cache.Entries), cache.Name)
	}
	if stats.Replica != nil {
		collectReplica(ch, stats.Replica)
	}
	collectUnsent(ch, store)
	c.collectCensus(ch, source)
	c.collectKeys(ch, source, store)
}

// collectReplica tells how the replica works.
func collectReplica(ch chan<- prometheus.Metric, stats *keystore.ReplicaStats) {
	ch <- replicaReadable.of(oneIf(stats.Readable))
	ch <- replicaServing.of(oneIf(stats.Serving))
	ch <- replicaFilling.of(oneIf(stats.Filling))
	if stats.Age >= 0 {
		ch <- replicaAge.of(stats.Age.Seconds())
	}
	ch <- replicaKeys.of(float64(stats.Keys))
	ch <- replicaBytes.of(float64(stats.Bytes))
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// unsentWithin is how long the count of unsent jobs may take.
const unsentWithin = 2 * time.Second

// collectUnsent counts the jobs that wait at this site. If they cannot be counted, the metric is not there.
func collectUnsent(ch chan<- prometheus.Metric, store *keystore.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), unsentWithin)
	defer cancel()
	n, ok, err := store.WaitingJobs(ctx)
	if !ok || err != nil {
		return
	}
	ch <- unsent.of(float64(n.Waiting), "waiting")
	ch <- unsent.of(float64(n.Refused), "refused")
	ch <- unsent.of(float64(n.Foreign), "foreign")
}

// cacheCounts has the counts of the caches at the last scrape. A store that is opened later
// counts from zero.
type cacheCounts struct {
	store *keystore.Store
	last  map[string]keystore.CacheStats
}

// since returns the hits and misses since the last call for this cache.
func (c *cacheCounts) since(store *keystore.Store, now *keystore.CacheStats) (hits, misses uint64) {
	if c.store != store {
		c.store, c.last = store, make(map[string]keystore.CacheStats)
	}
	before := c.last[now.Name]
	c.last[now.Name] = *now
	return now.Hits - before.Hits, now.Misses - before.Misses
}
