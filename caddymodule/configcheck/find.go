package configcheck

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/logging"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/tracing"
)

// reader is a handler that reads keys, and where it is.
type reader struct {
	at      place
	hosts   []string // the hosts that the routes around the handler match; empty: all hosts
	paths   []string // the paths that the routes around the handler match; empty: all paths
	unsure  bool     // requests can reach the handler that no probe stands for
	handler caddyhttp.MiddlewareHandler
}

// finder goes into the routes of a server, and notes what the check is about.
type finder struct {
	*checker
	server  *caddyhttp.Server
	at      place
	r       *http.Request // the finder goes into the routes for the host of this request; nil: into all routes
	invoked []string      // the named routes around the current one

	readers    []reader
	pages      []pagesAt
	appended   []appended        // of log_append
	attributes []appended        // of tracing
	vars       map[string]any    // what the handlers vars set
	prefixes   []string          // the prefixes that handlers strip from paths
	upstreams  []upstream        // of all proxies, except in handle_errors
	onErrors   []upstream        // of the proxies in handle_errors
	traits     []traits          // to try, besides none
	hosts      map[string]string // the hosts to try, and for each the first host of its matcher

	triedTraits map[string]bool
}

// find goes into all routes of a server, or into those for the host of r.
func (c *checker) find(server *caddyhttp.Server, at place, r *http.Request) *finder {
	f := &finder{checker: c, server: server, at: at, r: r, hosts: map[string]string{"": ""}, triedTraits: make(map[string]bool), vars: make(map[string]any)}
	f.routes(server.Routes, around{})
	if server.Errors != nil {
		f.errors(server.Errors.Routes)
	}
	return f
}

// errors goes into the routes of handle_errors. It notes no gates there, because no request comes to them
// first.
func (f *finder) errors(list caddyhttp.RouteList) {
	readers, upstreams := f.readers, f.upstreams
	f.upstreams = nil
	f.routes(list, around{})
	f.readers, f.upstreams, f.onErrors = readers, upstreams, f.upstreams
}

// readersIn returns the handlers that read keys.
func readersIn(servers map[string]*caddyhttp.Server) (readers []reader) {
	c := newChecker()
	for name, server := range servers {
		if server != nil {
			readers = append(readers, c.find(server, place{server: name}, nil).readers...)
		}
	}
	return readers
}

// ReadingServers returns the servers that have a gate or another handler that reads keys.
func ReadingServers(servers map[string]*caddyhttp.Server) map[string]*caddyhttp.Server {
	reading := make(map[string]*caddyhttp.Server)
	for _, r := range readersIn(servers) {
		reading[r.at.server] = servers[r.at.server]
	}
	return reading
}

// around describes the routes around a handler, and the handlers in front of it.
type around struct {
	hosts, paths []string
	prefix       string // what handlers have stripped from the path
	unsure       bool   // see reader
	traits       traits // what the matchers look for
}

// routes goes into a list of routes. It returns true if requests can leave the list with a path
// or a method that no probe stands for.
func (f *finder) routes(list caddyhttp.RouteList, outside around) (rewrites bool) {
	before := outside.prefix
	rewriting := make(map[string]bool) // the groups of the routes that rewrite; "" is no group
	for route := range f.routesFor(list, f.r) {
		if f.r != nil && !couldMatchHost(route.MatcherSets, f.r) {
			continue
		}
		inside := f.within(outside, route.MatcherSets)
		for group := range rewriting {
			inside.unsure = inside.unsure || group == "" || group != route.Group
		}
		prefix := inside.prefix
		if f.handlers(route.Handlers, &inside) && !route.Terminal {
			rewriting[route.Group], rewrites = true, true
		}
		switch stripped := strings.TrimPrefix(inside.prefix, prefix); {
		case stripped == "" || route.Terminal || route.Group != "":
		case isKnownRoute(route):
			outside.prefix += stripped
		default:
			rewriting[""], rewrites = true, true
		}
		if f.r != nil && route.Terminal && matchesHostOnly(route.MatcherSets, f.r) {
			break
		}
	}
	return rewrites || outside.prefix != before
}

// within returns what is around the handlers of a route. It also notes the hosts.
func (f *finder) within(outside around, sets caddyhttp.MatcherSets) around {
	inside := outside
	for i, set := range sets {
		matching, contrary := outside.traits.with(set)
		f.addTraits(append(contrary, matching)...)
		if i == 0 {
			inside.traits = matching
		}
		for _, matcher := range set {
			switch m := matcher.(type) {
			case *caddyhttp.MatchHost:
				inside.hosts = append(slices.Clip(inside.hosts), *m...)
				inside.unsure = inside.unsure || len(*m) > maxHosts || slices.ContainsFunc(*m, hasPlaceholder)
				f.addHosts(*m)
			case *caddyhttp.MatchPath:
				inside.paths = append(slices.Clip(inside.paths), *m...)
				// A probe has x in place of *, and no probe stands for the other patterns.
				inside.unsure = inside.unsure || slices.ContainsFunc(*m, func(path string) bool { return strings.ContainsAny(path, "{?[") })
			case *caddyhttp.MatchPathRE:
				inside.unsure = true
			case *caddyhttp.MatchNot:
				for _, set := range m.MatcherSets {
					// What does not match these hosts and paths is tried too.
					inside.unsure = f.within(around{}, caddyhttp.MatcherSets{set}).unsure || inside.unsure
				}
			}
		}
	}
	return inside
}

func (f *finder) addHosts(hosts []string) {
	for _, host := range hosts[:min(len(hosts), maxHosts)] {
		if _, known := f.hosts[host]; !known {
			f.hosts[host] = hosts[0]
		}
	}
}

// handlers notes the handlers of a route. It returns true if they rewrite requests in a way that
// no probe stands for.
func (f *finder) handlers(handlers []caddyhttp.MiddlewareHandler, inside *around) (rewrites bool) {
	for _, h := range handlers {
		f.steps++
		rewritten := false
		switch h := h.(type) {
		case *caddyhttp.Subroute:
			rewritten = f.routes(h.Routes, *inside)
		case *caddyhttp.Invoke:
			rewritten = f.invoke(h.Name, *inside)
		case *rewrite.Rewrite:
			rewritten = f.rewrite(h, inside)
		case *reverseproxy.Handler:
			f.upstreams = append(f.upstreams, upstreamsOf(h)...)
			f.responses(h.HandleResponse, *inside)
		case *intercept.Intercept:
			f.responses(h.HandleResponse, *inside)
		case *caddyhttp.VarsMiddleware:
			maps.Copy(f.vars, *h)
		case *logging.LogAppend:
			f.appended = append(f.appended, appended{inside.hosts, h.Key, h.Value})
		case *tracing.Tracing:
			for name, value := range h.SpanAttributes {
				f.attributes = append(f.attributes, appended{inside.hosts, name, value})
			}
		case KeyReader:
			at := f.at
			if len(inside.hosts) > 0 {
				at.host = inside.hosts[0]
			}
			f.readers = append(f.readers, reader{at, inside.hosts, inside.paths, inside.unsure, h.(caddyhttp.MiddlewareHandler)})
		case Pages:
			at := f.at
			if len(inside.hosts) > 0 {
				at.host = inside.hosts[0]
			}
			f.pages = append(f.pages, pagesAt{at, inside.hosts})
		default:
			rewritten = kindOf(h) == unknown // a handler that nobody knows could rewrite
		}
		inside.unsure = inside.unsure || rewritten
		rewrites = rewrites || rewritten
	}
	return rewrites
}

// responses goes into the routes that handle responses.
func (f *finder) responses(handlers []caddyhttp.ResponseHandler, inside around) {
	inside.unsure = true
	for _, h := range handlers {
		f.routes(h.Routes, inside)
	}
}

func (f *finder) invoke(name string, inside around) (rewrites bool) {
	named := f.server.NamedRoutes[name]
	if named == nil {
		return false
	}
	if slices.Contains(f.invoked, name) {
		return true
	}
	f.invoked = append(f.invoked, name)
	defer func() { f.invoked = f.invoked[:len(f.invoked)-1] }()
	return f.routes(caddyhttp.RouteList{*named}, inside)
}

// rewrite notes a prefix that a handler strips. It returns true if the handler changes the path or
// the method in another way.
func (f *finder) rewrite(h *rewrite.Rewrite, inside *around) (rewrites bool) {
	if prefix := strings.Trim(h.StripPathPrefix, "/"); prefix != "" && !hasPlaceholder(prefix) {
		inside.prefix += "/" + prefix
		f.addPrefixes("/"+prefix, inside.prefix)
	}
	return hasPlaceholder(h.StripPathPrefix) || h.Method != "" || h.URI != "" && !strings.HasPrefix(h.URI, "?") ||
		h.StripPathSuffix != "" || len(h.URISubstring) > 0 || len(h.PathRegexp) > 0
}

func (f *finder) addPrefixes(prefixes ...string) {
	for _, prefix := range prefixes {
		if !slices.Contains(f.prefixes, prefix) {
			f.prefixes = append(f.prefixes, prefix)
		}
	}
}

func hasPlaceholder(text string) bool { return strings.Contains(text, "{") }
