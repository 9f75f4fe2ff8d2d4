// Package health is the Caddy handler that tells a load balancer whether this gateway can decide on
// requests.
package health

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/endpoint"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/options"
)

func init() {
	caddy.RegisterModule(new(Health))
	httpcaddyfile.RegisterDirective("speechgate_health", parseHealth)
}

// Health tells load balancers whether this gateway can decide on requests. It answers `GET` and
// `HEAD` for its path. Requests for other paths go to the next handler.
//
// Status | Meaning
// -------|--------
// 200 | The keystore can be read, and is the one with which the configuration was started. While its database is away, the replica of the gateway can be read in its place.
// 405 | The method is not `GET` or `HEAD`.
// 503 | The keystore cannot be read within 2 seconds, or another file or database was put in its place. The log has the reason, and the answer does not.
//
// Everybody may ask. The answer shows nothing else, has no line in the access log, and counts in no
// metric of this plugin.
type Health struct {
	// The path that is answered. Default: `/healthz`.
	Path string `json:"path,omitempty"`

	app *app.App
}

// DefaultPath is the path that is answered if no other is configured.
const DefaultPath = "/healthz"

// checkWithin is how long a check of the keystore may take. It is shorter than the time limits of the
// usual load balancers.
const checkWithin = 2 * time.Second

// CaddyModule returns the Caddy module information.
func (*Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.speechgate_health",
		New: func() caddy.Module { return new(Health) },
	}
}

func parseHealth(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	path, matcher, err := endpoint.Argument(h)
	if err != nil {
		return nil, err
	}
	health := &Health{Path: path}
	if err := health.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, health), nil
}

// UnmarshalCaddyfile reads the block of the directive speechgate_health.
//
// Syntax:
//
//	speechgate_health [<matcher>|<path>] {
//	    path <path>
//	}
func (h *Health) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return options.ParseBlock(d, map[string]options.Option{"path": endpoint.PathOption("speechgate_health", &h.Path)})
}

// Provision resolves the default, and gets the app.
func (h *Health) Provision(ctx caddy.Context) (err error) {
	if h.Path == "" {
		h.Path = DefaultPath
	}
	h.app, err = app.Of(ctx)
	return err
}

// Validate checks the configuration.
func (h *Health) Validate() error { return endpoint.CheckPath(h.Path, DefaultPath) }

// ServeHTTP answers a request for the path.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.EscapedPath() != h.Path {
		return next.ServeHTTP(w, r)
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	header := w.Header()
	header.Set("Content-Type", "text/plain")
	handler.ForbidCaching(header)
	status, body := http.StatusOK, "ok\n"
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		status, body = http.StatusMethodNotAllowed, "want GET or HEAD\n"
	case !h.healthy(r.Context()):
		status, body = http.StatusServiceUnavailable, "unavailable\n"
	}
	w.WriteHeader(status)
	_, err := io.WriteString(w, body)
	return err
}

// healthy reports whether the gateway can decide on requests. The store logs why it cannot.
func (h *Health) healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	return h.app.Ready(ctx) == nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddy.Validator             = (*Health)(nil)
	_ caddyhttp.MiddlewareHandler = (*Health)(nil)
)
