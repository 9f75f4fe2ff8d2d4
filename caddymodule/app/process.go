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

// process is the state of one server that survives reloads: each configuration takes it over
// from the configuration before.
type process struct {
	clock   *keystore.Clock      // says whether an instant has passed
	stores  *caddy.UsagePool     // the open keystores, by their settings
	streams *livestream.Registry // the live streams
	heads   *headbudget.Memory   // of requests whose keys have not been checked yet
	drains  *drain.Set           // the refused uploads that are being read
	metrics *handler.Metrics
}

// processes holds a *process for each server, by the name of the server's storage. Caddy
// runs one server in a process. Tests run several servers, each with its own storage. An
// entry is never removed, because a server must keep its clock even if it runs without the
// gateway for a while.
var processes sync.Map

// processOf returns the process of the server that uses a storage.
func processOf(storage certmagic.Storage) *process {
	name := ""
	if named, ok := storage.(fmt.Stringer); ok {
		name = named.String()
	}
	if p, ok := processes.Load(name); ok {
		return p.(*process) //nolint:forcetypeassert // the map has no other values
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
		drains:  drain.NewSet(caddy.Exiting),
		metrics: handler.NewMetrics(),
	}
}

// StreamsOf returns the live streams of the server that uses a storage.
func StreamsOf(storage certmagic.Storage) *livestream.Registry { return processOf(storage).streams }

// register adds the metrics of the process to the registry of a configuration.
func (p *process) register(registry *prometheus.Registry) error {
	if registry == nil {
		return nil
	}
	return p.metrics.Register(registry, p.drains.Ended)
}
