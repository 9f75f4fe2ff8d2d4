// Package console is the Caddy handler of the web console.
package console

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	_ "time/tzdata" // for machines without a time zone database

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/configcheck"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/internal/console"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/openid"
	"github.com/speechgate/speechgate/internal/refusals"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Console))
}

// Console is the web console: pages where the holders of accounts see their connection
// information, and issue, watch and delete keys, and where operators watch and change the whole
// gateway. It answers all requests for its path and the paths below it. Other requests go to the
// next handler.
//
// Users sign in with a password that they set with a link: `caddy speechgate account invite`
// and `caddy speechgate operator invite` make such links. Operators can also sign in at an OpenID
// Connect provider (`oidc`). Serve the console over TLS only:
// without TLS, everyone on the way can read passwords and sessions.
//
// The address of a client is the one that the gates take (`trusted_proxies` of the server).
type Console struct {
	// The path of the start page. All paths below it belong to the console. Default: `/console/`.
	Path string `json:"path,omitempty"`

	// The URL of the start page as browsers reach it, such as `https://console.example.com/`.
	// Set-up links begin with it, and passkeys are for its host. Its path can differ from `path` if a proxy in front changes
	// paths. Default: the address of the site, as far as the configuration tells it.
	URL string `json:"url,omitempty"`

	// The URL of the API, which the pages show to the holders of accounts, such as
	// `https://asr.example.com`. Default: the origin of the console.
	APIURL string `json:"api_url,omitempty"`

	// The name of the service, which is on every page. Default: `Speechgate`.
	Name string `json:"name,omitempty"`

	// Where operators can sign in besides: an OpenID Connect provider. Default: nowhere.
	OIDC *OIDC `json:"oidc,omitempty"`

	app      *app.App
	unwant   func() // ends the wish for refusals
	provider *openid.Provider
	pages    *console.Console
	logger   *zap.Logger
}

const (
	// DefaultPath is the path of the console if no other is configured.
	DefaultPath = "/console/"

	defaultName = "Speechgate"
)

// CaddyModule returns the Caddy module information.
func (*Console) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.speechgate_console",
		New: func() caddy.Module { return new(Console) },
	}
}

// Provision resolves the defaults, gets the app, and reads the pages.
func (c *Console) Provision(ctx caddy.Context) (err error) {
	c.logger = ctx.Logger()
	c.Path = c.StartPath()
	if c.Name == "" {
		c.Name = defaultName
	}
	c.APIURL = strings.TrimSuffix(c.APIURL, "/")
	if err := c.check(); err != nil {
		return err
	}
	if c.provider, err = c.OIDC.provision(); err != nil {
		return err
	}
	if c.app, err = app.Of(ctx); err != nil {
		return err
	}
	c.unwant = c.app.Refusals().Want()
	c.app.AddConsole()
	if c.provider != nil {
		c.app.AddProvider(c.provider)
	}
	c.pages, err = console.New(console.Settings{
		Path: c.Path, Name: c.Name, URL: c.URL, APIURL: c.APIURL, Provider: c.provider, SignIn: c.app.SignIn(), Gateway: gateway{c.app},
		Failed: func(r *http.Request, err error) {
			c.logger.Error("a page of the console failed", zap.String("method", credential.MaskMethod(r.Method)),
				zap.String("path", credential.MaskURI(r.URL.Path, nil)), zap.Error(err))
		},
	})
	return err
}

// Cleanup ends what Provision has begun.
func (c *Console) Cleanup() error {
	if c.unwant != nil {
		c.unwant()
	}
	if c.provider != nil {
		c.provider.Close()
	}
	return nil
}

// ServeHTTP answers a request for the console.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	path := r.URL.Path
	if path+"/" == c.Path {
		w.Header().Set("Location", c.Path)
		w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	if !strings.HasPrefix(path, c.Path) {
		return next.ServeHTTP(w, r)
	}
	if c.hasSecret(path) {
		caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true) // Caddy would log the URL as it came
	}
	c.pages.Serve(w, r, console.Caller{Client: handler.ClientIP(r), Remote: remoteAddr(r), HTTPS: isHTTPS(r), EarlyData: handler.IsEarlyData(r)})
	return nil
}

// hasSecret reports whether the URL of a request has a secret: the token of a set-up link, or the
// answer of a provider.
func (c *Console) hasSecret(path string) bool {
	below := strings.TrimPrefix(path, c.Path)
	return strings.HasPrefix(below, "setup/") || strings.HasPrefix(below, "oidc/")
}

// isHTTPS reports whether the client's connection is encrypted: the one to this server or, as a
// trusted proxy says, the one to the proxy.
func isHTTPS(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// remoteAddr returns the address at the other end of the connection.
func remoteAddr(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.ParseAddr(host) // addr is invalid if host is not an address
	return addr.WithZone("").Unmap()
}

// gateway gives the pages what they need of the app.
type gateway struct{ app *app.App }

// Open returns the keystore.
func (g gateway) Open() (*keystore.Store, func(), error) {
	g.app.AcquireStore()
	store, err := g.app.Store()
	if err != nil {
		g.app.ReleaseStore()
		return nil, nil, err
	}
	return store, g.app.ReleaseStore, nil
}

// Now returns the current instant.
func (g gateway) Now() policy.Time { return g.app.Now() }

// Gates returns what decisions depend on.
func (g gateway) Gates() manage.GateConfigs { return g.app.Gates() }

// LimitUse returns the function that says how much of their limits a key and its account use now.
func (g gateway) LimitUse(store *keystore.Store) func(context.Context, *policy.Key, policy.Operation) (manage.LimitUse, error) {
	return g.app.LimitUse(store)
}

// Streams returns the oldest live streams, and how many there are.
func (g gateway) Streams(most int) (oldest []console.LiveStream, n int) {
	if most == 0 {
		return nil, g.app.Streams().Len()
	}
	all := g.app.Streams().List()
	streams := make([]console.LiveStream, min(most, len(all)))
	for i := range streams {
		s := &all[i]
		streams[i] = console.LiveStream{ID: s.ID, Backend: s.Backend, KeyID: s.Owner.KeyID, AccountID: s.Owner.AccountID, Begun: s.Begun, Accepted: s.Accepted}
		if s.Client.IsValid() {
			streams[i].Client = s.Client.String()
		}
	}
	return streams, len(all)
}

// CutStream cuts a live stream.
func (g gateway) CutStream(id string) (accountID string, cut bool) {
	n := g.app.Streams().CutIf(func(s *livestream.Snapshot) bool {
		if s.ID == id {
			accountID = s.Owner.AccountID
		}
		return s.ID == id
	})
	return accountID, n > 0
}

// Refusals returns the feed of refusals.
func (g gateway) Refusals() *refusals.Feed { return g.app.Refusals() }

// Ready returns an error if the server cannot decide on requests.
func (g gateway) Ready(ctx context.Context) error { return g.app.Ready(ctx) }

// StartPath returns the configured path, or the default, with a slash at its end.
func (c *Console) StartPath() string {
	if c.Path == "" {
		return DefaultPath
	}
	if !strings.HasSuffix(c.Path, "/") {
		return c.Path + "/"
	}
	return c.Path
}

// StartURL returns the URL of the start page: the option url or, if it is not set, the path.
func (c *Console) StartURL() *url.URL {
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err == nil {
			if !strings.HasSuffix(u.Path, "/") {
				u.Path += "/"
			}
			return u
		}
	}
	return &url.URL{Path: c.StartPath()}
}

// Interface guards
var (
	_ configcheck.Pages           = (*Console)(nil)
	_ caddy.Provisioner           = (*Console)(nil)
	_ caddy.CleanerUpper          = (*Console)(nil)
	_ caddyhttp.MiddlewareHandler = (*Console)(nil)
)
