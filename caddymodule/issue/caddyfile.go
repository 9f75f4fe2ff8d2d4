package issue

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/speechgate/speechgate/caddymodule/endpoint"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/options"
)

func init() {
	httpcaddyfile.RegisterDirective("speechgate_issue", parseIssue)
}

func parseIssue(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	path, matcher, err := endpoint.Argument(h)
	if err != nil {
		return nil, err
	}
	i := &Issue{Path: path}
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
		"path":             endpoint.PathOption("speechgate_issue", &i.Path),
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
