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
		sites = append(sites, site{server, at, c.find(server, at, probe.request(server, host))})
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
		w := &walker{checker: c, server: s.server, at: s.at, probe: &probes[i], r: probes[i].request(s.server, s.at.host)}
		w.trusted = asksForCertificates(s.server)
		w.routes(s.server.Routes)
		w.finish()
	}
}

// isLocal reports whether only processes of this machine can connect to the addresses.
func isLocal(listen []string) bool {
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
