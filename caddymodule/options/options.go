// Package options reads the options of the modules from a Caddyfile: texts, durations, sizes,
// numbers, and secrets.
package options

import (
	"errors"
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

// Option reads the arguments of one option. The cursor of d is at the name of the option. An
// error says what is wrong and what would be right.
type Option func(d *caddyfile.Dispenser) error

// ParseBlock reads the block of options at the cursor. It returns an error for an unknown option,
// for an option that comes twice and is not in repeatable, and for an environment variable that
// is not set.
func ParseBlock(d *caddyfile.Dispenser, options map[string]Option, repeatable ...string) error {
	seen := make(map[string]bool)
	written := make(source)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if name == "{" {
			return d.Errf("there is a block where an option is wanted: no option before it has one")
		}
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
		if err := written.checkVariables(d, false); err != nil {
			return err
		}
		line := *d // read moves the cursor
		if err := read(d); err != nil {
			if blamed := written.checkVariables(&line, true); blamed != nil {
				return blamed
			}
			return err
		}
	}
	return nil
}

// Text reads an option with one argument.
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

// Duration reads an option with one argument: a duration of 0 or more.
func Duration(set func(caddy.Duration)) Option { return durationFrom(0, "", set) }

// PositiveDuration reads an option with one argument: a duration of more than 0.
func PositiveDuration(set func(caddy.Duration)) Option { return durationFrom(1, "", set) }

// DurationOrOff reads an option with one argument: a duration of 0 or more, or "off", which
// is 0.
func DurationOrOff(set func(caddy.Duration)) Option { return durationFrom(0, "off", set) }

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
		dur, err := words.ParseDuration(value)
		if errors.Is(err, words.ErrDurationLong) {
			return d.Errf("%s %q: %v", name, value, err)
		}
		if err != nil || dur < least || strings.ContainsAny(value, "+-") {
			return d.Errf("%s %q: %s", name, value, words.WantDuration)
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

// Number reads an option with one argument: a number above zero.
func Number(into *int) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var value string
		if err := Text(&value)(d); err != nil {
			return err
		}
		n, ok := ParseNumber(value)
		if !ok {
			return d.Errf("%s %q: want a number above zero", name, value)
		}
		*into = n
		return nil
	}
}

var numberForm = regexp.MustCompile(`^[1-9][0-9]*$`)

// ParseNumber reads a number above zero, in digits without a sign and without leading zeros. For
// any other text, ok is false.
func ParseNumber(text string) (n int, ok bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && numberForm.MatchString(text)
}

// sizeForm matches sizes. It matches no comma, because humanize.ParseBytes ignores commas: for it,
// 1,5MiB is 15 MiB.
var sizeForm = regexp.MustCompile(`^([0-9]+|[0-9]+(\.[0-9]+)? ?[A-Za-z]+)$`)

// Size reads an option with one argument: a number of bytes from 1 KiB to 16 MiB.
func Size(into *int) Option {
	return SizeFrom(1<<10, 16<<20, "from 1KiB to 16MiB", func(bytes int64) { *into = int(bytes) })
}

// SizeFrom reads an option with one argument: a number of bytes from least to most. bounds is the
// text for these limits in the error, such as "from 1KiB to 16MiB".
func SizeFrom(least, most uint64, bounds string, set func(bytes int64)) Option {
	return func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var value string
		if err := Text(&value)(d); err != nil {
			return err
		}
		bytes, err := humanize.ParseBytes(value)
		if err != nil || !sizeForm.MatchString(value) || bytes < least || bytes > most {
			return d.Errf("%s %s: want a size %s", name, strconv.Quote(value), bounds)
		}
		set(int64(bytes))
		return nil
	}
}
