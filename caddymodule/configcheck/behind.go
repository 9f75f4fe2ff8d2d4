package configcheck

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Behind is a proxy behind a gate, with a request of the API that reaches it.
type Behind struct {
	Gate   Gate
	Proxy  *reverseproxy.Handler
	Server *caddyhttp.Server
	Name   string // of the server in the configuration
	Dials  string // the addresses of the backends
	Method string // of the request
	Path   string // as the proxy gets it, before it rewrites the request itself
	Stream bool   // the request is the handshake of a live stream
}

// Proxies returns the proxies behind gates. There is an entry for each operation of the API that
// reaches a proxy.
func Proxies(servers map[string]*caddyhttp.Server) []Behind {
	c := newChecker()
	c.check(servers)
	return c.behind
}

// noteBehind notes that the probe has passed a gate and reaches a proxy.
func (w *walker) noteBehind(h *reverseproxy.Handler) {
	if w.probe.api != w.gate.DialectName() || w.perhaps > 0 {
		return
	}
	var dials []string
	for _, upstream := range upstreamsOf(h) {
		dials = append(dials, upstream.dial)
	}
	entry := Behind{
		Gate: w.gate, Proxy: h, Server: w.server, Name: w.at.server, Dials: strings.Join(dials, " "),
		Method: w.r.Method, Path: w.r.URL.EscapedPath(), Stream: w.probe.stream,
	}
	if !slices.Contains(w.behind, entry) {
		w.behind = append(w.behind, entry)
	}
}
