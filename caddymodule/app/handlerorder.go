package app

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/configcheck"
)

// A valid configuration can undo the work of a gate, if handlers are in the wrong order. The
// app checks the order when it starts, and logs warnings.

// neighbour is a kind of handler that must not be on one side of a gate.
type neighbour struct {
	before  bool // true: it must not be in front of the gate; false: it must not be behind the gate
	is      func(caddyhttp.MiddlewareHandler) bool
	opens   bool // see configcheck.Warning
	warning string
}

var neighbours = []neighbour{
	{
		before: true, is: hasID("http.handlers.cache"), opens: true,
		warning: "a cache handler comes before the gate: it can give one client's answer to another, or to one without a key; put it behind the gate: write order cache after speechgate in the global options or, if both are in a route block, write it behind speechgate",
	},
	{
		before: true, is: limitsByDecision,
		warning: "a rate_limit handler whose key is a placeholder of the gate comes before the gate: the placeholder is empty there, so that all clients share one limit; put it behind the gate: write order rate_limit after speechgate in the global options or, if both are in a route block, write it behind speechgate",
	},
	{
		is: isForwardAuth, opens: true,
		warning: "a forward_auth handler comes behind the gate: the service that it asks gets the key that the gate sends upstream; put it in front of the gate: write order forward_auth before speechgate in the global options or, if one of them is in a handle or route block, write both into one route block, forward_auth first",
	},
	{
		is: hasID("http.handlers.waf"), opens: true,
		warning: "a WAF comes behind the gate: it sees the key that the gate sends upstream and can write the key into its audit log; put it in front of the gate: write order coraza_waf before speechgate in the global options or, if one of them is in a handle or route block, write both into one route block, coraza_waf first",
	},
}

func hasID(id string) func(caddyhttp.MiddlewareHandler) bool {
	return func(h caddyhttp.MiddlewareHandler) bool {
		module, ok := h.(caddy.Module)
		return ok && string(module.CaddyModule().ID) == id
	}
}

// limitsByDecision reports whether h is a rate_limit handler whose configuration has a
// placeholder that a gate sets.
func limitsByDecision(h caddyhttp.MiddlewareHandler) bool {
	if !hasID("http.handlers.rate_limit")(h) {
		return false
	}
	config, err := json.Marshal(h)
	return err == nil && (strings.Contains(string(config), "{speechgate.") || strings.Contains(string(config), "{http.auth.user.id}"))
}

// isForwardAuth reports whether h is the handler of the forward_auth directive: a proxy that
// changes the method to GET and handles the response itself.
func isForwardAuth(h caddyhttp.MiddlewareHandler) bool {
	proxy, ok := h.(*reverseproxy.Handler)
	return ok && proxy.Rewrite != nil && proxy.Rewrite.Method == http.MethodGet && len(proxy.HandleResponse) > 0
}

// chain walks the handlers of a server in the order in which a request passes them.
type chain struct {
	server    *caddyhttp.Server
	warnings  map[string]bool
	byAddress bool     // there is an addressRuled handler
	invoked   []string // the named routes around the current one
}

// passed says what a request has passed. It has no list of handlers, so that the walk takes a time
// in proportion to the number of handlers.
type passed struct {
	neighbours uint // bit i is set: a handler that neighbours[i] describes
	key        bool // a gate that sends a key upstream
}

func (p passed) and(other passed) passed {
	return passed{p.neighbours | other.neighbours, p.key || other.key}
}

// routes walks a list of routes, and returns what a request passes in it. A request enters only one
// route of a group. After a terminal route, it enters no other route.
func (c *chain) routes(list caddyhttp.RouteList, before passed) passed {
	inGroup := make(map[string]passed) // what a request passes in the routes of a group; "" is no group
	for i := range list {
		route := &list[i]
		ahead := before
		for group, p := range inGroup {
			if group == "" || group != route.Group {
				ahead = ahead.and(p)
			}
		}
		var inside passed
		for _, h := range route.Handlers {
			inside = inside.and(c.handler(h, ahead.and(inside)))
		}
		if !route.Terminal {
			inGroup[route.Group] = inGroup[route.Group].and(inside)
		}
	}
	var all passed
	for _, p := range inGroup {
		all = all.and(p)
	}
	return all
}

// handler notes the warnings of a handler, and returns what a request passes in the handler.
func (c *chain) handler(h caddyhttp.MiddlewareHandler, before passed) passed {
	switch h := h.(type) {
	case *caddyhttp.Subroute:
		return c.routes(h.Routes, before)
	case *caddyhttp.Invoke:
		return c.invoke(h.Name, before)
	case addressRuled:
		c.byAddress = true
	}
	gate, isGate := h.(keySender)
	inside := passed{key: isGate && gate.SendsKey()}
	for i, n := range neighbours {
		switch {
		case isGate:
			if n.before && before.neighbours&(1<<i) != 0 {
				c.warnings[n.warning] = true
			}
		case !n.is(h):
		case n.before:
			inside.neighbours |= 1 << i
		case before.key:
			c.warnings[n.warning] = true
		}
	}
	return inside
}

// invoke walks a named route, unless the route invokes itself.
func (c *chain) invoke(name string, before passed) passed {
	route := c.server.NamedRoutes[name]
	if route == nil || slices.Contains(c.invoked, name) {
		return passed{}
	}
	c.invoked = append(c.invoked, name)
	defer func() { c.invoked = c.invoked[:len(c.invoked)-1] }()
	return c.routes(caddyhttp.RouteList{*route}, before)
}

// addressRuled is a handler of this gateway whose decisions depend on the address of the
// client.
type addressRuled interface{ RulesByAddress() }

// keySender is a gate. SendsKey reports whether the gate sends a key upstream.
type keySender interface{ SendsKey() bool }

// warnOfMistakes logs a warning for each mistake that the configuration shows for sure. Later calls do
// nothing.
func (a *App) warnOfMistakes() {
	a.warned.Do(func() {
		for _, warning := range a.Mistakes() {
			if !warning.Unsure {
				a.logger.Warn(warning.Text, warning.Fields...)
			}
		}
	})
}

// Mistakes returns the mistakes that the configuration shows. The modules of the configuration must
// be provisioned.
func (a *App) Mistakes() []configcheck.Warning {
	loaded, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil // there are no servers
	}
	servers := loaded.(*caddyhttp.App).Servers //nolint:forcetypeassert // the ID of the app
	return append(neighbourWarnings(servers), configcheck.Check(a.ctx, servers, a.gateBackends())...)
}

// neighbourWarnings returns a warning for each handler that is on the wrong side of a gate, and
// for each server where a client can choose its own address (see proxyWarning).
func neighbourWarnings(servers map[string]*caddyhttp.Server) (all []configcheck.Warning) {
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		c := &chain{server: servers[name], warnings: make(map[string]bool)}
		c.routes(c.server.Routes, passed{})
		where := []zap.Field{zap.String("server", name)}
		address := c.proxyWarning()
		if address != "" {
			c.warnings[address] = true
		}
		for _, text := range slices.Sorted(maps.Keys(c.warnings)) {
			warning := configcheck.Warning{Text: text, Topic: configcheck.TopicHandlers, Fields: where}
			if text == address {
				warning.Topic, warning.Opens = configcheck.TopicAddresses, true
			}
			warning.Opens = warning.Opens || slices.ContainsFunc(neighbours, func(n neighbour) bool { return n.opens && n.warning == text })
			all = append(all, warning)
		}
	}
	return all
}

// proxyWarning returns a warning if decisions depend on addresses and a client can choose its own
// address: every address may send a PROXY header, or trusted_proxies contains every address, or is not
// strict. Otherwise it returns "".
func (c *chain) proxyWarning() string {
	switch {
	case !c.byAddress:
		return ""
	case configcheck.HasEveryAddress(configcheck.ProxyProtocol(c.server)):
		return "proxy_protocol takes the PROXY header of every address: each client can send one and chooses its own address, so that keys that are bound to addresses are open to everyone; write allow with the addresses of your proxies into proxy_protocol, and no fallback_policy use or require"
	case !trustsProxies(c.server):
		return ""
	case trustsEveryone(c.server):
		return "trusted_proxies has every address: each client counts as a proxy and chooses its own address, so that keys that are bound to addresses are open to everyone; write the addresses of your proxies"
	case c.server.TrustedProxiesStrict > 0:
		return ""
	}
	return "trusted_proxies is not strict: a client behind a trusted proxy chooses its own address, as the left-most one in " +
		strings.Join(c.server.ClientIPHeaders, " or ") +
		", so that keys that are bound to addresses are open to everyone; add trusted_proxies_strict to the options of the server"
}

// trustsEveryone reports whether the trusted proxies of a server are a static list that contains
// 0.0.0.0/0 or ::/0.
func trustsEveryone(server *caddyhttp.Server) bool {
	source := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	if source.Kind() != reflect.Interface || source.Elem().Type() != reflect.TypeFor[*caddyhttp.StaticIPRange]() {
		return false
	}
	ranges := source.Elem().Elem().FieldByName("Ranges")
	texts := make([]string, ranges.Len())
	for i := range texts {
		texts[i] = ranges.Index(i).String()
	}
	return configcheck.HasEveryAddress(texts)
}

// trustsProxies reports whether a server has trusted proxies. Caddy has them in an unexported
// field, and drops their configuration after loading.
func trustsProxies(server *caddyhttp.Server) bool {
	ranges := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	return ranges.IsValid() && !ranges.IsNil()
}
