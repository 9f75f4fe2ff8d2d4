package storemetrics

import "github.com/prometheus/client_golang/prometheus"

// The beginning of every metric's name.
const (
	namespace = "caddy"
	subsystem = "speechgate"
)

func newCounters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
}

// gauge is a metric whose value is found out at a scrape.
type gauge struct{ desc *prometheus.Desc }

func newGauge(name, help string, labels ...string) gauge {
	return gauge{prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)}
}

// of returns the metric with a value.
func (g gauge) of(value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, value, labels...)
}

// The metrics whose values are found out at a scrape.
var (
	streams         = newGauge("live_streams", "Live streams now, also those that wait for their first start command.")
	storeUp         = newGauge("store_up", "1 if the keystore is open and its change feed was read lately, otherwise 0.")
	storeBytes      = newGauge("store_bytes", "Size of the keystore's file.")
	walBytes        = newGauge("store_wal_bytes", "Size of the keystore's write-ahead log.")
	diskFree        = newGauge("store_disk_free_bytes", "Free space on the keystore's disk.")
	cacheAge        = newGauge("cache_age_seconds", "Time since the change feed of the keystore was read: how old what the gates know can be at most.")
	cacheBytes      = newGauge("cache_bytes", "Memory of cached records, by what is cached.", "cache")
	cacheEntries    = newGauge("cache_entries", "Cached records, by what is cached.", "cache")
	replicaReadable = newGauge("replica_readable", "1 if lookups can read the replica while the database is away, otherwise 0.")
	replicaServing  = newGauge("replica_serving", "1 if records come from the replica, because the database is away, otherwise 0.")
	replicaFilling  = newGauge("replica_filling", "1 if the replica is filled and not complete yet, otherwise 0.")
	replicaAge      = newGauge("replica_age_seconds", "Time since the replica was last known to have all changes.")
	replicaKeys     = newGauge("replica_keys", "Keys in the replica.")
	replicaBytes    = newGauge("replica_bytes", "Size of the replica's file, with its write-ahead log.")
	jobs            = newGauge("jobs", "Recorded jobs, by the state that a poll has seen last.", "state")
	onGrace         = newGauge("jobs_on_grace", "Jobs whose key has expired, and that the key may still read.")
	unsent          = newGauge("jobs_unsent", "Jobs that were recorded at this site while the database did not answer, and are not in the database: waiting, refused by it, or foreign, of another keystore.", "state")
	expiring        = newGauge("keys_expiring", "Keys that end within a time: 1d, 7d or 30d.", "within")
	keyNeeded       = newGauge("upstream_key_needed", "What still needs an upstream key, by the position of the key in upstream_key: jobs, tokens, streams and requests.", "backend", "position", "by")
	keyUsed         = newGauge("upstream_key_last_used_timestamp_seconds", "When the process has used an upstream key last.", "backend", "position")
	censusAge       = newGauge("census_age_seconds", "Time since jobs and keys_expiring were counted.")

	gauges = []gauge{
		streams, storeUp, storeBytes, walBytes, diskFree, cacheAge, cacheBytes, cacheEntries,
		replicaReadable, replicaServing, replicaFilling, replicaAge, replicaKeys, replicaBytes, jobs, onGrace, unsent, expiring, keyNeeded, keyUsed, censusAge,
	}
)
