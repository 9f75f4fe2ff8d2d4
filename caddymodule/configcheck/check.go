// Package configcheck looks through a loaded configuration for mistakes that Caddy accepts and
// that undo the work of a gate, such as a proxy in front of the gate. Each mistake is a
// [Warning].
//
// It passes made-up requests through the handlers of each server without running the handlers.
// There is a request for each operation of each API and for each host that leads to a handler of
// the gateway or to the upstream of a gate. See walker in walk.go.
package configcheck

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/dialect"
)

// Gate is a handler that checks keys in front of a backend.
type Gate interface {
	KeyReader
	// DialectName returns the name of the API that the gate's clients speak.
	DialectName() string
	// SendsKey reports whether the gate sends a key upstream: the upstream key or the
	// client's.
	SendsKey() bool
	// PassesKey reports whether the gate sends the client's key upstream.
	PassesKey() bool
	// AllowsMore reports whether the gate has also_allow.
	AllowsMore() bool
}

// Endpoint is a handler that answers requests itself, and reads keys: the issuance API or the
// verify endpoint.
type Endpoint interface {
	KeyReader
	// Directive is the name of the handler's directive.
	Directive() string
	// OnlyPath is the path that the handler answers, or empty if it answers every request.
	OnlyPath() string
}

// JobEndpoint is an endpoint that is asked about jobs.
type JobEndpoint interface {
	Endpoint
	// JobsOf is the backend name of the jobs; "" if the endpoint is asked about other requests too.
	JobsOf() string
}

// ProxyEndpoint is an endpoint that other proxies can ask.
type ProxyEndpoint interface {
	Endpoint
	// AnswersProxies reports whether other proxies ask about requests of their clients.
	AnswersProxies() bool
}

// KeyReader is a handler that reads keys in requests and decides by the address of the client.
type KeyReader interface{ RulesByAddress() }

// Warning is a mistake in a configuration. The text says what is wrong and, behind its first
// semicolon, what to write. The fields say where.
type Warning struct {
	Text   string
	Topic  Topic
	Opens  bool // requests pass without a check, or a secret shows, if nobody mends the mistake
	Unsure bool // nobody can know from the configuration whether it is a mistake
	Fields []zap.Field
}

// Topic says what a warning is about.
type Topic uint8

// The topics.
const (
	TopicHandlers  Topic = iota // the handlers around a gate, and the way to its backend
	TopicAddresses              // the addresses of clients
	TopicLogs                   // keys in logs
)

// Check returns the mistakes in the servers and the logs of the configuration of ctx. The
// modules of the configuration must be provisioned. backends are the backend names of all gates of
// the configuration.
func Check(ctx caddy.Context, servers map[string]*caddyhttp.Server, backends []string) []Warning {
	c := newChecker()
	c.check(servers)
	c.warnOfUnknownJobs(backends)
	if len(c.readers) == 0 {
		return c.warnings()
	}
	return slices.Concat(c.warnings(), logWarnings(ctx, servers, c.readers), spanWarnings(servers))
}

func (c *checker) check(servers map[string]*caddyhttp.Server) {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(servers)), func(name string) bool { return servers[name] == nil })
	found := make(map[string]*finder)
	for _, name := range names {
		server := servers[name]
		f := c.find(server, place{server: name, listen: strings.Join(server.Listen, " "), local: IsLocal(server.Listen), plain: isPlain(server)}, nil)
		found[name] = f
		c.readers = append(c.readers, f.readers...)
		c.pages = append(c.pages, f.pages...)
		c.addPrefixes(f.prefixes)
	}
	c.warnOfPlainPages()
	if len(c.readers) == 0 {
		return
	}
	c.apis = apisOf(c.readers)
	var all []site
	for _, name := range names {
		for _, s := range c.sitesOf(servers[name], found[name]) {
			if all = append(all, s); len(s.found.readers) > 0 {
				c.walk(&s)
			}
		}
	}
	for _, s := range all {
		if len(s.found.readers) == 0 && c.couldReachGuarded(s.found.upstreams) {
			s.found.addPrefixes(c.prefixes...)
			c.walk(&s)
		}
		if c.couldReachGuarded(s.found.onErrors) {
			c.walkErrors(&s)
		}
	}
	c.warnOfBypasses()
	c.warnOfUnknownUpstreams()
	c.warnOfOpenAnswers(servers)
	c.warnOfGates()
	c.warnOfPlainGates()
}

// apisOf returns the APIs of the gates among the handlers, or every API if there is no gate. A path
// that only other APIs have means nothing to a gate and to the backend behind it.
func apisOf(readers []reader) (apis []*dialect.API) {
	for _, name := range dialect.Names() {
		speaks := func(r reader) bool {
			gate, ok := r.handler.(Gate)
			return ok && gate.DialectName() == name
		}
		if api, _ := dialect.ByName(name); slices.ContainsFunc(readers, speaks) {
			apis = append(apis, api)
		}
	}
	if len(apis) > 0 {
		return apis
	}
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		apis = append(apis, api)
	}
	return apis
}

// checker collects what the walks of all servers find.
type checker struct {
	readers        []reader
	pages          []pagesAt
	apis           []*dialect.API // of the gates
	prefixes       []string       // some of the prefixes that handlers of all servers strip from paths
	firstHost      map[place]string
	warned         map[warningKey]*warned
	bypasses       []bypass              // the ways to an upstream without a gate
	behind         []Behind              // the proxies behind gates
	guarded        map[upstream]*guarded // the upstreams behind a gate
	unknownGuarded bool                  // one of them is found at run time
	reached        map[caddyhttp.MiddlewareHandler]bool
	passed         map[caddyhttp.MiddlewareHandler]bool     // the gate is not behind a handler that answers all of its requests
	blocked        map[caddyhttp.MiddlewareHandler][]bypass // how handlers in front of a gate have answered, for probes with traits
	atRoot         map[caddyhttp.MiddlewareHandler]bool     // a path reaches the gate as the client has sent it
	unsure         map[caddyhttp.MiddlewareHandler]bool     // there are probes that were not tried

	indexes map[*caddyhttp.Route]*routeIndex // of lists, by the first route
	steps   int                              // how many routes and handlers the check has looked at
}

func newChecker() *checker {
	return &checker{
		firstHost: make(map[place]string), warned: make(map[warningKey]*warned), guarded: make(map[upstream]*guarded),
		reached: make(map[caddyhttp.MiddlewareHandler]bool), passed: make(map[caddyhttp.MiddlewareHandler]bool), blocked: make(map[caddyhttp.MiddlewareHandler][]bypass),
		atRoot: make(map[caddyhttp.MiddlewareHandler]bool), unsure: make(map[caddyhttp.MiddlewareHandler]bool),
		indexes: make(map[*caddyhttp.Route]*routeIndex),
	}
}

// maxSharedPrefixes is how many prefixes of gates are tried on sites without a gate too.
const maxSharedPrefixes = 4

func (c *checker) addPrefixes(prefixes []string) {
	for _, prefix := range prefixes {
		if len(c.prefixes) < maxSharedPrefixes && !slices.Contains(c.prefixes, prefix) {
			c.prefixes = append(c.prefixes, prefix)
		}
	}
}

func (c *checker) isGuarded(u upstream) bool { return c.guarded[u] != nil }

// couldReachGuarded reports whether one of the upstreams is, or could be, behind a gate too.
func (c *checker) couldReachGuarded(upstreams []upstream) bool {
	if len(c.guarded) == 0 || len(upstreams) == 0 {
		return false
	}
	return c.unknownGuarded || slices.ContainsFunc(upstreams, func(u upstream) bool { return u.atRunTime || c.isGuarded(u) })
}

// place says where a handler is.
type place struct {
	server string
	listen string
	host   string // empty: a host that the configuration does not name
	local  bool   // only processes of this machine can connect
	plain  bool   // clients reach the server without TLS
}

type warningKey struct {
	text     string
	place    place
	upstream string
}

type warned struct {
	order    int
	requests []string
}

// warn adds a warning. Warnings with the same text, place and upstream become one, which names
// all requests.
func (c *checker) warn(text string, at place, upstream, request string) {
	key := warningKey{text, at, upstream}
	w := c.warned[key]
	if w == nil {
		w = &warned{order: len(c.warned)}
		c.warned[key] = w
	}
	if request != "" && !slices.Contains(w.requests, request) {
		w.requests = append(w.requests, request)
	}
}

func (c *checker) warnings() []Warning {
	keys := slices.SortedFunc(maps.Keys(c.warned), func(a, b warningKey) int { return c.warned[a].order - c.warned[b].order })
	all := make([]Warning, 0, len(keys))
	for _, key := range keys {
		if c.isRepeated(key) {
			continue
		}
		fields := []zap.Field{zap.String("server", key.place.server), zap.String("listen", key.place.listen)}
		if key.place.host != "" {
			fields = append(fields, zap.String("host", key.place.host))
		}
		if requests := c.warned[key].requests; len(requests) > 0 {
			fields = append(fields, zap.Strings("requests", requests))
		}
		if key.upstream != "" {
			fields = append(fields, zap.String("upstream", key.upstream))
		}
		all = append(all, Warning{Text: key.text, Topic: TopicHandlers, Opens: opens(key.text), Unsure: isUnsure(key.text), Fields: fields})
	}
	return all
}

// isRepeated reports whether a warning about a host is the same as the one about the first host of
// its matcher.
func (c *checker) isRepeated(key warningKey) bool {
	first, ok := c.firstHost[key.place]
	if !ok {
		return false
	}
	same := key
	same.place.host = first
	other := c.warned[same]
	return other != nil && slices.Equal(other.requests, c.warned[key].requests)
}

// The texts of the warnings.
const (
	gateBehind = "the gate comes behind a handler that answers these requests, which never reach the gate: nothing checks their keys; " +
		"in the route block, write speechgate above that handler, such as reverse_proxy"
	gateTwice = "a gate comes behind another gate: the second gate does not get the client's key, and refuses the request; " +
		"write speechgate once, for the whole site or in each handle block"
	judgedTwice = "a gate comes behind another gate: each request is judged, logged and counted twice; " +
		"write speechgate once, for the whole site or in each handle block"
	gateUnreached = "no request that the API lists reaches the gate: its matcher, or a handler in front of it, takes them away; " +
		"write speechgate without a matcher, and strip a prefix of the path in front of it with handle_path"
	rewriteBehind = "a rewrite comes between the gate and the proxy: the backend gets another method or path than the gate has checked; " +
		"write rewrite, uri, method and handle_path in front of the gate, or the gate into their block"
	noAnswer = "no handler behind the gate answers these requests: a client with a valid key gets an empty answer with status 200; " +
		"write a reverse_proxy for them, or correct its matcher"
	basicAuth = "basic_auth and the gate get the same requests: a password and a key are both credentials, so the gate refuses each request with a password, and basic_auth each request without one; " +
		"remove basic_auth, or write a matcher for other paths"
	openAnswer = "other proxies ask speechgate_verify, and Caddy answers a question with another host or path with an empty 200, which a proxy takes for yes; " +
		"give speechgate_verify a site without a host name, such as http://:8090, and no matcher"
	plainHTTP = "the gate's key goes to this backend over plain HTTP; write https:// in front of the backend's name in reverse_proxy"
)

// opens reports whether a mistake lets requests pass without a check, or shows a key.
func opens(text string) bool {
	switch text {
	case gateBehind, rewriteBehind, noGate, noGateAfterError, openAnswer, plainHTTP, pagesPlain:
		return true
	}
	return false
}

func gateBelow(api *dialect.API) string {
	return "all requests of the " + api.Name + " API reach the gate from other paths than the API's, such as below a prefix: a client library of the API drops the path of its base URL, so its requests do not reach the gate; " +
		"give the API a host name of its own, and write speechgate " + api.Name + " without handle_path, uri and rewrite in front of it"
}

func gatePlain(api *dialect.API) string {
	return "clients reach the gates of the " + api.Name + " API without TLS only: a client library of the API opens live streams over wss only, so its streams do not reach the gate, and keys are sent in clear; " +
		"give the site a host name without http:// and without port 80, or a tls directive; if a proxy in front of Caddy speaks TLS, name the proxy in trusted_proxies"
}

func endpointBehind(directive string) string {
	return directive + " comes behind a gate, which answers its path with 404; write " + directive +
		" at the same level as the gate: outside handle and route blocks, Caddy puts it in front by itself"
}

func unknownJobs(backend string, backends []string) string {
	return fmt.Sprintf("speechgate_verify is asked about jobs of backend %q, and no gate of this configuration has this backend name: "+
		"each job is unknown, and each answer is 404; write the backend name of the gate: %s", backend, strings.Join(backends, " or "))
}

func takesAll(directive string) string {
	return directive + " answers every request, and none reaches the gate behind it; give " + directive + " a path, or a site of its own"
}

func (c *checker) warnOfGates() {
	for _, r := range c.readers {
		c.unsure[r.handler] = c.unsure[r.handler] || r.unsure
	}
	for _, r := range c.readers {
		gate, ok := r.handler.(Gate)
		if !ok || c.unsure[r.handler] {
			continue
		}
		api, _ := dialect.ByName(gate.DialectName())
		switch {
		case !c.reached[r.handler] && !gate.AllowsMore():
			c.warn(gateUnreached, r.at, "", "")
		case c.reached[r.handler] && !c.atRoot[r.handler] && api.AtRoot:
			c.warn(gateBelow(api), r.at, "", "")
		}
		if !c.passed[r.handler] {
			for _, b := range c.blocked[r.handler] {
				c.warn(gateBehind, b.at, b.upstream.dial, b.request)
			}
		}
	}
}

// warnOfPlainGates warns of gates without TLS, if a client library of their API opens live streams over
// wss only. A configuration with one gate of the API that has TLS, or that only this machine reaches, is
// taken for a complete one.
func (c *checker) warnOfPlainGates() {
	plain := make(map[*dialect.API]place)
	fine := make(map[*dialect.API]bool)
	for _, r := range slices.Backward(c.readers) {
		gate, ok := r.handler.(Gate)
		if !ok {
			continue
		}
		api, _ := dialect.ByName(gate.DialectName())
		if r.at.plain && !r.at.local && (len(r.hosts) == 0 || slices.ContainsFunc(r.hosts, isForeign)) {
			plain[api] = r.at
		} else {
			fine[api] = true
		}
	}
	for api, at := range plain {
		if api.Secure && !fine[api] {
			c.warn(gatePlain(api), at, "", "")
		}
	}
}

// warnOfUnknownJobs warns of endpoints that are asked about jobs of a backend that no gate has. If
// the configuration has no gate, another process can have the gates, and there is no warning.
func (c *checker) warnOfUnknownJobs(backends []string) {
	for _, r := range c.readers {
		endpoint, ok := r.handler.(JobEndpoint)
		if ok && len(backends) > 0 && endpoint.JobsOf() != "" && !slices.Contains(backends, endpoint.JobsOf()) {
			c.warn(unknownJobs(endpoint.JobsOf(), backends), r.at, "", "")
		}
	}
}
