package configcheck

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// testGate is a gate without a keystore. It has a field so that two gates have two addresses.
type testGate struct{ _ byte }

func (*testGate) RulesByAddress()     {}
func (*testGate) DialectName() string { return "amivoice" }
func (*testGate) SendsKey() bool      { return true }
func (*testGate) PassesKey() bool     { return false }
func (*testGate) AllowsMore() bool    { return false }

func (*testGate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

func proxyTo(dial string) *reverseproxy.Handler {
	return &reverseproxy.Handler{Upstreams: reverseproxy.UpstreamPool{{Dial: dial}}}
}

func routeOf(matcher any, handlers ...caddyhttp.MiddlewareHandler) caddyhttp.Route {
	route := caddyhttp.Route{Handlers: handlers}
	if matcher != nil {
		route.MatcherSets = caddyhttp.MatcherSets{{matcher.(caddyhttp.RequestMatcherWithError)}}
	}
	return route
}

func siteOf(host string, routes ...caddyhttp.Route) caddyhttp.Route {
	route := routeOf(&caddyhttp.MatchHost{host}, &caddyhttp.Subroute{Routes: routes})
	route.Terminal = true
	return route
}

func serverWith(routes ...caddyhttp.Route) map[string]*caddyhttp.Server {
	return map[string]*caddyhttp.Server{"srv0": {Listen: []string{":443"}, Routes: routes}}
}

// manySites are configurations with n sites.
var manySites = map[string]func(n int) map[string]*caddyhttp.Server{
	"one gate and sites without": func(n int) map[string]*caddyhttp.Server {
		routes := caddyhttp.RouteList{siteOf("gate.example", routeOf(nil, new(testGate)), routeOf(nil, proxyTo("engine:80")))}
		for i := range n {
			routes = append(routes, siteOf(fmt.Sprintf("s%d.example", i), routeOf(nil, new(caddyhttp.StaticResponse))))
		}
		return serverWith(routes...)
	},
	"one gate and proxies to its upstream": func(n int) map[string]*caddyhttp.Server {
		routes := caddyhttp.RouteList{siteOf("gate.example", routeOf(nil, new(testGate)), routeOf(nil, proxyTo("engine:80")))}
		for i := range n {
			routes = append(routes, siteOf(fmt.Sprintf("s%d.example", i), routeOf(nil, proxyTo("engine:80"))))
		}
		return serverWith(routes...)
	},
	"a gate in each site": func(n int) map[string]*caddyhttp.Server {
		var routes caddyhttp.RouteList
		for i := range n {
			routes = append(routes, siteOf(fmt.Sprintf("s%d.example", i), routeOf(nil, new(testGate)), routeOf(nil, proxyTo("engine:80"))))
		}
		return serverWith(routes...)
	},
	"hosts within a wildcard site": func(n int) map[string]*caddyhttp.Server {
		var routes caddyhttp.RouteList
		for i := range n {
			routes = append(routes, routeOf(&caddyhttp.MatchHost{fmt.Sprintf("s%d.example", i)}, new(testGate), proxyTo("engine:80")))
		}
		return serverWith(siteOf("*.example", routes...))
	},
	"a path and a prefix for each site": func(n int) map[string]*caddyhttp.Server {
		var routes caddyhttp.RouteList
		for i := range n {
			prefix := fmt.Sprintf("/s%d", i)
			gate := routeOf(&caddyhttp.MatchPath{prefix + "/*"}, &rewrite.Rewrite{StripPathPrefix: prefix}, new(testGate), proxyTo("engine:80"))
			routes = append(routes, siteOf(fmt.Sprintf("s%d.example", i), gate))
		}
		return serverWith(routes...)
	},
	"a route that all sites invoke": func(n int) map[string]*caddyhttp.Server {
		var routes caddyhttp.RouteList
		for i := range n {
			routes = append(routes, siteOf(fmt.Sprintf("s%d.example", i), routeOf(nil, &caddyhttp.Invoke{Name: "gate"})))
		}
		servers := serverWith(routes...)
		gate := routeOf(nil, new(testGate), proxyTo("engine:80"))
		servers["srv0"].NamedRoutes = map[string]*caddyhttp.Route{"gate": &gate}
		return servers
	},
}

// A configuration with twice as many sites takes twice as many steps.
func TestCheck_TakesStepsInProportionToSites(t *testing.T) {
	t.Parallel()
	steps := func(servers map[string]*caddyhttp.Server) int {
		c := newChecker()
		c.check(servers)
		if len(c.reached) == 0 {
			t.Error("the check has reached no gate")
		}
		return c.steps
	}
	for name, servers := range manySites {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			few, many := steps(servers(200)), steps(servers(400))
			if many > 2*few {
				t.Errorf("%d steps for 200 sites, and %d for 400: want at most twice as many", few, many)
			}
			if most := 400 * 200; many > most {
				t.Errorf("%d steps for 400 sites: want at most %d", many, most)
			}
		})
	}
}

func BenchmarkCheck_2000Sites(b *testing.B) {
	for name, servers := range manySites {
		b.Run(name, func(b *testing.B) {
			configured := servers(2000)
			for b.Loop() {
				Check(caddy.Context{}, configured, nil)
			}
		})
	}
}
