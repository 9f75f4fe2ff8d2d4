package app

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/speechgate/speechgate/caddymodule/events"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/caddymodule/storemetrics"
	"github.com/speechgate/speechgate/internal/drain"
	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/keystore"
)

// process is the state of this process. All configurations use the same value, so that the
// state survives every reload.
type process struct {
	clock   *keystore.Clock         // says whether an instant has passed
	stores  *caddy.UsagePool        // the open keystores, by their settings
	streams *livestream.Registry    // the live streams
	heads   *headbudget.Memory      // the memory of form heads whose keys have not been checked yet
	limits  *limits.Counters        // what keys and accounts with limits use
	drains  *drain.Set              // the refused uploads that are being read
	canary  handler.Canaries        // the canaries of doctor
	console *signin.Service         // who signs in at the console
	shares  *share.Exchange         // makes the process count together with other gateways
	audits  auditLogs               // where the logs of the audit trails are
	started atomic.Bool             // a configuration has started, so the next one is a reload
	events  *events.Queue           // what subscribers are told
	metrics *handler.Metrics        // of decisions
	store   *storemetrics.Collector // the metrics of the keystore and the live streams

	upstreamKeys UpstreamKeyMask  // masks the keys in log entries
	keyUses      upstreamkey.Uses // the uses of the upstream keys
}

// theProcess returns the state of this process. Caddy passes nothing from one configuration
// to the next, so the state is in this variable. The gateway has no other variable with state:
// other packages get the state from this one. The state is never discarded, because the clock
// must not go back even if the server runs without the gateway for a while.
var theProcess = sync.OnceValue(func() *process {
	clock := keystore.SystemClock()
	queue := events.NewQueue(clock.Now)
	p := &process{
		clock:   clock,
		stores:  caddy.NewUsagePool(),
		streams: livestream.NewRegistry(),
		heads:   headbudget.NewMemory(),
		limits:  limits.New(),
		drains:  drain.NewSet(caddy.Exiting),
		console: signin.New(),
		shares:  share.NewExchange(clock.Now),
		events:  queue,
		metrics: handler.NewMetrics(queue),
		store:   storemetrics.New(),
	}
	p.shares.Add(share.Requests, p.limits)
	p.shares.Add(share.Streams, p.streams)
	for kind, tries := range p.console.Tries(p.shares.Name) {
		p.shares.Add(kind, tries)
	}
	return p
})

// Streams returns the live streams of this process, of all configurations.
func Streams() *livestream.Registry { return theProcess().streams }

// Canaries returns the canaries that the gates of this process expect.
func Canaries() *handler.Canaries { return &theProcess().canary }

// register adds the metrics of the process to the registry of a configuration. The registry can
// have them already.
func (p *process) register(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	for _, collector := range append(p.metrics.Collectors(), p.store, p.drains.Ended, p.events.Collector()) {
		err := registry.Register(collector)
		if err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return err
		}
	}
	return nil
}
