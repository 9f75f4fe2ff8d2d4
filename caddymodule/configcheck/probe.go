package configcheck

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// probe is a made-up request.
type probe struct {
	method, path string
	api          string // the API that lists the request; empty if none does
	stream       bool   // the request is the handshake of a live stream
}

// maxPaths is how many paths of matchers, and maxPrefixes how many prefixes, are tried on a host.
const (
	maxPaths    = 64
	maxPrefixes = 16
)

// probesFor returns the requests to try on a host: each operation of each API, each operation
// again behind each prefix, and a POST and a GET of each path that leads to a handler in readers.
// If there are too many paths or prefixes, it tries some of them, and all is false.
func probesFor(apis []*dialect.API, readers []reader, prefixes []string) (probes []probe, all bool) {
	seen := make(map[probe]bool)
	add := func(p probe) {
		if !seen[p] {
			seen[p] = true
			probes = append(probes, p)
		}
	}
	for _, prefix := range append([]string{""}, prefixes[:min(len(prefixes), maxPrefixes)]...) {
		for _, api := range apis {
			for i, path := range api.Paths() {
				route := &api.Routes[i]
				add(probe{method: route.Method, path: prefix + path, api: api.Name, stream: route.Operation == policy.Stream})
			}
		}
	}
	paths := pathsTo(readers)
	for _, path := range paths[:min(len(paths), maxPaths)] {
		add(probe{method: http.MethodPost, path: path})
		add(probe{method: http.MethodGet, path: path})
	}
	return probes, len(prefixes) <= maxPrefixes && len(paths) <= maxPaths
}

// pathsTo returns paths that lead to the handlers in readers.
func pathsTo(readers []reader) (paths []string) {
	for _, r := range readers {
		around := r.paths
		if endpoint, ok := r.handler.(Endpoint); ok && endpoint.OnlyPath() != "" {
			around = append(slices.Clip(around), endpoint.OnlyPath())
		}
		for _, path := range around {
			path = strings.ReplaceAll(path, "*", "x")
			if strings.HasPrefix(path, "/") && !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// otherHost is a host that no configuration names.
const otherHost = "other.invalid"

// request makes the request of a probe to a host. The context of the request has what Caddy's
// matchers need.
func (p *probe) request(server *caddyhttp.Server, host string, t traits) *http.Request {
	if host == "" {
		host = otherHost
	}
	repl := caddy.NewReplacer()
	host = strings.ReplaceAll(repl.ReplaceAll(host, ""), "*", "x")
	from := t.from
	if !from.IsValid() {
		from = ordinaryClient
	}
	r := &http.Request{
		Method: p.method, URL: &url.URL{Path: p.path, RawQuery: t.query.Encode()}, Host: host, RemoteAddr: netip.AddrPortFrom(from, 1).String(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Body: http.NoBody,
	}
	r.RequestURI = r.URL.RequestURI()
	maps.Copy(r.Header, t.header)
	return caddyhttp.PrepareRequest(r.WithContext(context.Background()), repl, httptest.NewRecorder(), server)
}

func (p *probe) String() string { return p.method + " " + p.path }
