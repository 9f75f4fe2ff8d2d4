// Package app is the Caddy app that owns what the gates of a configuration share: the
// keystore, the limits of the process, and the state that survives a reload.
package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/events"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/caddymodule/storemetrics"
	"github.com/speechgate/speechgate/internal/drain"
	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/refusals"
	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/internal/signin"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(App))
	httpcaddyfile.RegisterGlobalOption(Name, parseGlobalOption)
}

// Name is the ID of the app, and the name of its global option.
const Name = "speechgate"

// Program is the beginning of a command line: the text in front of the name of a command.
const Program = "caddy " + Name

// errStarting is the error of a check before the configuration has started.
var errStarting = errors.New("the configuration is not started yet")

// errAnotherStore is the error of a server whose keystore was replaced by another keystore.
var errAnotherStore = errors.New("another keystore is in the place of the one that this server was started with")

// App owns the keystore that all gates of a configuration share: accounts, API
// keys, jobs and the audit trail. A configuration without this app gets one with
// the defaults.
//
// The keystore is opened when the app starts, or by the first request if a request
// comes earlier. A reload first tries whether the keystore can be opened, and changes
// nothing in it. Adapting or validating a configuration touches no file. The keystore
// stays open across reloads, with its caches, while its settings do not
// change.
//
// The app writes the ID and the place of the keystore into Caddy's storage. A server
// that had a keystore before does not start without one.
type App struct {
	// The database of accounts, keys and jobs.
	Keystore KeystoreConfig `json:"keystore,omitzero"`

	// A secret that every digest in the keystore depends on, so that a stolen copy
	// of the keystore is useless without the pepper. It can be added to a keystore
	// later, but it cannot be changed or removed. Use a placeholder, such as
	// `{file./run/secrets/pepper}`. At least 16 bytes, except in a keystore that has
	// a shorter pepper already. Default: none.
	Pepper string `json:"pepper,omitempty"`

	// How long cached records may be used while the change feed of the keystore
	// cannot be read. After this time every request reads the keystore, and gets
	// 503 if the keystore cannot be read. From 1 second to 24 hours. Default: `5s`.
	MaxStaleness caddy.Duration `json:"max_staleness,omitempty"`

	// How long a live stream goes on while the change feed of the keystore, or its key, cannot be read. Then it is
	// cut, because its key may have been revoked. From `max_staleness` to 24 hours. Default: `1m`, or
	// `max_staleness` if that is longer.
	MaxStreamStaleness caddy.Duration `json:"max_stream_staleness,omitempty"`

	// How long the keystore keeps a key after the end of the key: its expiry, deletion or
	// revocation. It keeps a job for at least 8 days plus the grace window. From 1 hour to 36500 days. Default: `90d`.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How much memory cached records may take, in bytes: half is for the records of
	// keys, three eighths for the records of jobs, a sixteenth for the records of tokens,
	// and a sixteenth for the digests of unknown keys. A full cache removes records that no request needed lately; they
	// are read from the keystore when a request needs them again. docs/performance.md
	// says how many keys and jobs fit. From 1 MiB to 64 GiB. Default: 128 MiB.
	CacheSize int64 `json:"cache_size,omitempty"`

	// How many bytes of one refused upload the server reads and drops, so that a
	// client that sends everything before it reads gets the refusal. A client that
	// sends more gets a connection reset instead. From 1 MiB to 1 TiB. Default: 1 GiB.
	MaxDrainSize int64 `json:"max_drain_size,omitempty"`

	// How many refused uploads the process reads at a time. If one more is refused, the
	// process stops reading the upload that has sent nothing for the longest time.
	// Up to 1,000,000. Default: 1024.
	MaxDrains int `json:"max_drains,omitempty"`

	// How many bytes of memory the heads of forms may take in the whole process while
	// their keys are not checked yet. The head of a form is everything before the audio.
	// `max_head` of a gate limits one head, and this option limits all heads together. The
	// first start command of a stream counts as a head. Heads of up to 4 KiB do not count,
	// except over HTTP/2 and HTTP/3, where every form counts as 32 KiB. Requests with a
	// valid key in the query or in a header do not count. If all of this memory is in use
	// and a new head comes, the request with the oldest head gets 503. A head that counts
	// has 30 seconds to arrive, and one more second for each 8 KiB. From 1 MiB to 64 GiB.
	// Default: 256 MiB.
	MaxHeads int64 `json:"max_heads,omitempty"`

	ctx     caddy.Context // for warnOfMistakes
	process *process
	store   *sharedStore
	history History
	heads   headbudget.Budget
	drains  drain.Limits
	logger  *zap.Logger

	warned   sync.Once
	mu       sync.Mutex
	backends map[string]upstreamKeys   // by backend name
	graces   map[string][]policy.Grace // of the gates, by backend name
	asked    bool                      // other proxies ask about requests
	pages    bool                      // there is a console
	signIns  []Provider                // the providers of the consoles
	jobKeep  time.Duration             // the longest grace window of the gates
	explains manage.GateConfigs        // what decisions depend on

	measured *storemetrics.Source // what the metrics tell of, from Start to Cleanup
	emitter  *events.Emitter      // tells the subscribers of events, from the end of the start to Stop
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  Name,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision checks the configuration, and finds or makes the shared store. At a reload it
// also checks whether the store can be opened: Caddy starts the apps in a random order, so
// that a configuration that Start refuses may already have accepted connections of clients.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.backends = make(map[string]upstreamKeys)
	a.graces = make(map[string][]policy.Grace)
	a.process = theProcess()
	if err := a.process.register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if err := a.provisionLimits(); err != nil {
		return err
	}
	if err := a.subscribe(); err != nil {
		return err
	}
	cfg, err := a.StoreConfig()
	if err != nil {
		return err
	}
	if cfg.PepperFault != nil {
		a.logger.Warn("the configured pepper is too weak or misspelt for a keystore that does not have it already", zap.Error(cfg.PepperFault))
	}
	if a.Keystore.ShowsPassword() {
		a.logger.Warn("the connection string of the keystore has its password in the configuration, which Caddy's admin API and saved configuration show: write a placeholder such as {env.SPEECHGATE_DSN}, or password_file")
	}
	cfg.Clock, cfg.Ahead = a.process.clock.Now, a.process.clock.Ahead
	cfg.Wrote = a.process.store.Wrote
	a.history = History{ctx.Storage(), a.logger}
	a.store, err = acquireStore(a.process.stores, a.process.shares, cfg, a.Keystore.Create, a.history)
	if err != nil || !a.process.started.Load() {
		return err
	}
	a.store.acquire()
	defer a.store.release()
	return a.store.checkReload(a.history)
}

// Start opens the store. If a request or an earlier configuration has opened it already,
// Start checks that the store can still be written.
func (a *App) Start() error {
	a.store.keepJobs(a.jobKeep)
	a.store.acquire()
	defer a.store.release()
	store, err := a.store.start(a.history)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), openWithin)
	defer cancel()
	id, err := store.ID(ctx)
	if err != nil {
		return fmt.Errorf("opening the keystore: %w", err)
	}
	if err := a.process.audits.of(a.store.name).begin(ctx, store); err != nil && !store.ServesFromReplica() {
		return fmt.Errorf("opening the keystore: %w", err)
	}
	a.history.recordOpened(ctx, id, a.store.name)
	a.store.startedWith.Store(&id)
	a.process.started.Store(true)
	a.measure()
	go a.followAudit(a.ctx)
	a.warnOfMistakes()
	return nil
}

// measure makes the metrics tell of this configuration, until Cleanup.
func (a *App) measure() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.measured = &storemetrics.Source{
		Now: a.process.clock.Now, Store: a.store.use, Graces: maps.Clone(a.graces), Streams: a.process.streams.Len,
		Upstreams: a.upstreams(), KeyUses: &a.process.keyUses,
	}
	a.process.store.Use(a.measured)
}

// Stop logs the last entries of the audit trail, and tells the last events if no other configuration
// does. It does nothing else, because requests of this configuration may still be running.
func (a *App) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), auditEvery)
	defer cancel()
	for a.logAudit(ctx) { // until there are no more, or the time is up
	}
	a.stopEvents()
	return nil
}

// Cleanup drops the reference of this configuration to the store. If the configuration was
// validated and not started, Cleanup logs the warnings that Start logs.
func (a *App) Cleanup() error {
	if a.decides() {
		a.warnOfMistakes()
	}
	if a.store == nil {
		return nil
	}
	a.process.store.Drop(a.measured)
	return a.store.dropReference()
}

// AcquireStore keeps the keystore open until ReleaseStore is called. A reload can close a
// keystore that nobody has acquired. AcquireStore does not open the keystore. Call
// ReleaseStore once for each AcquireStore.
func (a *App) AcquireStore() { a.store.acquire() }

// ReleaseStore releases the keystore, which AcquireStore has acquired.
func (a *App) ReleaseStore() { a.store.release() }

// Store returns the keystore, and opens it if it is not open. The caller must have
// called AcquireStore. The error says why the keystore cannot be opened.
func (a *App) Store() (*keystore.Store, error) { return a.store.get() }

// OpenStore returns the keystore if it is open, and nil otherwise. It is for usage, which is not
// worth opening the keystore. The caller need not have called AcquireStore.
func (a *App) OpenStore() *keystore.Store {
	if a == nil || a.store == nil { // tests have gates without an app
		return nil
	}
	return a.store.open.Load()
}

// Ready returns nil if the keystore can be read, and is the one that it was when the configuration was
// started.
func (a *App) Ready(ctx context.Context) error {
	a.AcquireStore()
	defer a.ReleaseStore()
	store, err := a.Store() //nolint:contextcheck // the store stays open after the check
	if err != nil {
		return err
	}
	id, err := store.ID(ctx)
	if err != nil {
		return err
	}
	switch started := a.store.startedWith.Load(); {
	case started == nil:
		return errStarting
	case *started != id:
		return errAnotherStore
	}
	return nil
}

// Now returns the current instant of the clock of the process.
func (a *App) Now() policy.Time { return a.process.clock.Now() }

// At returns what Now returned at t, which must be a result of time.Now from just before.
func (a *App) At(t time.Time) policy.Time { return a.process.clock.At(t) }

// Streams returns the registry of the live streams.
func (a *App) Streams() *livestream.Registry { return a.process.streams }

// Limits returns the counts of keys and accounts with limits.
func (a *App) Limits() *limits.Counters { return a.process.limits }

// ShareFailures makes the gateways count together the failing calls of the issuance API. The
// throttle must have names. The function stop ends it.
func (a *App) ShareFailures(failures share.Source) (stop func()) {
	return a.process.shares.Add(share.IssuanceFailures, failures)
}

// FailureName returns the name by which the gateways call the network of a client in
// [App.ShareFailures].
func (a *App) FailureName(network string) string {
	return a.process.shares.Name(share.IssuanceFailures, network)
}

// Refusals returns the feed of the refusals of this process, of all configurations.
func (a *App) Refusals() *refusals.Feed { return a.process.metrics.Refusals() }

// SignIn decides who signs in at the console. All configurations share it.
func (a *App) SignIn() *signin.Service { return a.process.console }

// CountersOf returns the counters of the decisions on requests for this backend name.
func (a *App) CountersOf(backend string) *handler.DecisionCounters {
	return a.process.metrics.CountersOf(backend)
}

// HeadBudget returns the budget for heads of forms and for start commands whose key has not
// been checked yet.
func (a *App) HeadBudget() *headbudget.Budget { return &a.heads }

// Drainer returns a drain.Drainer, which reads and drops the rest of refused uploads. It has the
// limits of this configuration.
func (a *App) Drainer() drain.Drainer {
	return drain.Drainer{Set: a.process.drains, Limits: a.drains}
}

// Of returns the app of the configuration of ctx. If the configuration has no app, Caddy makes
// one with the defaults.
func Of(ctx caddy.Context) (*App, error) {
	loaded, err := ctx.App(Name)
	if err != nil {
		return nil, fmt.Errorf("getting the %s app: %w", Name, err)
	}
	return loaded.(*App), nil //nolint:forcetypeassert // Name is the ID of App
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
