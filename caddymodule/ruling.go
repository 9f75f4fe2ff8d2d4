package caddymodule

import (
	"errors"
	"net/http"
	"net/netip"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

// ruling is a decision as it is counted, logged and put into placeholders.
type ruling struct {
	tally     *tally // of the gate's backend name
	operation policy.Operation
	reason    policy.Reason
	holder    holder
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
	for _, collector := range []prometheus.Collector{decisions, drained} {
		err := registry.Register(collector)
		if err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return err
		}
	}
	return nil
}

// tally has the counters of a backend name's decisions, each found once.
type tally struct {
	backend string
	found   [1 << 4][1 << 5]atomic.Pointer[prometheus.Counter] // by operation and reason
}

func (t *tally) count(op policy.Operation, reason policy.Reason) {
	if int(op) >= len(t.found) || int(reason) >= len(t.found[0]) {
		decisions.WithLabelValues(t.backend, op.String(), reason.String()).Inc()
		return
	}
	place := &t.found[op][reason]
	counter := place.Load()
	if counter == nil {
		found := decisions.WithLabelValues(t.backend, op.String(), reason.String())
		counter = &found
		place.Store(counter)
	}
	(*counter).Inc()
}

// The placeholders of a decision.
const (
	placeholderKey       = "speechgate.key_id"
	placeholderAccount   = "speechgate.account_id"
	placeholderOperation = "speechgate.operation"
	placeholderReason    = "speechgate.reason"
	placeholderUser      = "http.auth.user.id" // Caddy's own, in access logs as user_id
)

func (d *ruling) placeholder(name string) (any, bool) {
	switch name {
	case placeholderKey:
		return d.holder.key, true
	case placeholderAccount:
		return d.holder.account, true
	case placeholderOperation:
		return d.operation.String(), true
	case placeholderReason:
		return d.reason.String(), true
	case placeholderUser:
		// A client whose request the backend refuses for the gate's key is known.
		return d.holder.account, d.reason.OK() || d.reason == policy.UpstreamRefused
	}
	return nil, false
}

// publish counts the decision and sets the placeholders, which go on to show what d
// is.
func (d *ruling) publish(r *http.Request) {
	d.tally.count(d.operation, d.reason)
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	// A placeholder is worked out when somebody asks for it. A function that does so
	// yields to what was set before. So the placeholders are set if this is not the
	// first decision on the request, if another handler has named a user, and for
	// streams, whose decisions may come while others read.
	_, again := repl.Get(placeholderReason)
	_, named := repl.Get(placeholderUser)
	if !named && !again && d.operation != policy.Stream {
		repl.Map(d.placeholder)
		return
	}
	for _, name := range []string{placeholderKey, placeholderAccount, placeholderOperation, placeholderReason, placeholderUser} {
		if value, ok := d.placeholder(name); ok {
			repl.Set(name, value)
		}
	}
}

func (d *ruling) logFields() []zap.Field {
	client := ""
	if d.client.IsValid() {
		client = d.client.String()
	}
	return []zap.Field{
		zap.Stringer("reason", d.reason),
		zap.Stringer("operation", d.operation),
		zap.String("key_id", d.holder.key),
		zap.String("account_id", d.holder.account),
		zap.String("client_ip", client),
		zap.String("backend", d.tally.backend),
	}
}
