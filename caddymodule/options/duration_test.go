package options

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/words"
)

// A Caddyfile of plain Caddy has the same durations. Caddy knows no weeks.
func TestDuration_IsWhatCaddyReads(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(
		rapid.StringMatching(`[+-]?([0-9]{1,4}(\.[0-9]{1,3})?(ns|us|µs|ms|s|m|h)){1,3}`),
		rapid.StringMatching(`[0-9]{1,5}(\.[0-9])?d([0-9]{1,2}h)?`),
		rapid.StringMatching(`[0-9.hms+-]{0,5}`),
	)
	rapid.Check(t, func(t *rapid.T) {
		text := text.Draw(t, "text")
		got, err := words.ParseDuration(text)
		want, wantErr := caddy.ParseDuration(text)
		if strings.ContainsAny(strings.TrimLeft(text, "+-"), "+-") && wantErr == nil {
			return // Caddy reads a sign behind days
		}
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%q is %s, %v, and Caddy's is %s, %v", text, got, err, want, wantErr)
		}
		rounding := time.Microsecond + want.Abs()>>50 // Caddy computes days as a float64
		if diff := got - want; err == nil && diff.Abs() > rounding {
			t.Fatalf("%q is %s, and Caddy's is %s", text, got, want)
		}
		if err != nil && !errors.Is(err, words.ErrDurationForm) && !errors.Is(err, words.ErrDurationLong) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
