package main

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/corazawaf/coraza/v3"
	corazahttp "github.com/corazawaf/coraza/v3/http"
)

func init() {
	caddy.RegisterModule(new(waf))
	httpcaddyfile.RegisterHandlerDirective("coraza_waf", parseWAF)
}

// waf is the WAF Coraza with its own middleware for net/http. It has the names of the
// plugin coraza-caddy, whose middleware is a copy of this one, and which cannot be had
// as a Go module.
type waf struct {
	Directives string `json:"directives"`

	waf coraza.WAF
}

func (*waf) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.waf", New: func() caddy.Module { return new(waf) }}
}

func (m *waf) Provision(caddy.Context) (err error) {
	m.waf, err = coraza.NewWAF(coraza.NewWAFConfig().WithDirectives(m.Directives))
	return err
}

func (m *waf) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	corazahttp.WrapHandler(m.waf, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := next.ServeHTTP(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})).ServeHTTP(w, r)
	return nil
}

// parseWAF reads coraza_waf { directives <rules> }.
func parseWAF(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	m := new(waf)
	h.Next()
	for h.NextBlock(0) {
		if h.Val() != "directives" || !h.Args(&m.Directives) {
			return nil, h.ArgErr()
		}
	}
	return m, nil
}
