package caddymodule

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// decisions outlives reloads, unlike the registries it is registered with.
var decisions = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "speechgate",
	Name:      "decisions_total",
	Help:      "Requests decided, by backend name, operation and reason.",
}, []string{"backend", "operation", "reason"})

func registerMetrics(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	err := registry.Register(decisions)
	if errors.As(err, &prometheus.AlreadyRegisteredError{}) {
		return nil
	}
	return err
}
