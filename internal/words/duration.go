package words

import (
	"errors"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/phrase"
)

// WantDuration is the part of an error that says what a duration looks like.
const WantDuration = "want a duration such as 90s, 24h or 7d"

// The errors of ParseDuration.
var (
	// ErrDurationForm is the error for a text that is not a duration.
	ErrDurationForm = phrase.Errorf("that is no duration")
	// ErrDurationLong is the error for a duration whose nanoseconds do not fit into a
	// [time.Duration].
	ErrDurationLong = phrase.Errorf("that is too long: want 106751d at most")
)

// ParseDuration reads a duration as people write it in a Caddyfile and on the command
// line: one or more numbers, each with its unit, such as 90s or 1h30m. The units are those
// of Caddy (ns, us, ms, s, m, h, d) and w. A duration can be negative. The error is
// [ErrDurationForm] or [ErrDurationLong].
func ParseDuration(text string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(text, "-")
	if !negative {
		rest = strings.TrimPrefix(rest, "+")
	}
	if rest == "0" {
		return 0, nil
	}
	if rest == "" {
		return 0, ErrDurationForm
	}
	var total time.Duration
	for long := false; ; {
		end := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if end < 0 {
			return 0, ErrDurationForm // a number without a unit
		}
		number := rest[:end]
		rest = rest[end:]
		end = strings.IndexAny(rest, ".0123456789")
		if end < 0 {
			end = len(rest)
		}
		part, err := parsePart(number, rest[:end])
		rest = rest[end:]
		switch {
		case errors.Is(err, ErrDurationLong):
			long = true // a mistake in the rest of the text is the more important error
		case err != nil:
			return 0, err
		case part > math.MaxInt64-total:
			long = true
		default:
			total += part
		}
		switch {
		case rest != "":
		case long:
			return 0, ErrDurationLong
		case negative:
			return -total, nil
		default:
			return total, nil
		}
	}
}

var (
	numberForm = regexp.MustCompile(`^([0-9]+\.?[0-9]*|\.[0-9]+)$`)
	unitForm   = regexp.MustCompile(`^(ns|us|µs|μs|ms|s|m|h)$`)
)

// parsePart reads one number with its unit. It reads days and weeks itself, because the
// standard library has no such units.
func parsePart(number, unit string) (time.Duration, error) {
	hours := map[string]int64{"d": 24, "w": 7 * 24}[unit]
	if hours > 0 {
		unit = "h"
	}
	part, err := time.ParseDuration(number + unit)
	switch {
	case err != nil && unitForm.MatchString(unit) && numberForm.MatchString(number):
		return 0, ErrDurationLong
	case err != nil:
		return 0, ErrDurationForm
	case hours > 0 && int64(part) > math.MaxInt64/hours:
		return 0, ErrDurationLong
	}
	return time.Duration(int64(part) * max(hours, 1)), nil
}
