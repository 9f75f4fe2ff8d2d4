package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

// Explain tells the app the settings of a gate that decisions depend on.
func (a *App) Explain(gate manage.GateConfig) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.explains.Gates = append(a.explains.Gates, gate)
}

// ExplainIssuance tells the app the path of an issuance API.
func (a *App) ExplainIssuance(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.explains.IssuePaths = append(a.explains.IssuePaths, path)
}

// Gates returns what the decisions of this configuration depend on.
func (a *App) Gates() manage.GateConfigs {
	a.mu.Lock()
	defer a.mu.Unlock()
	return manage.GateConfigs{
		Gates: slices.Clone(a.explains.Gates), IssuePaths: slices.Clone(a.explains.IssuePaths),
		Upstreams: a.upstreams(), KeyUses: &a.process.keyUses,
	}
}

// AddProxyEndpoint tells the app that other proxies ask the configuration about requests.
func (a *App) AddProxyEndpoint() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = true
}

// AddConsole tells the app that the configuration has a console.
func (a *App) AddConsole() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pages = true
}

// Provider is an OpenID Connect provider at which operators sign in at a console.
type Provider interface {
	// Issuer returns the URL of the provider.
	Issuer() string
	// Check asks the provider what it says about itself, and returns what is wrong with it.
	Check(ctx context.Context) error
}

// AddProvider tells the app that operators can sign in at the provider.
func (a *App) AddProvider(p Provider) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.signIns = append(a.signIns, p)
}

// Providers returns the providers of the configuration.
func (a *App) Providers() []Provider {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.signIns)
}

// decides reports whether a gate of the configuration was loaded, an endpoint that other proxies ask,
// or a console.
func (a *App) decides() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.backends) > 0 || a.asked || a.pages
}

// gateBackends returns the backend names of the gates of the configuration, in order.
func (a *App) gateBackends() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.backends))
}

// LongestGrace returns the longest grace window of the configuration. The keystore keeps the
// records of jobs for at least as long.
func (a *App) LongestGrace() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.jobKeep
}

// KeepJobs makes the keystore keep the records of jobs for at least the grace window that a gate
// has for this backend name. The app tells this to the keystore when it starts.
func (a *App) KeepJobs(backend string, grace policy.Grace) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.graces[backend] = append(a.graces[backend], grace)
	a.jobKeep = max(a.jobKeep, grace.Window)
}
