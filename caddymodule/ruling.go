package caddymodule

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

// ruling is a decision as it is counted, logged and put into placeholders.
type ruling struct {
	backend   string // the gate's backend name
	operation policy.Operation
	reason    policy.Reason
	keyID     string // empty where there is no such key
	accountID string
	client    netip.Addr
}

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

// publish sets the placeholders and counts the decision.
func (d ruling) publish(r *http.Request) {
	decisions.WithLabelValues(d.backend, d.operation.String(), d.reason.String()).Inc()
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set("speechgate.key_id", d.keyID)
	repl.Set("speechgate.account_id", d.accountID)
	repl.Set("speechgate.reason", d.reason.String())
	repl.Set("speechgate.operation", d.operation.String())
}

func (d ruling) logFields() []zap.Field {
	client := ""
	if d.client.IsValid() {
		client = d.client.String()
	}
	return []zap.Field{
		zap.Stringer("reason", d.reason),
		zap.Stringer("operation", d.operation),
		zap.String("key_id", d.keyID),
		zap.String("account_id", d.accountID),
		zap.String("client_ip", client),
		zap.String("backend", d.backend),
	}
}
