package caddymodule

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/keystore"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(appName, parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("speechgate", parseGate)
	// The gate comes before whatever else asks who the client is, and after
	// what rewrites the request: it judges the path that goes upstream. Before
	// the gate stands what it would refuse as unlisted.
	httpcaddyfile.RegisterDirectiveOrder("speechgate_verify", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("speechgate_issue", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("speechgate", httpcaddyfile.Before, "basic_auth")
}

// option reads the arguments of one option, of which d's cursor is at the
// name.
type option func(d *caddyfile.Dispenser) error

// parseBlock reads the block of options at the cursor, each at most once but
// for those in repeatable.
func parseBlock(d *caddyfile.Dispenser, options map[string]option, repeatable ...string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		read, ok := options[name]
		if !ok {
			names := slices.Sorted(maps.Keys(options))
			if meant := nearest(name, names); meant != "" {
				return d.Errf("unknown option %s: did you mean %s?", shownWord(name), meant)
			}
			return d.Errf("unknown option %s: want one of %s", shownWord(name), strings.Join(names, ", "))
		}
		if seen[name] && !slices.Contains(repeatable, name) {
			return d.Errf("the option %s is given twice", name)
		}
		seen[name] = true
		if err := read(d); err != nil {
			return err
		}
	}
	return nil
}

// text reads an option's one argument.
func text(into *string) option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		if len(args) != 1 || args[0] == "" {
			return d.Errf("%s: want one value after %s", strings.TrimSpace(name+" "+strings.Join(args, " ")), name)
		}
		*into = args[0]
		return nil
	}
}

// duration reads an option's one argument, a duration that may be 0.
func duration(set func(caddy.Duration)) option { return durationFrom(0, "", set) }

// positive reads an option's one argument, a duration that may not be 0.
func positive(set func(caddy.Duration)) option { return durationFrom(1, "", set) }

// durationOrOff reads an option's one argument, a duration or "off", which is 0.
func durationOrOff(set func(caddy.Duration)) option { return durationFrom(0, "off", set) }

// durationForm is that of durations, however long they are.
var durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]*)?(ns|us|ms|s|m|h|d))+$`)

func durationFrom(least time.Duration, zero string, set func(caddy.Duration)) option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var value string
		if err := text(&value)(d); err != nil {
			return err
		}
		if value == zero {
			set(0)
			return nil
		}
		dur, err := caddy.ParseDuration(value)
		if err != nil && durationForm.MatchString(value) {
			return d.Errf("%s %q: that is too long: want 106751d at most", name, value)
		}
		if err != nil || dur < least {
			return d.Errf("%s %q: want a duration such as 90s, 24h or 7d", name, value)
		}
		set(caddy.Duration(dur))
		return nil
	}
}

// toggle reads an option without arguments.
func toggle(into *bool) option {
	return func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*into = true
		return nil
	}
}

// parseGlobalOption sets up the app. Blocks that repeat are merged.
//
// Syntax:
//
//	speechgate {
//	    keystore sqlite <path> {
//	        create|must_exist
//	    }
//	    pepper <text>
//	    max_staleness <duration>
//	    retention <duration>
//	    cache_size <size>
//	    max_heads <size>
//	    max_drain_size <size>
//	    max_drains <number>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	if earlier, ok := existing.(httpcaddyfile.App); ok {
		if err := caddy.StrictUnmarshalJSON(earlier.Value, app); err != nil {
			return nil, err
		}
	}
	for d.Next() {
		if d.NextArg() {
			return nil, d.ArgErr()
		}
		err := parseBlock(d, map[string]option{
			"keystore":      app.Keystore.unmarshalCaddyfile,
			"pepper":        secret(&app.Pepper),
			"max_staleness": positive(func(v caddy.Duration) { app.MaxStaleness = v }),
			"retention":     positive(func(v caddy.Duration) { app.Retention = v }),
			"cache_size":    sizeFrom(keystore.MinCacheBytes, keystore.MaxCacheBytes, "from 1MiB to 64GiB", func(v int64) { app.CacheSize = v }),

			"max_heads":      sizeFrom(minMaxHeads, maxMaxHeads, "from 1MiB to 64GiB", func(v int64) { app.MaxHeads = v }),
			"max_drain_size": sizeFrom(minMaxDrainSize, maxMaxDrainSize, "from 1MiB to 1TiB", func(v int64) { app.MaxDrainSize = v }),
			"max_drains":     number(&app.MaxDrains),
		})
		if err != nil {
			return nil, err
		}
	}
	return httpcaddyfile.App{Name: appName, Value: caddyconfig.JSON(app, nil)}, nil
}

func parseGate(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	gate := new(Gate)
	if err := gate.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return gate, nil
}

// UnmarshalCaddyfile sets up the gate.
//
// Syntax:
//
//	speechgate [<matcher>] <dialect> {
//	    upstream_key    <key>|drop|pass
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
	if err := text(&g.Dialect)(d); err != nil {
		return d.Errf("want the dialect after speechgate, and nothing else: speechgate amivoice")
	}
	return parseBlock(d, map[string]option{
		"upstream_key":    secret(&g.UpstreamKey),
		"backend":         text(&g.Backend),
		"grace":           duration(func(v caddy.Duration) { g.Grace = &v }),
		"grace_after_end": durationOrOff(func(v caddy.Duration) { g.GraceAfterEnd = v }),
		"unrecorded_jobs": text(&g.UnrecordedJobs),
		"single_account":  toggle(&g.SingleAccount),
		"also_allow":      g.unmarshalAllowance,
		"cors":            g.CORS.unmarshalCaddyfile,
		"cors_headers":    corsHeaders(&g.CORSHeaders),
		"backend_errors":  text(&g.BackendErrors),
		"max_head":        size(&g.MaxHead),

		"on_expiry":           text(&g.OnExpiry),
		"max_stream_time":     positive(func(v caddy.Duration) { g.MaxStreamTime = v }),
		"max_streams":         g.unmarshalMaxStreams,
		"start_timeout":       positive(func(v caddy.Duration) { g.StartTimeout = v }),
		"max_command":         size(&g.MaxCommand),
		"max_early_frames":    number(&g.MaxEarlyFrames),
		"max_pending_streams": number(&g.MaxPendingStreams),
	}, "also_allow")
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Gate)(nil)
