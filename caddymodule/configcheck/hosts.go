package configcheck

import (
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// maxHosts is how many hosts of one matcher are tried.
const maxHosts = 16

// A request for a host enters few of the routes of a server that has many sites. Lists with more
// routes than fewRoutes have an index by host, so that the check takes a time that grows with the
// number of the sites, and not with its square.
const fewRoutes = 8

// routeIndex has the numbers of routes in a list.
type routeIndex struct {
	byHost map[string][]int // the routes that match only these hosts, in lower case
	others []int
}

// routesFor returns the routes of a list that a request for the host of r could enter, and perhaps
// some that it could not. Without r, it returns all routes.
func (c *checker) routesFor(list caddyhttp.RouteList, r *http.Request) iter.Seq[*caddyhttp.Route] {
	return func(yield func(*caddyhttp.Route) bool) {
		if r == nil || len(list) <= fewRoutes {
			for i := range list {
				if c.steps++; !yield(&list[i]) {
					return
				}
			}
			return
		}
		index := c.indexOf(list)
		numbers := slices.Concat(index.byHost[strings.ToLower(r.Host)], index.others)
		slices.Sort(numbers)
		for _, i := range numbers {
			if c.steps++; !yield(&list[i]) {
				return
			}
		}
	}
}

func (c *checker) indexOf(list caddyhttp.RouteList) *routeIndex {
	if index := c.indexes[&list[0]]; index != nil {
		return index
	}
	index := &routeIndex{byHost: make(map[string][]int)}
	for i := range list {
		c.steps++
		hosts, all := namedHosts(list[i].MatcherSets)
		if !all {
			index.others = append(index.others, i)
			continue
		}
		for _, host := range hosts {
			index.byHost[host] = append(index.byHost[host], i)
		}
	}
	c.indexes[&list[0]] = index
	return index
}

// namedHosts returns the hosts that matchers name, in lower case. all is true if the matchers
// match no other hosts.
func namedHosts(sets caddyhttp.MatcherSets) (hosts []string, all bool) {
	for _, set := range sets {
		i := slices.IndexFunc(set, func(matcher any) bool {
			m, ok := matcher.(*caddyhttp.MatchHost)
			return ok && !slices.ContainsFunc(*m, func(host string) bool { return strings.ContainsAny(host, "*{") })
		})
		if i < 0 {
			return nil, false
		}
		for _, host := range *set[i].(*caddyhttp.MatchHost) { //nolint:forcetypeassert // IndexFunc found this type
			if host = strings.ToLower(host); !slices.Contains(hosts, host) {
				hosts = append(hosts, host)
			}
		}
	}
	return hosts, len(sets) > 0
}

// couldMatchHost reports whether a set of matchers has no matcher for other hosts than the one of r.
func couldMatchHost(sets caddyhttp.MatcherSets, r *http.Request) bool {
	return len(sets) == 0 || slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
		return !slices.ContainsFunc(set, func(matcher any) bool {
			m, ok := matcher.(*caddyhttp.MatchHost)
			return ok && !m.Match(r)
		})
	})
}

// matchesHostOnly reports whether the matchers match all requests for the host of r.
func matchesHostOnly(sets caddyhttp.MatcherSets, r *http.Request) bool {
	return len(sets) == 0 || slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
		return !slices.ContainsFunc(set, func(matcher any) bool {
			m, ok := matcher.(*caddyhttp.MatchHost)
			return !ok || !m.Match(r)
		})
	})
}
