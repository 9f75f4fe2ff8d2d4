package configcheck

import "slices"

// Pages is a handler that serves pages where people sign in: the console.
type Pages interface {
	// StartPath is the path of the start page, with a slash at its end. The handler answers all
	// requests for this path and the paths below it, and no others.
	StartPath() string
}

// pagesAt is a handler that serves pages, and where it is.
type pagesAt struct {
	at    place
	hosts []string // the hosts that the routes around the handler match; empty: all hosts
}

const pagesPlain = "the console is reached without TLS: everyone on the way can read passwords, sessions and new keys; " +
	"give the site a host name without http:// and without port 80, or a tls directive; if a proxy in front of Caddy speaks TLS, name the proxy in trusted_proxies"

// warnOfPlainPages warns of pages that clients of other machines reach without TLS.
func (c *checker) warnOfPlainPages() {
	for _, p := range c.pages {
		if p.at.plain && !p.at.local && (len(p.hosts) == 0 || slices.ContainsFunc(p.hosts, isForeign)) {
			c.warn(pagesPlain, p.at, "", "")
		}
	}
}
