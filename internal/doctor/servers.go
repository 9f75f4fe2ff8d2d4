package doctor

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/speechgate/speechgate/caddymodule/configcheck"
)

// checkServers makes the checks of the servers that have a gate, and of the proxies behind the gates.
func (e *examination) checkServers(servers map[string]*caddyhttp.Server, behind []configcheck.Behind) {
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		e.checkAddresses(name, servers[name])
		e.checkEarlyData(name, servers[name])
	}
	e.checkStreams(behind)
}

// checkAddresses says by which address the rules of a server go. What is wrong with it is a mistake
// of the configuration, which is reported before.
func (e *examination) checkAddresses(name string, server *caddyhttp.Server) {
	for _, f := range e.found {
		if f.Check == CheckClientAddress && f.Level == Fail && f.Subject == "server "+name {
			return
		}
	}
	connection := "the address of the connection"
	if allowed := configcheck.ProxyProtocol(server); len(allowed) > 0 {
		connection += " (from " + strings.Join(allowed, " and ") + ": the address in its PROXY header)"
	}
	message := strings.ToUpper(connection[:1]) + connection[1:] + " counts, because there are no trusted_proxies."
	if proxies := reflect.ValueOf(server).Elem().FieldByName("trustedProxies"); proxies.IsValid() && !proxies.IsNil() {
		message = "If the connection comes from trusted_proxies, the last address in " + strings.Join(server.ClientIPHeaders, " or ") +
			" that is not one of theirs counts; otherwise " + connection + "."
	}
	e.add(CheckClientAddress, Pass, "server "+name, message, "")
}

// checkEarlyData looks at servers that take TLS early data on purpose.
func (e *examination) checkEarlyData(name string, server *caddyhttp.Server) {
	http3 := len(server.Protocols) == 0 || slices.Contains(server.Protocols, "h3")
	switch {
	case !http3 || server.Allow0RTT != nil && !*server.Allow0RTT:
		e.add(CheckEarlyData, Pass, "server "+name, "The server takes no TLS early data.", "")
	case server.Allow0RTT != nil:
		e.add(CheckEarlyData, Warn, "server "+name, "The server takes TLS early data on purpose, and a gate refuses each request in it with 425: the client sends the request again, which takes longer than without early data.",
			"Write 0rtt off into the options of the server.")
	default:
		e.add(CheckEarlyData, Pass, "server "+name, "If a client sends TLS early data over HTTP/3, a gate refuses the request with 425, and the client sends it again.", "")
	}
}

// checkStreams looks for proxies of live streams that a reload cuts.
func (e *examination) checkStreams(behind []configcheck.Behind) {
	seen := make(map[*reverseproxy.Handler]bool)
	for _, b := range behind {
		if !b.Stream || seen[b.Proxy] {
			continue
		}
		seen[b.Proxy] = true
		if b.Proxy.StreamCloseDelay == 0 {
			e.add(CheckStreams, Warn, "server "+b.Name+", upstream "+b.Dials, "A reload cuts the live streams to this backend.",
				"Write stream_close_delay into its reverse_proxy, with the longest time of a stream, such as 10m.")
		}
	}
	if len(seen) == 0 {
		e.add(CheckStreams, Skip, "", "No proxy behind a gate has live streams.", "")
		return
	}
	e.passUnlessFound(CheckStreams, "Live streams go on after a reload.")
}
