package configcheck

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// walker passes one probe through the handlers of a server, as Caddy does with a request. It
// evaluates matchers of the host, the path and the method, and applies rewrites. It cannot
// evaluate other matchers, such as remote_ip: for it, a route with such a matcher perhaps matches.
// The walker passes the handlers of such a route. If they answer, the probe goes on behind the route
// as if it had not entered the route. The walker does not warn about the order of handlers within
// the route, because the operator has chosen the matcher on purpose.
type walker struct {
	*checker
	server *caddyhttp.Server
	at     place
	probe  *probe
	r      *http.Request

	invoked  []string // the named routes around the current one
	perhaps  int      // how many of the routes around the current one have a matcher that cannot be evaluated
	ended    bool     // a handler has answered the probe
	stopped  bool     // a terminal route was entered
	answered bool     // a handler answers the probe, or could answer it
	trusted  bool     // another handler or the server authenticates the client, or could authenticate it
	password bool     // a handler in front asks for a password
	checked  bool     // perhaps a gate or another handler has authenticated the client

	gate    Gate          // the gate that the probe has passed last
	asGated *http.Request // the request as this gate got it
	refused bool          // a gate has refused the probe
	taker   Endpoint      // the endpoint that has answered the probe
	missed  []upstream    // the upstreams that got the probe without a gate; a zero upstream if a handler that is no proxy has answered
	sent    requestID     // what these upstreams got
}

// verdict says whether a route matches the probe.
type verdict int

const (
	no verdict = iota
	perhaps
	yes
)

// state is what a route can change for the routes behind it.
type state struct {
	gate              Gate
	asGated           *http.Request
	refused           bool
	trusted, password bool
	request           requestLine
}

// requestLine is what rewrites change.
type requestLine struct {
	method, uri string
	url         url.URL
}

func (w *walker) state() state {
	return state{w.gate, w.asGated, w.refused, w.trusted, w.password, requestLine{w.r.Method, w.r.RequestURI, *w.r.URL}}
}

func (w *walker) setState(s state) {
	w.gate, w.asGated, w.refused, w.trusted, w.password = s.gate, s.asGated, s.refused, s.trusted, s.password
	w.setRequest(s.request)
}

// setRequest changes the request in place, because placeholders point to it.
func (w *walker) setRequest(line requestLine) {
	w.r.Method, w.r.RequestURI, *w.r.URL = line.method, line.uri, line.url
}

// with returns s with the changes from one state to another.
func (s state) with(from, to state) state {
	if to.gate != from.gate || to.asGated != from.asGated {
		s.gate, s.asGated = to.gate, to.asGated
	}
	if to.request != from.request {
		s.request = to.request
	}
	s.refused = s.refused || to.refused && !from.refused
	s.trusted = s.trusted || to.trusted && !from.trusted
	s.password = s.password || to.password && !from.password
	return s
}

func (w *walker) routes(list caddyhttp.RouteList) {
	taken := make(map[string]bool)    // the groups that have a route that matched
	without := make(map[string]state) // the state of a probe that has entered no route of the group
	for route := range w.routesFor(list, w.r) {
		if w.stopped || route.Group != "" && taken[route.Group] {
			continue
		}
		match := w.matches(route.MatcherSets)
		if match == no {
			continue
		}
		if before, again := without[route.Group]; again {
			w.setState(before)
		}
		from := w.state()
		if route.Group != "" {
			// A request enters only one route of a group.
			without[route.Group] = from
			taken[route.Group] = match == yes
		}
		w.enter(route, match)
		to := w.state()
		for group, s := range without {
			if group != route.Group {
				without[group] = s.with(from, to)
			}
		}
	}
}

// enter passes the handlers of a route.
func (w *walker) enter(route *caddyhttp.Route, match verdict) {
	if match == perhaps {
		w.enterPerhaps(route)
		return
	}
	for _, h := range route.Handlers {
		w.handler(h)
	}
	w.stopped = w.stopped || route.Terminal
}

// enterPerhaps passes the handlers of a route that the probe perhaps enters.
func (w *walker) enterPerhaps(route *caddyhttp.Route) {
	before, ended, stopped, answered := w.state(), w.ended, w.stopped, w.answered
	w.answered = false
	w.perhaps++
	for _, h := range route.Handlers {
		w.handler(h)
	}
	w.perhaps--
	after, ends, couldEnd := w.state(), w.ended || w.stopped || route.Terminal, w.answered
	w.ended, w.stopped, w.answered = ended, stopped, answered || couldEnd
	switch {
	case ends: // the probe that goes on has not entered the route
		w.setState(before)
	case couldEnd:
		w.setState(before)
		w.checked = true
	default:
		w.checked = w.checked || after.gate != before.gate || after.trusted
		if after.request == before.request {
			return
		}
		// The probe goes on without the rewrites of the route. If they were in front of a gate, what
		// the gate got says nothing about the probe any more.
		if w.setRequest(before.request); after.gate != before.gate {
			w.asGated = nil
		}
	}
}

// matches evaluates the matchers of a route. The set that matches best decides.
func (w *walker) matches(sets caddyhttp.MatcherSets) verdict {
	if len(sets) == 0 {
		return yes
	}
	best := no
	for _, set := range sets {
		best = max(best, w.matchesSet(set))
	}
	return best
}

func (w *walker) matchesSet(set caddyhttp.MatcherSet) verdict {
	result := yes
	for _, matcher := range set {
		if !isKnown(matcher) {
			result = min(result, perhaps)
			continue
		}
		if ok, err := matcher.(caddyhttp.RequestMatcherWithError).MatchWithError(w.r); err != nil || !ok { //nolint:forcetypeassert // isKnown lists types that implement it
			return no
		}
	}
	return result
}

// isKnown reports whether the walker can evaluate a matcher: it depends only on the host, the path
// and the method of a request.
func isKnown(matcher any) bool {
	switch m := matcher.(type) {
	case *caddyhttp.MatchHost, *caddyhttp.MatchPath, *caddyhttp.MatchPathRE, *caddyhttp.MatchMethod:
		return true
	case *caddyhttp.MatchNot:
		for _, set := range m.MatcherSets {
			if slices.ContainsFunc(set, func(inner any) bool { return !isKnown(inner) }) {
				return false
			}
		}
		return true
	}
	return false
}

// isKnownRoute reports whether the walker can evaluate all matchers of a route.
func isKnownRoute(route *caddyhttp.Route) bool {
	return !slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
		return slices.ContainsFunc(set, func(matcher any) bool { return !isKnown(matcher) })
	})
}

func (w *walker) handler(h caddyhttp.MiddlewareHandler) {
	if w.stopped {
		return
	}
	switch h := h.(type) {
	case *caddyhttp.Subroute:
		w.routes(h.Routes)
	case *caddyhttp.Invoke:
		w.invoke(h.Name)
	case Gate:
		w.passGate(h)
	case Endpoint:
		w.passEndpoint(h)
	case *rewrite.Rewrite:
		if !w.ended {
			rewriteRequest(h, w.r)
		}
	case *reverseproxy.Handler:
		w.passProxy(h)
	default:
		w.passOther(h)
	}
}

// invoke passes a named route. A route that invokes itself counts as one that could answer the
// probe.
func (w *walker) invoke(name string) {
	named := w.server.NamedRoutes[name]
	switch {
	case named == nil:
	case slices.Contains(w.invoked, name):
		w.answered = true
	default:
		w.invoked = append(w.invoked, name)
		w.routes(caddyhttp.RouteList{*named})
		w.invoked = w.invoked[:len(w.invoked)-1]
	}
}

func rewriteRequest(h *rewrite.Rewrite, r *http.Request) {
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	h.Rewrite(r, repl)
}

// answer notes that a handler answers the probe.
func (w *walker) answer() { w.answered, w.ended = true, true }

// answerAhead notes that a handler that is no proxy answers the probe. If the probe has passed no
// gate, it also notes this in missed.
func (w *walker) answerAhead() {
	if !w.ended && w.gate == nil && w.perhaps == 0 {
		w.missed = []upstream{{}}
	}
	w.answer()
}

// passOther passes a handler that has no method of its own in the walker. A handler that the walker
// does not know counts as one that could answer the probe, and could authenticate the client.
func (w *walker) passOther(h caddyhttp.MiddlewareHandler) {
	switch kindOf(h) {
	case answers:
		w.answerAhead()
	case authenticates:
		w.trusted = true
		w.passPassword(h)
	case unknown:
		w.answered, w.trusted = true, true
	case passes:
	}
}

// passPassword notes that a handler asks for a password, and warns if the probe has passed a gate
// before. It notes this only for basic_auth without a second way to authenticate.
func (w *walker) passPassword(h caddyhttp.MiddlewareHandler) {
	auth, ok := h.(*caddyauth.Authentication)
	if !ok || auth.Providers["http_basic"] == nil || len(auth.Providers) > 1 || w.ended || w.perhaps > 0 {
		return
	}
	w.password = true
	if w.gate != nil {
		w.warn(basicAuth, w.at, "", w.probe.String())
	}
}

// finish is called when the probe has passed all handlers. It notes the upstreams that the probe
// reached without a gate, and warns if no handler behind the gate answers the probe.
func (w *walker) finish() {
	if w.probe.api != "" && !w.trusted && !w.checked {
		for _, upstream := range w.missed {
			w.bypasses = append(w.bypasses, bypass{w.at, upstream, w.probe.String(), w.sent})
		}
	}
	if w.gate != nil && !w.answered && !w.probe.stream {
		w.warn(noAnswer, w.at, "", w.probe.String())
	}
}
