package handler

import (
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/speechgate/speechgate/policy"
)

// Metrics counts the decisions of a server. It survives reloads: each configuration has a
// registry, and Metrics is registered with all of them.
type Metrics struct {
	decisions *prometheus.CounterVec
}

// NewMetrics returns Metrics that have counted no decision. They are not registered yet.
func NewMetrics() *Metrics {
	return &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "speechgate",
		Name:      "decisions_total",
		Help:      "Requests decided, by backend name, operation and reason.",
	}, []string{"backend", "operation", "reason"})}
}

// Register adds the metrics, and other collectors, to the registry of a configuration. If the
// registry has one of them already, this is not an error.
func (m *Metrics) Register(registry *prometheus.Registry, others ...prometheus.Collector) error {
	for _, collector := range append(others, m.decisions) {
		err := registry.Register(collector)
		if err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return err
		}
	}
	return nil
}

// CountersOf returns the counters for a backend name.
func (m *Metrics) CountersOf(backend string) *DecisionCounters {
	return &DecisionCounters{backend: backend, all: m.decisions}
}

// DecisionCounters counts the decisions on requests for one backend name. It looks up each
// Prometheus counter once, because a look-up by labels is slow.
type DecisionCounters struct {
	backend string
	all     *prometheus.CounterVec
	known   [1 << 4][1 << 5]atomic.Pointer[prometheus.Counter] // by operation and reason
}

func (c *DecisionCounters) count(op policy.Operation, reason policy.Reason) {
	if int(op) >= len(c.known) || int(reason) >= len(c.known[0]) {
		c.all.WithLabelValues(c.backend, op.String(), reason.String()).Inc()
		return
	}
	cell := &c.known[op][reason]
	counter := cell.Load()
	if counter == nil {
		found := c.all.WithLabelValues(c.backend, op.String(), reason.String())
		counter = &found
		cell.Store(counter)
	}
	(*counter).Inc()
}
