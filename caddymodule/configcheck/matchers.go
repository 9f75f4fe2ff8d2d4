package configcheck

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// verdict says whether a route matches the probe.
type verdict int

const (
	no verdict = iota
	perhaps
	yes
)

// matches evaluates the matchers of a route. The set that matches best decides.
func (w *walker) matches(sets caddyhttp.MatcherSets) verdict {
	if len(sets) == 0 {
		return yes
	}
	return w.matchesAny(sets)
}

func (w *walker) matchesAny(sets []caddyhttp.MatcherSet) verdict {
	best := no
	for _, set := range sets {
		best = max(best, w.matchesSet(set))
	}
	return best
}

func (w *walker) matchesSet(set caddyhttp.MatcherSet) verdict {
	result := yes
	for _, matcher := range set {
		if result = min(result, w.matchesOne(matcher)); result == no {
			return no
		}
	}
	return result
}

func (w *walker) matchesOne(matcher any) verdict {
	if not, ok := matcher.(*caddyhttp.MatchNot); ok {
		return yes - w.matchesAny(not.MatcherSets)
	}
	if !w.evaluates(matcher) {
		return perhaps
	}
	if ok, err := matcher.(caddyhttp.RequestMatcherWithError).MatchWithError(w.r); err != nil || !ok { //nolint:forcetypeassert // evaluates lists types that implement it
		return no
	}
	return yes
}

// evaluates reports whether the walker can evaluate a matcher, other than MatchNot. It evaluates
// matchers of header fields, the query and the address only for a probe that has all of them, and
// expressions only for the status in handle_errors.
func (w *walker) evaluates(matcher any) bool {
	switch m := matcher.(type) {
	case *caddyhttp.MatchHeader, *caddyhttp.MatchHeaderRE, *caddyhttp.MatchQuery, *caddyhttp.MatchClientIP, *caddyhttp.MatchRemoteIP:
		return w.complete
	case *caddyhttp.MatchExpression:
		return w.afterError && strings.Count(m.Expr, "{") == strings.Count(m.Expr, "{http.error.status_code}")
	}
	return isKnown(matcher)
}

// isKnown reports whether a matcher depends only on the host, the path and the method of a request.
func isKnown(matcher any) bool {
	switch m := matcher.(type) {
	case *caddyhttp.MatchHost, *caddyhttp.MatchPath, *caddyhttp.MatchPathRE, *caddyhttp.MatchMethod:
		return true
	case *caddyhttp.MatchNot:
		for _, set := range m.MatcherSets {
			if slices.ContainsFunc(set, func(inner any) bool { return !isKnown(inner) }) {
				return false
			}
		}
		return true
	}
	return false
}

// isKnownRoute reports whether all matchers of a route depend only on the host, the path and the
// method of a request.
func isKnownRoute(route *caddyhttp.Route) bool {
	return !slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
		return slices.ContainsFunc(set, func(matcher any) bool { return !isKnown(matcher) })
	})
}
