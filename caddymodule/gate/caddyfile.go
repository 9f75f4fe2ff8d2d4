package gate

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/internal/words"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("speechgate", parseGate)
}

func parseGate(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	gate := new(Gate)
	if err := gate.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return gate, nil
}

// UnmarshalCaddyfile reads the directive speechgate.
//
// Syntax:
//
//	speechgate [<matcher>] <dialect> {
//	    upstream_key    <key> [<old keys...>]|drop|pass
//	    backend         <name>
//	    grace           <duration>
//	    grace_after_end <duration>|off
//	    unrecorded_jobs refuse|backend
//	    single_account
//	    also_allow      <method> <path>
//	    cors            <origins...>|*|off
//	    cors_headers    <names...>
//	    backend_errors  gate|caddy
//	    max_head        <size>
//
//	    on_expiry           finish|cut
//	    max_stream_time     <duration>
//	    max_streams         <per key> [<per account>]
//	    start_timeout       <duration>
//	    max_command         <size>
//	    max_early_frames    <number>
//	    max_pending_streams <number>
//	}
func (g *Gate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := options.Text(&g.Dialect)(d); err != nil {
		return d.Errf("want the dialect after speechgate, and nothing else: %s", words.Alternatives(dialect.Names()))
	}
	return options.ParseBlock(d, map[string]options.Option{
		"upstream_key":    options.Keys(&g.UpstreamKey, &g.OldUpstreamKeys, upstreamkey.Most),
		"backend":         options.Text(&g.Backend),
		"grace":           options.Duration(func(v caddy.Duration) { g.Grace = &v }),
		"grace_after_end": options.DurationOrOff(func(v caddy.Duration) { g.GraceAfterEnd = v }),
		"unrecorded_jobs": options.Text(&g.UnrecordedJobs),
		"single_account":  options.Toggle(&g.SingleAccount),
		"also_allow":      g.unmarshalAllowance,
		"cors":            g.CORS.UnmarshalCaddyfile,
		"cors_headers":    handler.CORSHeaders(&g.CORSHeaders),
		"backend_errors":  options.Text(&g.BackendErrors),
		"max_head":        options.Size(&g.MaxHead),

		"on_expiry":           options.Text(&g.OnExpiry),
		"max_stream_time":     options.PositiveDuration(func(v caddy.Duration) { g.MaxStreamTime = v }),
		"max_streams":         g.unmarshalMaxStreams,
		"start_timeout":       options.PositiveDuration(func(v caddy.Duration) { g.StartTimeout = v }),
		"max_command":         options.Size(&g.MaxCommand),
		"max_early_frames":    options.Number(&g.MaxEarlyFrames),
		"max_pending_streams": options.Number(&g.MaxPendingStreams),
	}, "also_allow")
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Gate)(nil)
