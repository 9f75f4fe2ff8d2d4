package handler

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/speechgate/speechgate/caddymodule/events"
	"github.com/speechgate/speechgate/internal/refusals"
	"github.com/speechgate/speechgate/policy"
)

// Metrics counts the decisions of a server. It survives reloads: each configuration has a
// registry, and Metrics is registered with all of them.
type Metrics struct {
	decisions       *prometheus.CounterVec
	seconds         *prometheus.HistogramVec
	upstreamRefused *prometheus.CounterVec
	throttled       prometheus.Counter
	limits          *prometheus.CounterVec

	events   *events.Queue
	refusals refusals.Feed
}

// The limits that the metric caddy_speechgate_limits_met_total shows beside those of keys and
// accounts, which [policy.LimitNames] lists.
const (
	limitHeads    = "heads"    // of the memory for form heads and start commands
	limitIssuance = "issuance" // of a caller of the issuance API
	limitStreams  = "streams"  // of live streams: of the gate, of the key or of the account
)

// NewMetrics returns Metrics that have counted no decision. They are not registered yet. The queue
// gets the events of decisions; nil: nobody gets them.
func NewMetrics(queue *events.Queue) *Metrics {
	m := &Metrics{
		events:    queue,
		decisions: newCounters("decisions_total", "Requests decided, by backend name, operation and reason.", "backend", "operation", "reason"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: "speechgate", Name: "decision_seconds",
			Help: "Time that a decision took, by operation: without the time in which the client sends the head of its form.",
			// Classic buckets are for a Prometheus that does not read native histograms.
			Buckets:                         []float64{2e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 5e-3, 25e-3, 100e-3, 1},
			NativeHistogramBucketFactor:     1.1,
			NativeHistogramMaxBucketNumber:  160,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"operation"}),
		upstreamRefused: newCounters("upstream_refused_total", "Answers in which the backend refused the upstream key, by backend name.", "backend"),
		throttled: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "caddy", Subsystem: "speechgate", Name: "throttled_total",
			Help: "Calls of the issuance API that were refused because too many calls from the address had failed.",
		}),
		limits: newCounters("limits_met_total", "Requests refused because of a limit, by the limit.", "limit"),
	}
	for _, limit := range limitWords() {
		m.limits.WithLabelValues(limit)
	}
	return m
}

// limitWords returns every limit, as the metric and the events name it.
func limitWords() []string {
	all := []string{limitHeads, limitIssuance, limitStreams}
	for _, limit := range policy.LimitNames() {
		all = append(all, limit.String())
	}
	return all
}

func newCounters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "caddy", Subsystem: "speechgate", Name: name, Help: help}, labels)
}

// Collectors returns what has to be registered.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.decisions, m.seconds, m.upstreamRefused, m.throttled, m.limits}
}

// CountersOf returns the counters for a backend name.
func (m *Metrics) CountersOf(backend string) *DecisionCounters {
	c := &DecisionCounters{backend: backend, all: m}
	c.bounds.limits = make(map[string]*events.Bound)
	for _, limit := range limitWords() {
		c.bounds.limits[limit] = new(events.Bound)
	}
	return c
}

// DecisionCounters counts the decisions on requests for one backend name. It looks up each
// Prometheus counter once, because a look-up by labels is slow.
type DecisionCounters struct {
	backend string
	all     *Metrics
	known   [1 << 4][1 << 5]atomic.Pointer[prometheus.Counter] // by operation and reason
	seconds [1 << 4]atomic.Pointer[prometheus.Observer]        // by operation
	bounds  eventBounds
}

// ShowUpstreamRefusals makes the metric of refused upstream keys show the backend name before
// the first refusal, so that an alarm sees the first one.
func (c *DecisionCounters) ShowUpstreamRefusals() { c.all.upstreamRefused.WithLabelValues(c.backend) }

func (c *DecisionCounters) count(op policy.Operation, reason policy.Reason, limit policy.LimitName) {
	if !reason.OK() {
		c.countRefusal(op, reason, limit)
	}
	if int(op) >= len(c.known) || int(reason) >= len(c.known[0]) {
		c.all.decisions.WithLabelValues(c.backend, op.String(), reason.String()).Inc()
		return
	}
	cell := &c.known[op][reason]
	counter := cell.Load()
	if counter == nil {
		found := c.all.decisions.WithLabelValues(c.backend, op.String(), reason.String())
		counter = &found
		cell.Store(counter)
	}
	(*counter).Inc()
}

// countRefusal counts a refusal in the metric of its own that its reason has.
func (c *DecisionCounters) countRefusal(op policy.Operation, reason policy.Reason, limit policy.LimitName) {
	if met := limitOf(op, reason, limit); met != "" {
		c.all.limits.WithLabelValues(met).Inc()
		return
	}
	switch reason {
	case policy.UpstreamRefused:
		c.all.upstreamRefused.WithLabelValues(c.backend).Inc()
	case policy.Throttled:
		c.all.throttled.Inc()
	default:
	}
}

// limitOf returns the limit that refuses a request, as the metric and the events name it. It is
// empty if no limit does.
func limitOf(op policy.Operation, reason policy.Reason, limit policy.LimitName) string {
	switch {
	case limit != policy.NoLimit:
		return limit.String()
	case reason == policy.StreamLimit:
		return limitStreams
	case reason == policy.LimitReached && op == policy.IssueKey:
		return limitIssuance
	case reason == policy.LimitReached:
		return limitHeads
	}
	return ""
}

// observe notes how long a decision took.
func (c *DecisionCounters) observe(op policy.Operation, took time.Duration) {
	if int(op) >= len(c.seconds) {
		op = policy.Unlisted
	}
	cell := &c.seconds[op]
	observer := cell.Load()
	if observer == nil {
		found := c.all.seconds.WithLabelValues(op.String())
		observer = &found
		cell.Store(observer)
	}
	(*observer).Observe(took.Seconds())
}
