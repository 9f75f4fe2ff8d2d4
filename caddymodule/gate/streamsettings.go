package gate

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/speechgate/speechgate/caddymodule/options"
)

func (g *Gate) provisionStreams() {
	if g.StartTimeout == 0 {
		g.StartTimeout = caddy.Duration(defaultStartTimeout)
		if g.MaxStreamTime > 0 {
			g.StartTimeout = min(g.StartTimeout, g.MaxStreamTime)
		}
	}
	if g.MaxCommand == 0 {
		g.MaxCommand = defaultMaxCommand
	}
	if g.MaxEarlyFrames == 0 {
		g.MaxEarlyFrames = defaultMaxEarlyFrames
	}
	if g.MaxPendingStreams == 0 {
		g.MaxPendingStreams = defaultMaxPending
	}
}

func (g *Gate) validateStreams() error {
	if g.OnExpiry != "" && g.OnExpiry != expiryFinish && g.OnExpiry != expiryCut {
		return fmt.Errorf("on_expiry %q: want finish or cut", g.OnExpiry)
	}
	if g.MaxStreamTime < 0 || g.MaxStreamTime > 0 && g.MaxStreamTime < caddy.Duration(time.Millisecond) {
		return fmt.Errorf("max_stream_time %s: want a duration such as 4h", time.Duration(g.MaxStreamTime))
	}
	if g.StartTimeout < caddy.Duration(time.Millisecond) || g.StartTimeout > longestStartTimeout {
		return fmt.Errorf("start_timeout %s: want a duration such as 60s, and 24h at most", time.Duration(g.StartTimeout))
	}
	if g.MaxStreamTime > 0 && g.StartTimeout > g.MaxStreamTime {
		return fmt.Errorf("start_timeout %s is longer than max_stream_time %s, which ends the stream before: want less", time.Duration(g.StartTimeout), time.Duration(g.MaxStreamTime))
	}
	if g.MaxCommand < minMaxHead || g.MaxCommand > maxMaxHead {
		return fmt.Errorf("max_command %d: want a size from 1KiB to 16MiB", g.MaxCommand)
	}
	for name, n := range map[string]int{
		"max_streams_per_key": g.MaxStreamsPerKey, "max_streams_per_account": g.MaxStreamsPerAccount,
		"max_early_frames": g.MaxEarlyFrames, "max_pending_streams": g.MaxPendingStreams,
	} {
		if n < 0 || n > mostStreams {
			return fmt.Errorf("%s %d: want a number from 1 to %d", name, n, mostStreams)
		}
	}
	if perKey, perAccount := g.MaxStreamsPerKey, g.MaxStreamsPerAccount; perAccount > 0 && perKey > perAccount {
		return fmt.Errorf("max_streams %d %d: a key cannot have more streams than its account, which may have %d: want the number of a key first, as in max_streams %d %d",
			perKey, perAccount, perAccount, perAccount, perKey)
	}
	return nil
}

const (
	longestStartTimeout = caddy.Duration(24 * time.Hour)
	mostStreams         = 1_000_000
)

func (g *Gate) cutsOnExpiry() bool { return g.OnExpiry == expiryCut }

// unmarshalMaxStreams reads the option max_streams: how many streams a key may have at a time
// and, if there is a second argument, how many streams an account may have.
func (g *Gate) unmarshalMaxStreams(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	limits := []*int{&g.MaxStreamsPerKey, &g.MaxStreamsPerAccount}
	if len(args) == 0 || len(args) > len(limits) {
		return d.Errf("max_streams: want the number of streams that a key may have and, if need be, that of an account: max_streams 2 10")
	}
	for i, arg := range args {
		n, ok := options.ParseNumber(arg)
		if !ok {
			return d.Errf("max_streams %q: want a number above zero", arg)
		}
		*limits[i] = n
	}
	return nil
}
