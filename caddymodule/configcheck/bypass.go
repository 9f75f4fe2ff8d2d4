package configcheck

import (
	"net/http"
	"slices"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// bypass is a way on which a request reaches an upstream without passing a gate.
type bypass struct {
	at       place
	upstream upstream
	request  string
	sent     requestID // what the upstream got
}

// requestID is the method and the path of a request.
type requestID struct{ method, path string }

func idOf(r *http.Request) requestID { return requestID{r.Method, r.URL.EscapedPath()} }

// guarded describes what gates send to an upstream.
type guarded struct {
	local bool               // only processes of this machine can connect to one of the gates
	sent  map[requestID]bool // the requests
}

// guard notes an upstream behind a gate, and a request that it got.
func (w *walker) guard(to upstream, sent requestID) {
	g := w.guarded[to]
	if g == nil {
		g = &guarded{sent: make(map[requestID]bool)}
		w.guarded[to] = g
	}
	g.local = g.local || w.at.local
	g.sent[sent] = true
}

// warnOfBypasses warns of requests that reach the upstream of a gate without a gate. The upstream
// can have something else at a path that no API lists. So the warning is only about requests that
// an API lists, or that a gate sends too.
func (c *checker) warnOfBypasses() {
	for _, b := range c.bypasses {
		g := c.guarded[b.upstream]
		if g != nil && (g.local || !b.at.local) && (g.sent[b.sent] || c.isListed(b.sent)) {
			c.warn(noGate, b.at, b.upstream.dial, b.request)
		}
	}
}

// isListed reports whether an API of the gates lists a request.
func (c *checker) isListed(id requestID) bool {
	return slices.ContainsFunc(c.apis, func(api *dialect.API) bool {
		return api.Classify(id.method, id.path).Operation != policy.Unlisted
	})
}
