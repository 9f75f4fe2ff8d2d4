package configcheck

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/intercept"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// walker passes one probe through the handlers of a server, as Caddy does with a request. It
// evaluates matchers (see evaluates), and applies rewrites. For a matcher that it cannot evaluate, such
// as an expression, the route perhaps matches. The walker passes the handlers of such a route. If they
// answer, the probe goes on behind the route as if it had not entered the route. The walker does not
// warn about the order of handlers within the route, because the operator has chosen the matcher on
// purpose.
//
// A first walker evaluates matchers of the host, the path and the method only. If a site has matchers of
// header fields, the query or the address of the client, more walkers follow, with probes that have
// what these matchers look for, and one that has nothing of it (see traits). They look only for ways
// past the gates.
type walker struct {
	*checker
	server *caddyhttp.Server
	at     place
	probe  *probe
	traits traits // of the probe
	r      *http.Request

	varied     bool // there are traits to try on the site
	complete   bool // the probe has all that it is to have: no header field, query or address can come besides
	afterError bool // the probe passes the routes of handle_errors
	quiet      bool // the walker does not warn itself

	invoked  []string // the named routes around the current one
	perhaps  int      // how many of the routes around the current one have a matcher that cannot be evaluated
	ended    bool     // a handler has answered the probe
	stopped  bool     // a terminal route was entered
	answered bool     // a handler answers the probe, or could answer it
	trusted  bool     // another handler or the server authenticates the client, or could authenticate it
	password bool     // a handler in front asks for a password
	checked  bool     // perhaps a gate or another handler has authenticated the client

	gate          Gate          // the gate that the probe has passed last
	doubtful      bool          // the probe has perhaps passed gate, and no other gate for sure
	asGated       *http.Request // the request as this gate got it
	refused       bool          // a gate has refused the probe
	taker         Endpoint      // the endpoint that has answered the probe
	missed        []upstream    // the upstreams that got the probe without a gate; a zero upstream if a handler that is no proxy has answered
	sent          requestID     // what these upstreams got
	perhapsMissed []bypass      // the upstreams that perhaps got the probe without a gate
}

// warn adds a warning, unless the walker is quiet.
func (w *walker) warn(text string, at place, upstream, request string) {
	if !w.quiet {
		w.checker.warn(text, at, upstream, request)
	}
}

// state is what a route can change for the routes behind it.
type state struct {
	gate              Gate
	doubtful          bool
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
	return state{w.gate, w.doubtful, w.asGated, w.refused, w.trusted, w.password, requestLine{w.r.Method, w.r.RequestURI, *w.r.URL}}
}

func (w *walker) setState(s state) {
	w.gate, w.doubtful, w.asGated, w.refused, w.trusted, w.password = s.gate, s.doubtful, s.asGated, s.refused, s.trusted, s.password
	w.setRequest(s.request)
}

// setRequest changes the request in place, because placeholders point to it.
func (w *walker) setRequest(line requestLine) {
	w.r.Method, w.r.RequestURI, *w.r.URL = line.method, line.uri, line.url
}

// with returns s with the changes from one state to another.
func (s state) with(from, to state) state {
	if to.gate != from.gate || to.asGated != from.asGated {
		s.gate, s.doubtful, s.asGated = to.gate, to.doubtful, to.asGated
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
		if after.gate != before.gate {
			w.doubtful = before.gate == nil || before.doubtful
		}
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
	case *headers.Handler:
		if w.complete && !w.ended && w.perhaps == 0 && h.Request != nil {
			h.Request.ApplyToRequest(w.r)
		}
	case *intercept.Intercept:
		w.passResponses(h.HandleResponse)
	default:
		w.passOther(h)
	}
}

// passResponses passes the routes that handle responses, such as those of handle_response. The probe itself
// goes on as if they were not there: only some responses lead to them.
func (w *walker) passResponses(handlers []caddyhttp.ResponseHandler) {
	if w.ended {
		return
	}
	for _, h := range handlers {
		before := w.state()
		inside := *w
		inside.quiet, inside.missed, inside.perhapsMissed, inside.invoked = true, nil, nil, slices.Clone(w.invoked)
		inside.routes(h.Routes)
		inside.noteBypasses()
		w.setRequest(before.request)
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
	w.noteBypasses()
	if w.gate != nil && !w.answered && !w.probe.stream {
		w.warn(noAnswer, w.at, "", w.probe.String())
	}
}
