package configcheck

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// probe is a made-up request.
type probe struct {
	method, path string
	api          string // the API that lists the request; empty if none does
	stream       bool   // the request is the handshake of a live stream
}

// reader is a handler that reads keys, and where it is.
type reader struct {
	at      place
	hosts   []string // the hosts that the routes around the handler match; empty: all hosts
	paths   []string // the paths that the routes around the handler match; empty: all paths
	strips  []string // the prefixes that handlers of the server strip from paths
	handler caddyhttp.MiddlewareHandler
}

// readersOf returns all handlers of a server that read keys. It goes into every route, and
// evaluates no matcher.
func readersOf(name string, server *caddyhttp.Server) []reader {
	f := &finder{server: server, at: place{server: name, listen: strings.Join(server.Listen, " "), local: isLocal(server.Listen)}}
	f.routes(server.Routes, nil, nil, 0)
	for i := range f.found {
		f.found[i].strips = f.strips
	}
	return f.found
}

type finder struct {
	server *caddyhttp.Server
	at     place
	found  []reader
	strips []string
}

func (f *finder) routes(list caddyhttp.RouteList, hosts, paths []string, depth int) {
	if depth > maxRouteDepth {
		return
	}
	for i := range list {
		route := &list[i]
		routeHosts, routePaths := hosts, paths
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				switch m := matcher.(type) {
				case *caddyhttp.MatchHost:
					routeHosts = append(slices.Clip(routeHosts), *m...)
				case *caddyhttp.MatchPath:
					routePaths = append(slices.Clip(routePaths), *m...)
				}
			}
		}
		for _, h := range route.Handlers {
			switch h := h.(type) {
			case *caddyhttp.Subroute:
				f.routes(h.Routes, routeHosts, routePaths, depth+1)
			case *caddyhttp.Invoke:
				if named := f.server.NamedRoutes[h.Name]; named != nil {
					f.routes(caddyhttp.RouteList{*named}, routeHosts, routePaths, depth+1)
				}
			case *rewrite.Rewrite:
				if h.StripPathPrefix != "" && !slices.Contains(f.strips, h.StripPathPrefix) {
					f.strips = append(f.strips, h.StripPathPrefix)
				}
			case KeyReader:
				at := f.at
				if len(routeHosts) > 0 {
					at.host = routeHosts[0]
				}
				f.found = append(f.found, reader{at: at, hosts: routeHosts, paths: routePaths, handler: h.(caddyhttp.MiddlewareHandler)})
			}
		}
	}
}

// probesFor returns the requests to try on a server: each operation of each API, each operation
// again behind each prefix that handlers strip, and a POST and a GET of each path that leads to a
// handler in readers.
func probesFor(readers []reader) []probe {
	var all []probe
	add := func(p probe) {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	prefixes := []string{""}
	for _, r := range readers {
		prefixes = append(prefixes, r.strips...)
	}
	for _, prefix := range prefixes {
		for _, name := range dialect.Names() {
			api, _ := dialect.ByName(name)
			for i, path := range api.Paths() {
				route := &api.Routes[i]
				add(probe{method: route.Method, path: prefix + path, api: name, stream: route.Operation == policy.Stream})
			}
		}
	}
	for _, r := range readers {
		paths := r.paths
		if endpoint, ok := r.handler.(Endpoint); ok && endpoint.OnlyPath() != "" {
			paths = append(slices.Clip(paths), endpoint.OnlyPath())
		}
		for _, path := range paths {
			path = strings.ReplaceAll(path, "*", "x")
			if strings.HasPrefix(path, "/") {
				add(probe{method: http.MethodPost, path: path})
				add(probe{method: http.MethodGet, path: path})
			}
		}
	}
	return all
}

// hostsOf returns the first host of each host matcher in the routes. It also returns an empty
// text, which means all hosts that the configuration does not name.
func hostsOf(list caddyhttp.RouteList, depth int) []string {
	if depth > maxRouteDepth {
		return nil
	}
	hosts := []string{""}
	for i := range list {
		for _, set := range list[i].MatcherSets {
			for _, matcher := range set {
				if m, ok := matcher.(*caddyhttp.MatchHost); ok && len(*m) > 0 {
					hosts = append(hosts, (*m)[0])
				}
			}
		}
		for _, h := range list[i].Handlers {
			if sub, ok := h.(*caddyhttp.Subroute); ok {
				hosts = append(hosts, hostsOf(sub.Routes, depth+1)...)
			}
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// otherHost is a host that no configuration names.
const otherHost = "other.invalid"

// request makes the request of a probe to a host. The context of the request has what Caddy's
// matchers need.
func (p *probe) request(server *caddyhttp.Server, host string) *http.Request {
	if host == "" {
		host = otherHost
	}
	repl := caddy.NewReplacer()
	host = strings.ReplaceAll(repl.ReplaceAll(host, ""), "*", "x")
	r := &http.Request{
		Method: p.method, URL: &url.URL{Path: p.path}, RequestURI: p.path, Host: host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Body: http.NoBody,
	}
	return caddyhttp.PrepareRequest(r.WithContext(context.Background()), repl, httptest.NewRecorder(), server)
}

func (p *probe) String() string { return p.method + " " + p.path }

// isLocal reports whether only processes of this machine can connect to the addresses.
func isLocal(listen []string) bool {
	return len(listen) > 0 && !slices.ContainsFunc(listen, func(address string) bool {
		parsed, err := caddy.ParseNetworkAddress(address)
		if err != nil || parsed.IsUnixNetwork() {
			return err != nil
		}
		if strings.EqualFold(parsed.Host, "localhost") {
			return false
		}
		ip, err := netip.ParseAddr(strings.Trim(parsed.Host, "[]"))
		return err != nil || !ip.IsLoopback()
	})
}

// isPublicWithoutTLS reports whether a request to an upstream probably crosses the Internet
// without TLS: the port is 80, and the host is a public address, or a name with a dot that does
// not end like the names of private networks.
func isPublicWithoutTLS(dial string) bool {
	host, port, err := net.SplitHostPort(dial)
	if err != nil || port != "80" {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate()
	}
	for _, private := range []string{".internal", ".local", ".lan", ".localhost", ".home.arpa", ".svc"} {
		if strings.HasSuffix(strings.ToLower(host), private) {
			return false
		}
	}
	return strings.Contains(host, ".") && !strings.ContainsAny(host, "{}")
}
