package caddymodule

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/credential"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(App))
}

const appName = "speechgate"

// App owns the keystore that every gate of a configuration shares: accounts,
// API keys, jobs and the audit trail. A configuration without it gets one with
// every default.
//
// The store is opened when the app starts, or by the first request if that
// comes earlier; validating or adapting a configuration touches no file. It
// stays open across reloads, with its caches, while its settings stay the same.
type App struct {
	// Where accounts, keys and jobs are kept.
	Keystore Keystore `json:"keystore,omitzero"`

	// Mixed into every digest that the keystore holds, so that a stolen copy of
	// it is worth nothing without the pepper. It can be added to a store later,
	// but neither changed nor removed. Placeholders are supported, and should be
	// used: `{file./run/secrets/pepper}`. Default: none.
	Pepper string `json:"pepper,omitempty"`

	// How long cached records may be used while the keystore's change feed
	// cannot be read. After that every request asks the keystore, and gets 503
	// if that fails. Default: `5s`.
	MaxStaleness caddy.Duration `json:"max_staleness,omitempty"`

	// How long keys are kept after they ended. Jobs are kept for at least 8 days
	// and their grace window. Default: `90d`.
	Retention caddy.Duration `json:"retention,omitempty"`

	// How much memory the records may take that are kept in memory, in bytes:
	// half of it those of keys, three eighths those of jobs, and an eighth the
	// digests of unknown keys. A key takes about 210 bytes, more with a list of
	// addresses, and a job about 280; what has not been asked for lately goes
	// first, and is read from the keystore when it is needed again. From 1 MiB to
	// 64 GiB. Default: 128 MiB, which holds some 310,000 keys and 180,000 jobs.
	CacheSize int64 `json:"cache_size,omitempty"`

	ctx    caddy.Context // for the start only
	store  *sharedStore
	logger *zap.Logger

	mu       sync.Mutex
	backends map[string]credential.Upstream // by backend name
	jobKeep  time.Duration                  // the longest grace there is
}

// Keystore says which database holds the keys.
type Keystore struct {
	// The database. Default, and the only one: `sqlite`.
	Engine string `json:"engine,omitempty"`

	// SQLite's file. It is created with mode 0600, in a directory that is
	// created with mode 0700, where they do not exist. Placeholders are
	// supported. Default: `speechgate/keystore.db` in Caddy's data directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appName,
		New: func() caddy.Module { return new(App) },
	}
}

// stores holds the open stores by their settings, across reloads.
var stores = caddy.NewUsagePool()

// Provision takes hold of the store, without opening it.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.backends = make(map[string]credential.Upstream)
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	cfg, err := a.storeConfig()
	if err != nil {
		return err
	}
	a.store, err = acquireStore(cfg)
	return err
}

// storeConfig resolves the placeholders and the defaults.
func (a *App) storeConfig() (keystore.Config, error) {
	cfg := keystore.Config{
		MaxStaleness: time.Duration(a.MaxStaleness),
		Retention:    time.Duration(a.Retention),
		CacheBytes:   a.CacheSize,
		Clock:        now,
		Ahead:        clock.Ahead,
		Logger:       caddy.Log().Named(appName + ".keystore"),
	}
	if a.Keystore.Engine != "" && a.Keystore.Engine != "sqlite" {
		return cfg, fmt.Errorf("keystore engine %q: there is only sqlite", a.Keystore.Engine)
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
	repl := caddy.NewReplacer()
	path := a.Keystore.Path
	if path == "" {
		path = DefaultKeystorePath()
	}
	path, err := repl.ReplaceOrErr(path, true, true)
	if err != nil {
		return cfg, fmt.Errorf("keystore path: %w", err)
	}
	if cfg.Path, err = filepath.Abs(path); err != nil {
		return cfg, fmt.Errorf("keystore path %q: %w", path, err)
	}
	if a.Pepper != "" {
		pepper, err := repl.ReplaceOrErr(a.Pepper, true, true)
		if err != nil {
			return cfg, fmt.Errorf("pepper: %w", err)
		}
		cfg.Pepper = policy.NewSecret(pepper)
	}
	return cfg, nil
}

// DefaultKeystorePath is where the keystore is unless configured otherwise.
func DefaultKeystorePath() string {
	return filepath.Join(caddy.AppDataDir(), "speechgate", "keystore.db")
}

// Start opens the store, unless a request has done so already.
func (a *App) Start() error {
	a.store.keepJobs(a.jobKeep)
	a.store.hold()
	defer a.store.release()
	if _, err := a.store.get(); err != nil {
		return err
	}
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

// addGate takes in what gates have to agree on.
func (a *App) addGate(backend string, up credential.Upstream) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	other, exists := a.backends[backend]
	if exists && (other.Mode != up.Mode || other.Key.Reveal() != up.Key.Reveal()) {
		return fmt.Errorf("backend %q: two gates of one backend have different upstream keys; job IDs belong to one upstream account, so give one of them another backend name", backend)
	}
	a.backends[backend] = up
	return nil
}

// keepJobs has the records of jobs kept for at least a grace of that length.
func (a *App) keepJobs(grace time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.jobKeep = max(a.jobKeep, grace)
}

// storeKey identifies a store in the pool by all that shapes it.
func storeKey(cfg keystore.Config) string {
	return fmt.Sprintf("%s|%x|%s|%s|%d", cfg.Path, sha256.Sum256([]byte(cfg.Pepper.Reveal())), cfg.MaxStaleness, cfg.Retention, cfg.CacheBytes)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
