// Package app is the Caddy app that owns what the gates of a configuration share: the
// keystore, the limits of the process, and the state that outlives a reload.
package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/drain"
	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(App))
	httpcaddyfile.RegisterGlobalOption(Name, parseGlobalOption)
}

// Name is the ID of the app, and the name of its global option.
const Name = "speechgate"

// Program is how people call the command line.
const Program = "caddy " + Name

// App owns the keystore that every gate of a configuration shares: accounts,
// API keys, jobs and the audit trail. A configuration without it gets one with
// every default.
//
// The store is opened when the app starts, or by the first request if that
// comes earlier; validating or adapting a configuration touches no file. It
// stays open across reloads, with its caches, while its settings stay the same.
//
// Caddy's storage remembers the ID and the path of the store. A server that had
// a store before does not start without one.
type App struct {
	// Where accounts, keys and jobs are kept.
	Keystore KeystoreConfig `json:"keystore,omitzero"`

	// Mixed into every digest that the keystore holds, so that a stolen copy of
	// it is worth nothing without the pepper. It can be added to a store later,
	// but neither changed nor removed. Placeholders are supported, and should be
	// used: `{file./run/secrets/pepper}`. It has at least 16 bytes; only a store
	// that has a shorter one already keeps it. Default: none.
	Pepper string `json:"pepper,omitempty"`

	// How long cached records may be used while the keystore's change feed
	// cannot be read. After that every request asks the keystore, and gets 503
	// if that fails. Default: `5s`.
	MaxStaleness caddy.Duration `json:"max_staleness,omitempty"`

	// How long keys are kept after they ended. Jobs are kept for at least 8 days
	// and their grace window. Default: `90d`.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How much memory cached records may take, in bytes: half of it the records of
	// keys, three eighths those of jobs, and an eighth the digests of unknown keys.
	// A full cache removes records that no request needed lately; they are read from
	// the keystore when they are needed again. docs/performance.md says how many keys
	// and jobs that is. From 1 MiB to 64 GiB. Default: 128 MiB.
	CacheSize int64 `json:"cache_size,omitempty"`

	// How many bytes are read of one refused upload, and dropped, so that a client
	// that sends everything before it reads gets the refusal. A client that sends
	// more gets a reset in its place. From 1 MiB to 1 TiB. Default: 1 GiB.
	MaxDrainSize int64 `json:"max_drain_size,omitempty"`

	// How many refused uploads are read so at a time, in the whole process. The one
	// that has sent nothing for the longest time makes room for the next. Default:
	// 1024.
	MaxDrains int `json:"max_drains,omitempty"`

	// How much memory the heads of forms may take before they are judged, in bytes,
	// in the whole process: `max_head` of a gate bounds one head, and this bounds all
	// of them. The first start command of a stream counts as a head. Heads of up to
	// 4 KiB are not counted, except over HTTP/2 and 3, where every form counts with 32
	// KiB. Requests with a valid key in the query or in a header are not counted. When everything is held, the oldest head makes room for the
	// next, and its request gets 503. A head that is counted has 30 seconds to arrive,
	// and one more for each 8 KiB. From 1 MiB to 64 GiB. Default: 256 MiB.
	MaxHeads int64 `json:"max_heads,omitempty"`

	ctx     caddy.Context // for the start only
	process *process
	store   *sharedStore
	history History
	heads   headbudget.Budget
	drain   drain.Limits
	logger  *zap.Logger

	mu       sync.Mutex
	backends map[string]credential.Upstream // by backend name
	jobKeep  time.Duration                  // the longest grace there is
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  Name,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision takes hold of the store, without opening it.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.backends = make(map[string]credential.Upstream)
	a.process = processOf(ctx.Storage())
	if err := a.process.register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if err := a.provisionLimits(); err != nil {
		return err
	}
	cfg, err := a.StoreConfig()
	if err != nil {
		return err
	}
	if cfg.PepperFault != nil {
		a.logger.Warn("the configured pepper is too weak or misspelt for a keystore that does not have it already", zap.Error(cfg.PepperFault))
	}
	cfg.Clock, cfg.Ahead = a.process.clock.Now, a.process.clock.Ahead
	a.history = History{ctx.Storage(), a.logger}
	a.store, err = acquireStore(a.process.stores, cfg, a.Keystore.Create, a.history)
	return err
}

// StoreConfig resolves the placeholders and the defaults.
func (a *App) StoreConfig() (keystore.Config, error) {
	cfg := keystore.Config{
		MaxStaleness: time.Duration(a.MaxStaleness),
		Retention:    time.Duration(a.Retention),
		CacheBytes:   a.CacheSize,
		Logger:       caddy.Log().Named(Name + ".keystore"),
	}
	if a.MaxStaleness < 0 {
		return cfg, fmt.Errorf("max_staleness %s: want a positive duration, such as 5s", cfg.MaxStaleness)
	}
	if a.Retention < 0 {
		return cfg, fmt.Errorf("retention %s: want a positive duration, such as 90d", cfg.Retention)
	}
	if a.CacheSize != 0 && (a.CacheSize < keystore.MinCacheBytes || a.CacheSize > keystore.MaxCacheBytes) {
		return cfg, fmt.Errorf("cache_size %d: want a size from 1MiB to 64GiB", a.CacheSize)
	}
	var err error
	if cfg.Path, err = a.Keystore.path(); err != nil {
		return cfg, err
	}
	cfg.MustExist = a.Keystore.MustExist
	if a.Pepper == "" {
		return cfg, nil
	}
	cfg.Pepper, cfg.PepperFault, err = options.ResolvePepper(a.Pepper)
	return cfg, err
}

// DefaultKeystorePath is where the keystore is unless configured otherwise.
func DefaultKeystorePath() string {
	return filepath.Join(caddy.AppDataDir(), "speechgate", "keystore.db")
}

// Start opens the store, unless a request or an earlier configuration has done
// so already: then it makes sure that the store can still be written.
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
	sum, err := store.Summary(ctx)
	if err != nil {
		return fmt.Errorf("opening the keystore: %w", err)
	}
	a.history.noteOpened(ctx, sum, a.store.cfg.Path)
	a.warnOfNeighbours()
	return nil
}

// Stop does nothing: requests of this configuration may still be running.
func (*App) Stop() error { return nil }

// Cleanup lets go of the store.
func (a *App) Cleanup() error {
	if a.store == nil {
		return nil
	}
	return a.store.letGo()
}

// AcquireStore keeps the keystore open until ReleaseStore is called, once: a reload can
// close the keystore of the configuration that goes. It opens nothing.
func (a *App) AcquireStore() { a.store.acquire() }

// ReleaseStore ends what AcquireStore began.
func (a *App) ReleaseStore() { a.store.release() }

// Store returns the keystore, and opens it if it is not open. The caller must have
// called AcquireStore. The error says why the keystore cannot be opened.
func (a *App) Store() (*keystore.Store, error) { return a.store.get() }

// Now is the current instant, by the clock of the process.
func (a *App) Now() policy.Time { return a.process.clock.Now() }

// Streams is the registry of the live streams.
func (a *App) Streams() *livestream.Registry { return a.process.streams }

// CountersOf returns the counters of the decisions on a backend name.
func (a *App) CountersOf(backend string) *handler.DecisionCounters {
	return a.process.metrics.CountersOf(backend)
}

// HeadBudget is the memory that the heads of forms may take before the key in them is
// judged.
func (a *App) HeadBudget() *headbudget.Budget { return &a.heads }

// Drains reads refused uploads on, within the limits of the configuration.
func (a *App) Drains() drain.Limited { return drain.Limited{Set: a.process.drains, Limits: a.drain} }

// AddGate checks what the gates of one backend name must agree on, which is the upstream
// key.
func (a *App) AddGate(backend string, up credential.Upstream) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	other, exists := a.backends[backend]
	if exists && (other.Mode != up.Mode || other.Key.Reveal() != up.Key.Reveal()) {
		return fmt.Errorf("backend %q: two gates of one backend have different upstream keys; job IDs belong to one upstream account, so give one of them another backend name", backend)
	}
	a.backends[backend] = up
	return nil
}

// LongestGrace is the longest grace window of the configuration, for which the records of
// jobs are kept at least.
func (a *App) LongestGrace() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.jobKeep
}

// KeepJobs has the records of jobs kept for at least a grace of that length.
func (a *App) KeepJobs(grace time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.jobKeep = max(a.jobKeep, grace)
}

// storeKey identifies a store in the pool by all that shapes it.
func storeKey(cfg keystore.Config, create bool) string {
	return fmt.Sprintf("%s|%t|%x|%s|%s|%d", cfg.Path, create, sha256.Sum256([]byte(cfg.Pepper.Reveal())), cfg.MaxStaleness, cfg.Retention, cfg.CacheBytes)
}

// Of returns the app of the configuration that ctx is of. A configuration that does not
// name the app gets one with every default.
func Of(ctx caddy.Context) (*App, error) {
	loaded, err := ctx.App(Name)
	if err != nil {
		return nil, fmt.Errorf("getting the %s app: %w", Name, err)
	}
	return loaded.(*App), nil //nolint:forcetypeassert // the ID is the App's
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
