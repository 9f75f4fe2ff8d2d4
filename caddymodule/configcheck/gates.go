package configcheck

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

func (w *walker) passGate(gate Gate) {
	if w.ended {
		w.passUnreachedGate(gate)
		return
	}
	listed := lists(gate, w.r)
	if listed {
		handler := gate.(caddyhttp.MiddlewareHandler) //nolint:forcetypeassert // gates are handlers
		w.reached[handler], w.passed[handler] = true, true
		w.atRoot[handler] = w.atRoot[handler] || w.r.URL.EscapedPath() == w.probe.path
		switch {
		case w.gate == nil || w.perhaps > 0:
		case w.gate.PassesKey():
			w.warn(judgedTwice, w.at, "", w.probe.String())
		default:
			w.warn(gateTwice, w.at, "", w.probe.String())
		}
		if w.password && w.perhaps == 0 {
			w.warn(basicAuth, w.at, "", w.probe.String())
		}
	}
	w.gate, w.doubtful, w.asGated, w.answered = gate, false, w.r.Clone(w.r.Context()), false
	if !listed {
		w.refused = true
		w.answer()
	}
}

// passUnreachedGate warns if a gate would decide on a probe that a handler in front of the
// gate has answered.
func (w *walker) passUnreachedGate(gate Gate) {
	if w.gate != nil || !lists(gate, w.r) {
		return
	}
	w.reached[gate.(caddyhttp.MiddlewareHandler)] = true //nolint:forcetypeassert // gates are handlers
	if w.perhaps > 0 {
		return
	}
	if w.quiet {
		if w.complete {
			w.noteBlocked(gate)
		}
		return
	}
	if w.taker != nil {
		w.warn(takesAll(w.taker.Directive()), w.at, "", w.probe.String())
		return
	}
	for _, upstream := range w.missed {
		w.warn(gateBehind, w.at, upstream.dial, w.probe.String())
	}
	w.missed = nil // reported
}

// noteBlocked notes that a handler has answered a probe in front of a gate.
func (w *walker) noteBlocked(gate Gate) {
	handler := gate.(caddyhttp.MiddlewareHandler) //nolint:forcetypeassert // gates are handlers
	for _, to := range w.missed {
		w.blocked[handler] = append(w.blocked[handler], w.way(to, w.sent, false))
	}
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

// warnOfOpenAnswers warns of endpoints that other proxies ask, if Caddy answers a question that does
// not reach the endpoint with an empty 200. Some proxies keep the host and the path of their client in
// the question, so that the client would choose whether its key is checked.
func (c *checker) warnOfOpenAnswers(servers map[string]*caddyhttp.Server) {
	for _, r := range c.readers {
		if endpoint, ok := r.handler.(ProxyEndpoint); !ok || !endpoint.AnswersProxies() {
			continue
		}
		server := servers[r.at.server]
		for _, p := range []probe{{method: http.MethodGet, path: "/"}, {method: http.MethodPost, path: "/v1/recognize"}} {
			// The walk has a checker of its own: what it would warn of has been found before.
			w := &walker{checker: newChecker(), server: server, at: r.at, probe: &p, r: p.request(server, "", traits{})}
			if w.routes(server.Routes); !w.answered {
				c.warn(openAnswer, r.at, "", p.String())
			}
		}
	}
}
