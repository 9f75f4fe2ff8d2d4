package app

import (
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/drain"
	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/keystore"
)

// process is what the configurations of one server share, one after the other: a
// reload replaces the configuration, and none of what is here.
type process struct {
	clock   *keystore.Clock      // says whether an instant has passed
	stores  *caddy.UsagePool     // the open keystores, by their settings
	streams *livestream.Registry // the live streams
	heads   *headbudget.Memory   // what forms hold in memory before their keys are judged
	drains  *drain.Set           // the refused uploads that are read on
	metrics *handler.Metrics
}

// processes holds a *process for each server, by the name of the server's storage.
// Caddy runs one server in a process; tests run several, each with a storage of its
// own. An entry is never removed: a server that is configured without the gateway for
// a while must not lose its clock.
var processes sync.Map

// processOf returns the process that uses a storage.
func processOf(storage certmagic.Storage) *process {
	name := ""
	if named, ok := storage.(fmt.Stringer); ok {
		name = named.String()
	}
	if p, ok := processes.Load(name); ok {
		return p.(*process) //nolint:forcetypeassert // nothing else is in the map
	}
	p, _ := processes.LoadOrStore(name, newProcess())
	return p.(*process)
}

func newProcess() *process {
	return &process{
		clock:   keystore.SystemClock(),
		stores:  caddy.NewUsagePool(),
		streams: livestream.NewRegistry(),
		heads:   headbudget.NewMemory(),
		drains:  drain.NewSet(),
		metrics: handler.NewMetrics(),
	}
}

// StreamsOf returns the live streams of the server that uses a storage.
func StreamsOf(storage certmagic.Storage) *livestream.Registry { return processOf(storage).streams }

// register adds the metrics of the process to a configuration's registry.
func (p *process) register(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	return p.metrics.Register(registry, p.drains.Ended)
}
