package app

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/internal/drain"
	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/keystore"
)

// givenTwice is the reader of an option that an earlier block has set. It returns an error.
func givenTwice(d *caddyfile.Dispenser) error {
	return d.Errf("the option %s is given twice, in two blocks", d.Val())
}

// parseGlobalOption reads the global option into an App. It merges several blocks into one. An
// option that comes in two blocks is an error.
//
// Syntax:
//
//	speechgate {
//	    keystore sqlite <path> {
//	        create|must_exist
//	    }
//	    pepper <text>
//	    max_staleness <duration>
//	    max_stream_staleness <duration>
//	    retention <duration>
//	    cache_size <size>
//	    max_heads <size>
//	    max_drain_size <size>
//	    max_drains <number>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	app := new(App)
	given := make(map[string]json.RawMessage) // the options that earlier blocks have set; an option has the same name in JSON
	if earlier, ok := existing.(httpcaddyfile.App); ok {
		if err := caddy.StrictUnmarshalJSON(earlier.Value, app); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(earlier.Value, &given); err != nil {
			return nil, err
		}
	}
	for d.Next() {
		if d.NextArg() {
			return nil, d.ArgErr()
		}
		read := map[string]options.Option{
			"keystore":             app.Keystore.unmarshalCaddyfile,
			"pepper":               options.Secret(&app.Pepper),
			"max_staleness":        options.PositiveDuration(func(v caddy.Duration) { app.MaxStaleness = v }),
			"max_stream_staleness": options.PositiveDuration(func(v caddy.Duration) { app.MaxStreamStaleness = v }),
			"retention":            options.PositiveDuration(func(v caddy.Duration) { app.Retention = v }),
			"cache_size":           options.SizeFrom(keystore.MinCacheBytes, keystore.MaxCacheBytes, "from 1MiB to 64GiB", func(v int64) { app.CacheSize = v }),

			"max_heads":      options.SizeFrom(headbudget.MinLimit, headbudget.MaxLimit, "from 1MiB to 64GiB", func(v int64) { app.MaxHeads = v }),
			"max_drain_size": options.SizeFrom(drain.MinMaxSize, drain.MaxMaxSize, "from 1MiB to 1TiB", func(v int64) { app.MaxDrainSize = v }),
			"max_drains":     options.Number(&app.MaxDrains),
		}
		for name := range given {
			read[name] = givenTwice
		}
		if err := options.ParseBlock(d, read); err != nil {
			return nil, err
		}
	}
	return httpcaddyfile.App{Name: Name, Value: caddyconfig.JSON(app, nil)}, nil
}
