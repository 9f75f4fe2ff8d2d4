package gate

import (
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func (g *Gate) provisionStreams() {
	if g.StartTimeout == 0 {
		g.StartTimeout = caddy.Duration(defaultStartTimeout)
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
	if g.MaxStreamTime < 0 {
		return fmt.Errorf("max_stream_time %s: want a duration such as 4h", time.Duration(g.MaxStreamTime))
	}
	if g.StartTimeout <= 0 {
		return fmt.Errorf("start_timeout %s: want a duration such as 60s", time.Duration(g.StartTimeout))
	}
	if g.MaxCommand < minMaxHead || g.MaxCommand > maxMaxHead {
		return fmt.Errorf("max_command %d: want a size from 1KiB to 16MiB", g.MaxCommand)
	}
	for name, n := range map[string]int{
		"max_streams_per_key": g.MaxStreamsPerKey, "max_streams_per_account": g.MaxStreamsPerAccount,
		"max_early_frames": g.MaxEarlyFrames, "max_pending_streams": g.MaxPendingStreams,
	} {
		if n < 0 {
			return fmt.Errorf("%s %d: want a number above zero", name, n)
		}
	}
	return nil
}

func (g *Gate) cutsOnExpiry() bool { return g.OnExpiry == expiryCut }

// unmarshalMaxStreams reads the limit of a key and, if there is a second argument, the limit of
// an account.
func (g *Gate) unmarshalMaxStreams(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	limits := []*int{&g.MaxStreamsPerKey, &g.MaxStreamsPerAccount}
	if len(args) == 0 || len(args) > len(limits) {
		return d.Errf("max_streams: want the number of streams that a key may have and, if need be, that of an account: max_streams 2 10")
	}
	for i, arg := range args {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 {
			return d.Errf("max_streams %q: want a number above zero", arg)
		}
		*limits[i] = n
	}
	return nil
}
