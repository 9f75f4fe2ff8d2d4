// Package options reads the options of the modules from a Caddyfile: durations, sizes,
// numbers, and values that may be secrets.
package options

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/speechgate/speechgate/internal/words"
)

// Option reads the arguments of one option. The cursor of d is at the option's name.
type Option func(d *caddyfile.Dispenser) error

// ParseBlock reads the block of options at the cursor. Each option comes at most once,
// except the options in repeatable.
func ParseBlock(d *caddyfile.Dispenser, options map[string]Option, repeatable ...string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		read, ok := options[name]
		if !ok {
			names := slices.Sorted(maps.Keys(options))
			if meant := words.Nearest(name, names); meant != "" {
				return d.Errf("unknown option %s: did you mean %s?", words.QuoteWord(name), meant)
			}
			return d.Errf("unknown option %s: want one of %s", words.QuoteWord(name), strings.Join(names, ", "))
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

// Text reads an option's one argument.
func Text(into *string) Option {
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

// Duration reads an option's one argument, a duration that may be 0.
func Duration(set func(caddy.Duration)) Option { return durationFrom(0, "", set) }

// PositiveDuration reads an option's one argument, a duration that may not be 0.
func PositiveDuration(set func(caddy.Duration)) Option { return durationFrom(1, "", set) }

// DurationOrOff reads an option's one argument, a duration or "off", which is 0.
func DurationOrOff(set func(caddy.Duration)) Option { return durationFrom(0, "off", set) }

// durationForm is that of durations, however long they are.
var durationForm = regexp.MustCompile(`^([0-9]+(\.[0-9]*)?(ns|us|ms|s|m|h|d))+$`)

func durationFrom(least time.Duration, zero string, set func(caddy.Duration)) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var value string
		if err := Text(&value)(d); err != nil {
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

// Toggle reads an option without arguments.
func Toggle(into *bool) Option {
	return func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*into = true
		return nil
	}
}

// Number reads an option's one argument, a number above zero.
func Number(into *int) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var value string
		if err := Text(&value)(d); err != nil {
			return err
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return d.Errf("%s %q: want a number above zero", name, value)
		}
		*into = n
		return nil
	}
}

// Size reads an option's one argument, a number of bytes from 1 KiB to 16 MiB.
func Size(into *int) Option {
	return SizeFrom(1<<10, 16<<20, "from 1KiB to 16MiB", func(bytes int64) { *into = int(bytes) })
}

// SizeFrom reads an option's one argument, a number of bytes within bounds, which
// are also spelled.
func SizeFrom(least, most uint64, bounds string, set func(bytes int64)) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var value string
		if err := Text(&value)(d); err != nil {
			return err
		}
		bytes, err := humanize.ParseBytes(value)
		if err != nil || bytes < least || bytes > most {
			return d.Errf("%s %s: want a size %s", name, strconv.Quote(value), bounds)
		}
		set(int64(bytes))
		return nil
	}
}
