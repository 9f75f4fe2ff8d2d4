package caddymodule_test

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the modules of the configurations

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const backendKey = "backend-key-0123456789abcdef"

// gateway is Caddy in this process, with a gate in front of a backend that records every byte. Only
// one gateway can run at a time.
type gateway struct {
	t       *testing.T
	addr    string // of the gate
	scheme  string // of the site; http:// by default
	backend *backend
	place   storetest.Place // of the keystore
	logPath string          // of the default logger's output, which is at debug level
	dialect string          // of the gate; amivoice by default
	options string          // of the gate
	site    string          // the rest of the site, after the gate
	global  string          // lines of the global option speechgate
	block   string          // of the option keystore
	proxies string          // the trusted proxies; 127.0.0.1/32 by default
	order   string          // lines of the global options about the order of directives
	keys    *keystore.Store
	live    *livestream.Registry // of this server, across reloads
	account policy.Account
}

// defaultSite sends everything to the backend.
const defaultSite = `reverse_proxy {backend}`

// newGateway starts Caddy with these options of the gate.
func newGateway(t *testing.T, options string) *gateway {
	t.Helper()
	return newGatewayWith(t, &gateway{options: options})
}

func newGatewayWith(t *testing.T, g *gateway) *gateway {
	t.Helper()
	g.t = t
	dir := t.TempDir()
	if g.place == "" {
		g.place = storetest.New(t)
	}
	g.logPath = filepath.Join(dir, "caddy.log")
	g.backend = newBackend(t)
	g.addr = freeAddr(t)
	if g.site == "" {
		g.site = defaultSite
	}
	if g.scheme == "" {
		g.scheme = "http://"
	} else {
		g.addr = strings.Replace(g.addr, "127.0.0.1", "localhost", 1) // TLS needs a name
	}
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	g.load()
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	g.keys = g.openStore()
	g.account = g.newAccount("Test")
	return g
}

// config returns the Caddyfile.
func (g *gateway) config() string {
	text := testutil.Caddyfile{
		Options: `	` + g.order + `
	storage file_system {storage}
	auto_https disable_redirects
	skip_install_trust
	servers {
		listener_wrappers {
			tracked
		}
		trusted_proxies static {proxies}
		trusted_proxies_strict
	}
	speechgate {
		keystore {store} ` + g.block + `
		` + g.global + `
	}
`,
		Log: `		output file {log}
		level DEBUG
`,
		Sites: `{scheme}{addr} {
	log
	speechgate {dialect} {
		` + g.options + `
	}
	` + g.site + `
}
`,
	}.String()
	return strings.NewReplacer("{log}", g.logPath, "{storage}", filepath.Join(filepath.Dir(g.logPath), "storage"), "{store}", g.place.Option(), "{addr}", g.addr, "{scheme}", g.scheme, "{dialect}", cmp.Or(g.dialect, "amivoice"), "{proxies}", cmp.Or(g.proxies, "127.0.0.1/32"),
		"{backend}", g.backend.addr()).Replace(text)
}

// app returns the app of the running configuration.
func (g *gateway) app() *app.App {
	g.t.Helper()
	return runningApp(g.t)
}

func runningApp(tb testing.TB) *app.App {
	tb.Helper()
	running, err := app.Of(caddy.ActiveContext())
	if err != nil {
		tb.Fatal(err)
	}
	return running
}

// serverStore returns the store of the running configuration, and opens it if necessary. A reload can
// close the store.
func serverStore(tb testing.TB) *keystore.Store {
	tb.Helper()
	running := runningApp(tb)
	running.AcquireStore()
	defer running.ReleaseStore()
	store, err := running.Store()
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

// load starts Caddy, or reloads it.
func (g *gateway) load() {
	g.t.Helper()
	if err := loadCaddyfile(g.config()); err != nil {
		g.t.Fatalf("loading the configuration: %v", err)
	}
	g.live = g.app().Streams()
}

// loadCaddyfile starts Caddy, or reloads it, and waits until the listeners of the configuration before
// are closed.
func loadCaddyfile(text string) error {
	defer waitForStoppedListeners()
	caddy.DefaultStorage.Path = caddy.AppDataDir() // the default is from the start of the process, before the test set XDG_DATA_HOME
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// openStore opens the keystore like another process.
func (g *gateway) openStore() *keystore.Store {
	g.t.Helper()
	cfg := g.place.CommandLine()
	cfg.Clock = now
	store, err := keystore.Open(context.Background(), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = store.Close() })
	return store
}

// now returns the current instant of the system's clock, like the clock of the gateway.
var now = keystore.SystemClock().Now

var operator = keystore.Actor{Kind: "operator", ID: "test"}

func (g *gateway) newAccount(name string) policy.Account {
	g.t.Helper()
	account, _, err := g.keys.CreateAccount(context.Background(), now(), operator, name)
	if err != nil {
		g.t.Fatal(err)
	}
	return account
}

// issue issues a key of the gateway's account. Zero fields of k get a default: no expiry, any address.
func (g *gateway) issue(k keystore.NewKey) (policy.Key, string) {
	g.t.Helper()
	return g.issueAt(now(), k)
}

// issueAt issues a key as of another instant.
func (g *gateway) issueAt(at policy.Time, k keystore.NewKey) (policy.Key, string) {
	g.t.Helper()
	if k.AccountID == "" {
		k.AccountID = g.account.ID
	}
	if k.Origin == 0 {
		k.Origin = policy.OriginConsole
	}
	if k.Expires == (policy.Expiry{}) {
		k.Expires = policy.Never()
	}
	key, secret, err := g.keys.IssueKey(context.Background(), at, operator, k)
	if err != nil {
		g.t.Fatal(err)
	}
	return key, secret.Reveal()
}

// expired issues a key that expired an hour ago.
func (g *gateway) expired() (policy.Key, string) {
	g.t.Helper()
	return g.issueAt(now().Add(-2*time.Hour), keystore.NewKey{Expires: policy.ExpiresAt(now().Add(-time.Hour))})
}

func (g *gateway) allow(list string) policy.AddrSet {
	g.t.Helper()
	set, err := policy.ParseAddrSet(list)
	if err != nil {
		g.t.Fatal(err)
	}
	return set
}

// recordJob records a job that the key created at another instant.
func (g *gateway) recordJob(id string, key policy.Key, created policy.Time) {
	g.t.Helper()
	err := g.keys.CreateJob(context.Background(), policy.Job{
		Backend: cmp.Or(g.dialect, "amivoice"), ID: id, Dialect: cmp.Or(g.dialect, "amivoice"), AccountID: key.AccountID, KeyID: key.ID,
		Client: netip.MustParseAddr("127.0.0.1"), CreatedAt: created,
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// log returns the whole log.
func (g *gateway) log() string {
	g.t.Helper()
	text, err := os.ReadFile(g.logPath)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}

// freeAddr returns an address on which no process listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	port, err := testutil.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + port
}
