package configcheck

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// maxRouteDepth limits routes that invoke themselves.
const maxRouteDepth = 64

func (c *checker) walkServer(name string, server *caddyhttp.Server) {
	at := place{server: name, listen: strings.Join(server.Listen, " "), local: isLocal(server.Listen)}
	probes := probesFor(c.readers)
	for _, host := range hostsOf(server.Routes, 0) {
		at.host = host
		for i := range probes {
			w := &walker{checker: c, server: server, at: at, probe: &probes[i], r: probes[i].request(server, host)}
			w.trusted = asksForCertificates(server)
			w.routes(server.Routes)
			w.finish()
		}
	}
}

// walker passes one probe through the handlers of a server, as Caddy does with a request. It
// evaluates matchers of the host, the path and the method, and applies rewrites. It cannot
// evaluate other matchers, such as remote_ip: for it, a route with such a matcher perhaps matches.
// The walker passes the handlers of such a route, and the probe goes on after the route even if
// they answer. It does not warn about the order of handlers there, because the operator has chosen
// the matcher on purpose.
type walker struct {
	*checker
	server *caddyhttp.Server
	at     place
	probe  *probe
	r      *http.Request

	depth    int
	perhaps  int  // how many of the routes around the current one have a matcher that cannot be evaluated
	ended    bool // a handler has answered the probe
	stopped  bool // a terminal route was entered
	answered bool // a handler answers the probe, or could answer it
	trusted  bool // another handler or the server authenticates the client
	password bool // a handler in front asks for a password

	gate    Gate          // the gate that the probe has passed last
	asGated *http.Request // the request as this gate got it
	refused bool          // a gate has refused the probe
	taker   Endpoint      // the endpoint that has answered the probe
	missed  []string      // the upstreams that got the probe without a gate; [""] if a handler that is no proxy has answered
}

// verdict says whether a route matches the probe.
type verdict int

const (
	no verdict = iota
	perhaps
	yes
)

func (w *walker) routes(list caddyhttp.RouteList) {
	if w.depth++; w.depth > maxRouteDepth {
		return
	}
	defer func() { w.depth-- }()
	type state struct {
		gate              Gate
		asGated           *http.Request
		trusted, password bool
	}
	taken := make(map[string]bool)    // the groups that have a route that matched
	entered := make(map[string]state) // before the first route of a group
	for i := range list {
		route := &list[i]
		if w.stopped || route.Group != "" && taken[route.Group] {
			continue
		}
		match := w.matches(route.MatcherSets)
		if match == no {
			continue
		}
		if route.Group != "" {
			// A request enters only one route of a group. So this route gets the probe as it was
			// before the first route of the group.
			if before, again := entered[route.Group]; again {
				w.gate, w.asGated, w.trusted, w.password = before.gate, before.asGated, before.trusted, before.password
			} else {
				entered[route.Group] = state{w.gate, w.asGated, w.trusted, w.password}
			}
			taken[route.Group] = match == yes
		}
		if match == perhaps {
			w.perhaps++
		}
		for _, h := range route.Handlers {
			w.handler(h)
		}
		if match == perhaps {
			w.perhaps--
		} else if route.Terminal {
			w.stopped = true
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

func (w *walker) handler(h caddyhttp.MiddlewareHandler) {
	if w.stopped {
		return
	}
	switch h := h.(type) {
	case *caddyhttp.Subroute:
		w.routes(h.Routes)
	case *caddyhttp.Invoke:
		if named := w.server.NamedRoutes[h.Name]; named != nil {
			w.routes(caddyhttp.RouteList{*named})
		}
	case Gate:
		w.passGate(h)
	case Endpoint:
		w.passEndpoint(h)
	case *rewrite.Rewrite:
		if w.perhaps == 0 && !w.ended {
			w.rewrite(h)
		}
	case *reverseproxy.Handler:
		w.passProxy(h)
	default:
		w.passOther(h)
	}
}

func (w *walker) passGate(gate Gate) {
	if w.ended {
		w.passUnreachedGate(gate)
		return
	}
	listed := lists(gate, w.r)
	if listed {
		w.reached = append(w.reached, gate.(caddyhttp.MiddlewareHandler)) //nolint:forcetypeassert // gates are handlers
		if w.gate != nil && w.perhaps == 0 && !w.gate.PassesKey() {
			w.warn(gateTwice, w.at, "", w.probe.String())
		}
		if w.password && w.perhaps == 0 {
			w.warn(basicAuth, w.at, "", w.probe.String())
		}
	}
	w.gate, w.asGated, w.answered = gate, w.r.Clone(w.r.Context()), false
	if !listed {
		w.refused = true
		w.answer()
	}
}

// passUnreachedGate warns if a gate would decide on a probe that a handler in front of the
// gate has answered.
func (w *walker) passUnreachedGate(gate Gate) {
	if w.gate != nil || w.perhaps > 0 || !lists(gate, w.r) {
		return
	}
	w.reached = append(w.reached, gate.(caddyhttp.MiddlewareHandler)) //nolint:forcetypeassert // gates are handlers
	if w.taker != nil {
		w.warn(takesAll(w.taker.Directive()), w.at, "", w.probe.String())
		return
	}
	for _, upstream := range w.missed {
		w.warn(gateBehind, w.at, upstream, w.probe.String())
	}
	w.missed = nil // reported
}

// lists reports whether the API of the gate lists a request.
func lists(gate Gate, r *http.Request) bool {
	api, ok := dialect.ByName(gate.DialectName())
	return ok && api.Classify(r.Method, r.URL.EscapedPath()).Operation != policy.Unlisted
}

func (w *walker) passEndpoint(endpoint Endpoint) {
	path := endpoint.OnlyPath()
	if path != "" && path != w.r.URL.EscapedPath() {
		return
	}
	switch {
	case w.refused && w.perhaps == 0 && w.probe.api == "":
		w.warn(endpointBehind(endpoint.Directive()), w.at, "", w.probe.String())
	case !w.ended && w.perhaps == 0:
		w.taker = endpoint
	}
	w.answer()
}

// rewrite applies a rewrite to the probe.
func (w *walker) rewrite(h *rewrite.Rewrite) { rewriteRequest(h, w.r) }

func rewriteRequest(h *rewrite.Rewrite, r *http.Request) {
	repl, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	h.Rewrite(r, repl)
}

func (w *walker) passProxy(h *reverseproxy.Handler) {
	if isForwardAuth(h) {
		w.trusted = true
		return
	}
	if w.ended {
		return
	}
	upstreams := upstreamsOf(h)
	switch {
	case w.gate != nil:
		w.behindGate(h, upstreams)
	case w.perhaps == 0:
		w.missed = upstreams
	}
	w.answer()
}

// behindGate notes the upstreams of a proxy behind a gate. It warns if the proxy would send the
// gate's key to a public address without TLS. It also warns if the method or the path is not the
// one that the gate has checked. A prefix that was added to the path is no mistake: the backend's
// API can be at a path such as /asr.
func (w *walker) behindGate(h *reverseproxy.Handler, upstreams []string) {
	sent := w.r.Clone(w.r.Context()) // the proxy rewrites what it sends, and nothing else
	if h.Rewrite != nil {
		rewriteRequest(h.Rewrite, sent)
	}
	tls, hasTLS := h.Transport.(reverseproxy.TLSTransport)
	for _, upstream := range upstreams {
		w.guarded[upstream] = append(w.guarded[upstream], w.at)
		if w.gate.SendsKey() && isPublicWithoutTLS(upstream) && (!hasTLS || !tls.TLSEnabled()) {
			w.warn(plainHTTP, w.at, upstream, "")
		}
	}
	gated := w.asGated
	if w.perhaps == 0 && (sent.Method != gated.Method || !strings.HasSuffix(sent.URL.EscapedPath(), gated.URL.EscapedPath())) {
		w.warn(rewriteBehind, w.at, strings.Join(upstreams, " "), w.probe.String())
	}
}

// answer notes that a handler answers the probe. The answer ends the probe, unless the route of the
// handler only perhaps matches.
func (w *walker) answer() {
	w.answered = true
	if w.perhaps == 0 {
		w.ended = true
	}
}

// answerAhead notes that a handler that is no proxy answers the probe. If the probe has passed no
// gate, it also notes this in missed.
func (w *walker) answerAhead() {
	if !w.ended && w.gate == nil && w.perhaps == 0 {
		w.missed = []string{""}
	}
	w.answer()
}

// passOther passes a handler that has no method of its own in the walker. A handler that the walker
// does not know counts as one that could answer the probe.
func (w *walker) passOther(h caddyhttp.MiddlewareHandler) {
	switch h := h.(type) {
	case *fileserver.FileServer:
		if h.PassThru {
			w.answered = true
			return
		}
		w.answerAhead()
		return
	case *caddyhttp.StaticResponse, *caddyhttp.StaticError:
		w.answerAhead()
		return
	}
	switch id := moduleID(h); id {
	case "http.handlers.speechgate_sandbox":
		w.answerAhead()
	case "http.handlers.authentication":
		w.trusted = true
		w.passPassword(h)
	default:
		if !slices.Contains(passing, strings.TrimPrefix(id, "http.handlers.")) {
			w.answered = true
		}
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

// passing are the handlers of Caddy that answer nothing themselves.
var passing = []string{"encode", "headers", "intercept", "log_append", "map", "request_body", "templates", "timeouts", "tracing", "vars"}

func moduleID(h caddyhttp.MiddlewareHandler) string {
	module, ok := h.(caddy.Module)
	if !ok {
		return ""
	}
	return string(module.CaddyModule().ID)
}

// finish is called when the probe has passed all handlers. It notes the upstreams that the probe
// reached without a gate, and warns if no handler behind the gate answers the probe.
func (w *walker) finish() {
	if w.probe.api != "" && !w.trusted {
		for _, upstream := range w.missed {
			w.bypasses = append(w.bypasses, bypass{w.at, upstream, w.probe.String()})
		}
	}
	if w.gate != nil && !w.answered && !w.probe.stream {
		w.warn(noAnswer, w.at, "", w.probe.String())
	}
}

// asksForCertificates reports whether a server authenticates clients by certificates.
func asksForCertificates(server *caddyhttp.Server) bool {
	for _, policy := range server.TLSConnPolicies {
		if policy.ClientAuthentication != nil {
			return true
		}
	}
	return false
}

// isForwardAuth reports whether h is the handler of the forward_auth directive: a proxy that
// changes the method to GET and handles the response itself.
func isForwardAuth(h *reverseproxy.Handler) bool {
	return h.Rewrite != nil && h.Rewrite.Method == http.MethodGet && len(h.HandleResponse) > 0
}

// upstreamsOf returns the names of a proxy's upstreams. Upstreams that are looked up at run
// time have a hash of the lookup's configuration as their name, because it can have secrets.
func upstreamsOf(h *reverseproxy.Handler) []string {
	var names []string
	for _, upstream := range h.Upstreams {
		names = append(names, upstreamName(upstream.Dial))
	}
	if h.DynamicUpstreams != nil {
		if config, err := json.Marshal(h.DynamicUpstreams); err == nil {
			sum := sha256.Sum256(config)
			names = append(names, fmt.Sprintf("dynamic upstreams %x", sum[:4]))
		}
	}
	return names
}
