// Package endpoint reads and checks the path of a handler that answers one path itself, such as the
// issuance API.
package endpoint

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
)

// Argument reads the argument of a directive. In other directives an argument that is a path is a
// matcher; here it is the path of the endpoint. Another argument is a matcher. The block of the
// directive is left in h.
func Argument(h httpcaddyfile.Helper) (path string, matcher caddy.ModuleMap, err error) {
	h.Next()
	if h.NextArg() && strings.HasPrefix(h.Val(), "/") {
		path = h.Val()
	}
	h.Reset()
	h.Next()
	if matcher, err = h.ExtractMatcherSet(); path != "" {
		matcher = nil
	}
	return path, matcher, err
}

// PathOption reads the option path of a directive. It returns an error if the path is the argument of
// the directive already.
func PathOption(directive string, path *string) options.Option {
	return func(d *caddyfile.Dispenser) error {
		if *path != "" {
			return d.Errf("the path is given twice: %s stands behind %s already", *path, directive)
		}
		return options.Text(path)(d)
	}
}

// CheckPath returns an error if the path is not one whole path, or if it belongs to an API.
// defaultPath is the path that the error proposes.
func CheckPath(path, defaultPath string) error {
	if !dialect.CleanPath(path) {
		return fmt.Errorf("path %q: want one whole path that begins with a slash, without wildcards, dot segments, doubled slashes or escapes", path)
	}
	for _, name := range dialect.Names() {
		if api, _ := dialect.ByName(name); api.Knows(path) {
			return fmt.Errorf("path %s: it belongs to the %s API, whose clients could not reach it any more; want another, such as %s", path, name, defaultPath)
		}
	}
	return nil
}
