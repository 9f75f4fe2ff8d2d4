package configcheck

import (
	"net/http"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// bypass is a way on which a request reaches an upstream without passing a gate.
type bypass struct {
	at       place
	upstream upstream
	request  string
	sent     requestID // what the upstream got

	needs      []string // what the request must have, as traits.names
	perhaps    bool     // a matcher that the check cannot evaluate decides whether there is such a way
	afterError bool     // the way begins in handle_errors
}

// requestID is the method and the path of a request.
type requestID struct{ method, path string }

func idOf(r *http.Request) requestID { return requestID{r.Method, r.URL.EscapedPath()} }

// guarded describes what gates send to an upstream.
type guarded struct {
	at    place              // of one of the gates
	local bool               // only processes of this machine can connect to one of the gates
	sent  map[requestID]bool // the requests
}

// guard notes an upstream behind a gate, and a request that it got.
func (w *walker) guard(to upstream, sent requestID) {
	g := w.guarded[to]
	if g == nil {
		g = &guarded{at: w.at, sent: make(map[requestID]bool)}
		w.guarded[to] = g
	}
	g.local = g.local || w.at.local
	w.unknownGuarded = w.unknownGuarded || to.atRunTime
	g.sent[sent] = true
}

// way returns a bypass on the way of the probe.
func (w *walker) way(to upstream, sent requestID, perhaps bool) bypass {
	return bypass{w.at, to, w.probe.String(), sent, w.traits.names, perhaps, w.afterError}
}

// perhapsMiss notes upstreams that perhaps got the probe without a gate.
func (w *walker) perhapsMiss(upstreams []upstream, sent requestID) {
	for _, to := range upstreams {
		w.perhapsMissed = append(w.perhapsMissed, w.way(to, sent, true))
	}
}

// noteBypasses notes the upstreams that the probe reached without a gate. It notes nothing if other
// walkers with the same probe know more.
func (w *walker) noteBypasses() {
	if w.probe.api == "" || w.trusted || w.varied && !w.complete {
		return
	}
	w.bypasses = append(w.bypasses, w.perhapsMissed...)
	if w.checked {
		return
	}
	for _, to := range w.missed {
		w.bypasses = append(w.bypasses, w.way(to, w.sent, false))
	}
}

// warnOfBypasses warns of requests that reach the upstream of a gate without a gate. The upstream
// can have something else at a path that no API lists. So the warning is only about requests that
// an API lists, or that a gate sends too.
//
// Ways that every client can go come first. A way that needs more is then no news for the same request.
func (c *checker) warnOfBypasses() {
	slices.SortStableFunc(c.bypasses, func(a, b bypass) int { return a.rank() - b.rank() })
	type news struct {
		at       place
		upstream upstream
		request  string
	}
	known := make(map[news][]bypass)
	for _, b := range c.bypasses {
		about := news{b.at, b.upstream, b.request}
		g := c.guarded[b.upstream]
		if g == nil || b.at.local && !g.local || !g.sent[b.sent] && !c.isListed(b.sent) ||
			slices.ContainsFunc(known[about], func(other bypass) bool { return isSubset(other.needs, b.needs) }) {
			continue
		}
		known[about] = append(known[about], b)
		c.warn(b.warning(), b.at, b.upstream.dial, b.request)
	}
}

// rank is lower if more clients can go the way.
func (b *bypass) rank() int {
	rank := 2 * len(b.needs)
	if b.afterError {
		rank++
	}
	if b.perhaps {
		rank += 1000
	}
	return rank
}

func (b *bypass) warning() string {
	switch {
	case b.perhaps:
		return perhapsNoGate
	case b.afterError:
		return noGateAfterError
	case len(b.needs) > 0:
		return noGateWith(b.needs)
	}
	return noGate
}

func isSubset(part, whole []string) bool {
	return !slices.ContainsFunc(part, func(name string) bool { return !slices.Contains(whole, name) })
}

// isListed reports whether an API of the gates lists a request.
func (c *checker) isListed(id requestID) bool {
	return slices.ContainsFunc(c.apis, func(api *dialect.API) bool {
		return api.Classify(id.method, id.path).Operation != policy.Unlisted
	})
}

// warnOfUnknownUpstreams warns of upstreams that are found at run time, if it depends on them whether a
// request reaches the upstream of a gate without a gate.
func (c *checker) warnOfUnknownUpstreams() {
	others := false // requests of the API reach an upstream without a gate
	for _, b := range c.bypasses {
		if b.perhaps || c.isGuarded(b.upstream) || !c.isListed(b.sent) {
			continue
		}
		if b.upstream.atRunTime {
			c.warn(unknownNoGate, b.at, b.upstream.dial, b.request)
		} else {
			others = true
		}
	}
	if !others {
		return
	}
	for to, g := range c.guarded {
		if to.atRunTime {
			c.warn(unknownGuarded, g.at, to.dial, "")
		}
	}
}

// The texts of the warnings about ways past the gates.
const (
	noGate = "these requests reach the backend of a gate without a check of their keys; " +
		"write speechgate in front of this reverse_proxy too, or remove it"
	noGateAfterError = "after an error, such as one of a handler in front of the gate, handle_errors sends these requests to the backend of a gate without a check of their keys; " +
		"write speechgate in front of the reverse_proxy in handle_errors, or answer there with respond"
	perhapsNoGate = "a matcher that needs a real request, such as expression or vars, decides whether these requests reach the backend of a gate without a check of their keys; " +
		"write speechgate without a matcher, or with matchers of the path, the method, header fields, the query or client_ip"
	unknownNoGate = "these requests reach this reverse_proxy without a check of their keys, and the configuration does not show whether its backend is the one of a gate: the backend is found at run time; " +
		"write the address of the backend in place of the placeholder or dynamic, or speechgate in front of the reverse_proxy"
	unknownGuarded = "the backend of this gate is found at run time, and other backends get requests of the API without a check of their keys: the configuration does not show whether one of them is the same backend; " +
		"write the address of the backend in place of the placeholder or dynamic, or make sure that no other reverse_proxy leads to this backend"
)

func noGateWith(needs []string) string {
	return "clients get past the gate to its backend without a check of their keys, with what a matcher looks for (" + strings.Join(needs, ", ") + "); " +
		"write speechgate without a matcher, and in front of this reverse_proxy too; leave it as it is only if these clients are meant to need no key"
}

// isUnsure reports whether a warning says that the check cannot know.
func isUnsure(text string) bool {
	switch text {
	case perhapsNoGate, unknownNoGate, unknownGuarded:
		return true
	}
	return false
}
