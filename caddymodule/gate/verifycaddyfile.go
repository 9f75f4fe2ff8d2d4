package gate

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/words"
)

func parseVerify(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	v := new(Verify)
	err := v.UnmarshalCaddyfile(h.Dispenser)
	return v, err
}

// UnmarshalCaddyfile reads the directive speechgate_verify.
//
// Syntax:
//
//	speechgate_verify [<matcher>] <dialect> {
//	    callers         <addresses...>
//	    proxy           nginx|traefik|envoy|caddy
//	    backend         <name>
//	    grace           <duration>
//	    grace_after_end <duration>|off
//	}
func (v *Verify) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := options.Text(&v.Dialect)(d); err != nil {
		return d.Errf("want the dialect after speechgate_verify, and nothing else: %s", words.Alternatives(dialect.Names()))
	}
	return options.ParseBlock(d, map[string]options.Option{
		"callers":         v.unmarshalCallers,
		"proxy":           options.Text(&v.Proxy),
		"backend":         options.Text(&v.Backend),
		"grace":           options.Duration(func(g caddy.Duration) { v.Grace = &g }),
		"grace_after_end": options.DurationOrOff(func(g caddy.Duration) { v.GraceAfterEnd = g }),
	})
}

func (v *Verify) unmarshalCallers(d *caddyfile.Dispenser) error {
	v.Callers = d.RemainingArgs()
	return nil
}
