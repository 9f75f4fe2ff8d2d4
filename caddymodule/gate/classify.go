package gate

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// offersWebSocket reports whether r offers to become a WebSocket: it is a GET whose Upgrade
// field names websocket, alone or with other protocols (RFC 6455, section 4.1). If the path is
// not the path of a stream, the gate refuses such a request: the client expects a WebSocket,
// and would wait after a plain answer.
//
// The gate ignores offers of other protocols, as RFC 9110, section 7.8, allows: it decides as
// if the Upgrade field were absent, and does not send the field upstream. The HTTP client of
// the JDK and curl --http2 offer h2c in every cleartext request.
func offersWebSocket(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	for _, value := range r.Header["Upgrade"] {
		for offer := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(offer, "/") // a version may follow the name
			if strings.EqualFold(strings.TrimSpace(name), "websocket") {
				return true
			}
		}
	}
	return false
}

// whyUnlisted returns, for the log, why the request is not an operation of the API; "" if it
// is one.
func (req *gatedRequest) whyUnlisted() string {
	r, api := req.r, req.gate.api
	if req.call.Operation != policy.Unlisted {
		return ""
	}
	methods := api.Methods(r.URL.EscapedPath())
	switch call := api.Classify(r.Method, r.URL.EscapedPath()); {
	case r.Method == http.MethodConnect, r.URL.Opaque != "":
		return "the request asks for a tunnel or a proxy (CONNECT, or a target that is no path)"
	case hasUnlistedParameter(call.Route, r):
		return "the query has a parameter that the " + api.Name + " dialect does not let through with this path: " + words.Alternatives(call.Route.Unlisted)
	case call.Operation == policy.Stream:
		return "the path is a stream's, and the request is no WebSocket handshake: want GET over HTTP/1.1 with Upgrade: websocket alone, Connection: Upgrade, one Sec-WebSocket-Key and no body"
	case offersWebSocket(r):
		return "a WebSocket handshake, and the path is not a stream's"
	case len(methods) > 0:
		return "the " + api.Name + " dialect lists the path with another method: " + strings.Join(methods, ", ")
	case api.Knows(r.URL.EscapedPath()) && strings.Contains(r.URL.EscapedPath(), "%"):
		return "the path has an escape such as %2F, and no operation of the " + api.Name + " dialect has one"
	case api.Knows(r.URL.EscapedPath()):
		return "the " + api.Name + " dialect lists a path that differs from this one in case, in a slash or in its last segments"
	}
	return "the " + api.Name + " dialect does not list the path, and no also_allow of the gate fits the method and the path"
}

// classify returns which operation a request asks for, by its method and path. The path is the
// path that the next handler gets. A request on the path of a stream is unlisted if it is not a
// WebSocket handshake. If the request fits an allowance that has a segment for the account,
// account is this segment of the path. It must be the ID of the key's account.
func (g *Gate) classify(api *dialect.API, r *http.Request) (call dialect.Call, account string) {
	path := r.URL.EscapedPath()
	call = api.Classify(r.Method, path)
	if hasUnlistedParameter(call.Route, r) {
		call.Operation = policy.Unlisted
		return call, ""
	}
	if call.Operation == policy.Stream && asksWebSocket(r) {
		return call, ""
	}
	if call.Route == nil && len(g.AlsoAllow) > 0 {
		var ok bool
		if account, ok = g.allowance(api, r.Method, path); ok {
			call.Operation = policy.Info
		}
	}
	if r.URL.Opaque != "" || r.Method == http.MethodConnect || offersWebSocket(r) || call.Operation == policy.Stream {
		call.Operation = policy.Unlisted
	}
	return call, account
}

// hasUnlistedParameter reports whether the query of a request makes another operation of it.
func hasUnlistedParameter(route *dialect.Route, r *http.Request) bool {
	return route != nil && credential.HasParameter(r.URL.RawQuery, route.Unlisted)
}

// ClassifyPath returns the operation that a request with this method and path asks for,
// and the account that the path names, if any. If the path is the path of a live stream, the
// request is taken for a WebSocket handshake. The gate does not need to be provisioned. If the
// dialect of the gate is unknown, the operation is unlisted.
func (g *Gate) ClassifyPath(method string, path *url.URL) (call dialect.Call, account string) {
	api, ok := dialect.ByName(g.Dialect)
	if !ok {
		return call, ""
	}
	r := &http.Request{Method: method, URL: path, ProtoMajor: 1, ProtoMinor: 1}
	if api.Classify(method, path.EscapedPath()).Operation == policy.Stream {
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {""}}
	}
	return g.classify(api, r)
}
