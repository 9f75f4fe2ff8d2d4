package issue

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/options"
)

func init() {
	httpcaddyfile.RegisterDirective("speechgate_issue", parseIssue)
}

// parseIssue reads the directive. In other directives an argument that is a path is a matcher;
// here it is the path of the API.
func parseIssue(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	i := new(Issue)
	h.Next()
	if h.NextArg() && strings.HasPrefix(h.Val(), "/") {
		i.Path = h.Val()
	}
	h.Reset()
	h.Next()
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	if i.Path != "" {
		matcher = nil
	}
	if err := i.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, i), nil
}

// UnmarshalCaddyfile reads the block of the directive speechgate_issue.
//
// Syntax:
//
//	speechgate_issue [<matcher>|<path>] {
//	    path             <path>
//	    default_lifetime <duration>
//	    max_lifetime     <duration>
//	    time_zone        <name>
//	    children         narrow|free
//	    max_live_keys    <number>
//	    max_rate         <keys a second>
//	    cors             <origins...>|*|off
//	    cors_headers     <names...>
//	}
func (i *Issue) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return options.ParseBlock(d, map[string]options.Option{
		"path":             i.unmarshalPath,
		"default_lifetime": options.PositiveDuration(func(v caddy.Duration) { i.DefaultLifetime = v }),
		"max_lifetime":     options.PositiveDuration(func(v caddy.Duration) { i.MaxLifetime = v }),
		"time_zone":        options.Text(&i.TimeZone),
		"children":         options.Text(&i.Children),
		"max_live_keys":    options.Number(&i.MaxLiveKeys),
		"max_rate":         options.Number(&i.MaxRate),
		"cors":             i.CORS.UnmarshalCaddyfile,
		"cors_headers":     handler.CORSHeaders(&i.CORSHeaders),
	})
}

func (i *Issue) unmarshalPath(d *caddyfile.Dispenser) error {
	if i.Path != "" {
		return d.Errf("the path is given twice: %s stands behind speechgate_issue already", i.Path)
	}
	return options.Text(&i.Path)(d)
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Issue)(nil)
