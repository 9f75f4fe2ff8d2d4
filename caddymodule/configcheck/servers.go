package configcheck

import (
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol"
)

// site is a host of a server, and what a request for it can reach.
type site struct {
	server *caddyhttp.Server
	at     place
	found  *finder
}

// sitesOf returns the hosts of a server: up to maxHosts hosts of each matcher, and all hosts that
// the configuration does not name. all is what the finder has found for no host in particular.
func (c *checker) sitesOf(server *caddyhttp.Server, all *finder) (sites []site) {
	probe := probe{method: http.MethodGet, path: "/"}
	for _, host := range slices.Sorted(maps.Keys(all.hosts)) {
		at := all.at
		at.host = host
		if first := all.hosts[host]; first != host {
			c.firstHost[at] = first
		}
		sites = append(sites, site{server, at, c.find(server, at, probe.request(server, host, traits{}))})
	}
	return sites
}

// walk passes all probes through a site.
func (c *checker) walk(s *site) {
	probes, all := probesFor(c.apis, s.found.readers, s.found.prefixes)
	if !all {
		for _, r := range s.found.readers {
			c.unsure[r.handler] = true
		}
	}
	for i := range probes {
		w := c.newWalker(s, &probes[i], traits{})
		w.routes(s.server.Routes)
		w.finish()
		if !w.varied {
			continue
		}
		for _, t := range s.allTraits() {
			w := c.newWalker(s, &probes[i], t)
			w.complete, w.quiet = true, true
			w.routes(s.server.Routes)
			w.noteBypasses()
		}
	}
}

// errorStatuses are statuses of errors that handlers in front of a gate can return.
var errorStatuses = []int{400, 401, 403, 404, 405, 408, 413, 425, 429, 431, 500, 501, 502, 503, 504}

// walkErrors passes all probes through the routes of handle_errors.
func (c *checker) walkErrors(s *site) {
	probes, _ := probesFor(c.apis, s.found.readers, s.found.prefixes)
	for i := range probes {
		for _, t := range s.allTraits() {
			for _, status := range errorStatuses {
				w := c.newWalker(s, &probes[i], t)
				w.complete, w.quiet, w.afterError = true, true, true
				w.r = s.server.Errors.WithError(w.r, caddyhttp.HandlerError{StatusCode: status})
				w.routes(s.server.Errors.Routes)
				w.noteBypasses()
			}
		}
	}
}

// allTraits returns the traits to try on a site. The first has none.
func (s *site) allTraits() []traits { return append([]traits{{}}, s.found.traits...) }

func (c *checker) newWalker(s *site, p *probe, t traits) *walker {
	return &walker{
		checker: c, server: s.server, at: s.at, probe: p, traits: t, r: p.request(s.server, s.at.host, t),
		varied: len(s.found.traits) > 0, trusted: asksForCertificates(s.server),
	}
}

// IsLocal reports whether only processes of this machine can connect to the addresses.
func IsLocal(listen []string) bool {
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

// isPlain reports whether clients reach a server without TLS: neither the server speaks it, nor can a
// proxy in front of the server do so, because there are neither trusted proxies nor listener wrappers, such as
// proxy_protocol. Caddy has both in unexported fields, and drops their configuration after loading.
func isPlain(server *caddyhttp.Server) bool {
	if len(server.TLSConnPolicies) > 0 {
		return false
	}
	fields := reflect.ValueOf(server).Elem()
	proxies, wrappers := fields.FieldByName("trustedProxies"), fields.FieldByName("listenerWrappers")
	return proxies.IsValid() && proxies.IsNil() && wrappers.IsValid() && wrappers.Len() == 0
}

// ProxyProtocol returns the addresses from which a server takes the address of the client out of a PROXY
// header. If every address may send one, the list has "0.0.0.0/0". The list is empty without the listener
// wrapper proxy_protocol.
func ProxyProtocol(server *caddyhttp.Server) (allowed []string) {
	wrappers := reflect.ValueOf(server).Elem().FieldByName("listenerWrappers")
	if !wrappers.IsValid() {
		return nil
	}
	for i := range wrappers.Len() {
		wrapper := wrappers.Index(i).Elem()
		if wrapper.Kind() != reflect.Pointer || wrapper.Type() != reflect.TypeFor[*proxyprotocol.ListenerWrapper]() {
			continue
		}
		allowed = append(allowed, texts(wrapper.Elem().FieldByName("Allow"))...)
		switch proxyprotocol.Policy(wrapper.Elem().FieldByName("FallbackPolicy").Int()) {
		case proxyprotocol.PolicyUSE, proxyprotocol.PolicyREQUIRE:
			allowed = append(allowed, "0.0.0.0/0")
		case proxyprotocol.PolicyIGNORE, proxyprotocol.PolicyREJECT, proxyprotocol.PolicySKIP:
		}
	}
	return allowed
}

// HasEveryAddress reports whether one of the ranges has every address.
func HasEveryAddress(ranges []string) bool {
	return slices.ContainsFunc(ranges, func(text string) bool {
		prefix, err := netip.ParsePrefix(text)
		return err == nil && prefix.Bits() == 0
	})
}

// isForeign reports whether clients of another machine can use a host name.
func isForeign(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return false
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil || !ip.IsLoopback()
}

// asksForCertificates reports whether a server authenticates clients by certificates.
func asksForCertificates(server *caddyhttp.Server) bool {
	for _, policy := range server.TLSConnPolicies {
		if policy != nil && policy.ClientAuthentication != nil {
			return true
		}
	}
	return false
}
