package app

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// countedHandler counts how often the walk asks for its ID.
type countedHandler struct{ asked *int }

func (h countedHandler) CaddyModule() caddy.ModuleInfo {
	*h.asked++
	return caddy.ModuleInfo{ID: "http.handlers.counted"}
}

func (countedHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(w, r)
}

// countedGate is a gate without a keystore.
type countedGate struct{ countedHandler }

func (countedGate) RulesByAddress() {}
func (countedGate) SendsKey() bool  { return true }

// A server can have hundreds of sites. The walk must look at each handler once for each kind of
// neighbour.
func TestChain_LooksAtEachHandlerOnce(t *testing.T) {
	t.Parallel()
	for name, group := range map[string]string{"a group": "group", "no group": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const sites = 500
			asked := 0
			counted := countedHandler{&asked}
			var routes caddyhttp.RouteList
			for range sites {
				routes = append(routes, caddyhttp.Route{Group: group, Handlers: []caddyhttp.MiddlewareHandler{counted, countedGate{counted}, counted}})
			}
			c := &chain{server: new(caddyhttp.Server), warnings: make(map[string]bool)}
			c.routes(routes, passed{})
			if most := sites * 3 * len(neighbours); asked == 0 || asked > most {
				t.Errorf("the walk has asked %d times for an ID: want 1 to %d", asked, most)
			}
		})
	}
}
