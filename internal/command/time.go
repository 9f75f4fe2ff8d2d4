package command

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

var (
	spanForm  = regexp.MustCompile(`^(-?)([0-9]+)(ms|s|m|h|d|w)$`)
	dateForm  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	clockForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}`)
	// RFC 3339. time.Parse also accepts texts that are not RFC 3339.
	instantForm = regexp.MustCompile(`^[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)
)

// spanUnits are in milliseconds.
var spanUnits = map[string]policy.Time{
	"ms": 1,
	"s":  1000,
	"m":  60 * 1000,
	"h":  60 * 60 * 1000,
	"d":  24 * 60 * 60 * 1000,
	"w":  7 * 24 * 60 * 60 * 1000,
}

// What can be wrong with a time.
var (
	errFar      = errors.New("that is beyond the year 9999")
	errNegative = errors.New("that is negative")
	errNoDay    = errors.New("there is no such day")
	errNoMoment = errors.New("there is no such instant, or it is not spelled as in RFC 3339, with its time zone")
	errNoTime   = errors.New("that is no time")
)

// parseExpiry reads --expires: a time from now, a date, which lasts to its end
// in UTC, an instant or never.
func parseExpiry(text string, now policy.Time) (policy.Expiry, error) {
	if text == "never" {
		return policy.Never(), nil
	}
	at, err := parseExpiryTime(text, now)
	switch {
	case err != nil:
	case at <= now:
		err = fmt.Errorf("that is %s, which is past", at)
	case at > policy.LastTime:
		err = errFar
	default:
		return policy.ExpiresAt(at), nil
	}
	soon := now.Add(30 * 24 * time.Hour).Std()
	return policy.Expiry{}, fmt.Errorf("--expires %s: %w: want a time from now such as 30d (ms, s, m, h, d or w), a date such as %s, an instant such as %s, or never",
		words.Quote(text), err, soon.Format(time.DateOnly), exampleInstant(soon))
}

func parseExpiryTime(text string, now policy.Time) (policy.Time, error) {
	if spanForm.MatchString(text) {
		span, err := parseSpan(text, policy.LastTime-now)
		if err == nil && span == 0 {
			err = errors.New("the key would expire as it is issued")
		}
		return now + span, err
	}
	if dateForm.MatchString(text) {
		day, err := parseDate(text)
		return policy.At(day.AddDate(0, 0, 1)), err
	}
	return parseInstant(text)
}

// parseSpan reads a length of time that matches spanForm, in milliseconds.
func parseSpan(text string, limit policy.Time) (policy.Time, error) {
	m := spanForm.FindStringSubmatch(text)
	n, err := strconv.ParseInt(m[2], 10, 64)
	switch unit := spanUnits[m[3]]; {
	case m[1] == "-":
		return 0, errNegative
	case err != nil || policy.Time(n) > limit/unit:
		return 0, errFar
	default:
		return policy.Time(n) * unit, nil
	}
}

// parseDate reads a date that matches dateForm; it begins at midnight in UTC.
func parseDate(text string) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, errNoDay
	}
	return day, nil
}

// parseInstant reads an instant as RFC 3339 spells it.
func parseInstant(text string) (policy.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	switch {
	case err == nil && instantForm.MatchString(text):
		return policy.At(t), nil
	case clockForm.MatchString(text):
		return 0, errNoMoment
	default:
		return 0, errNoTime
	}
}

func exampleInstant(t time.Time) string { return t.Format("2006-01-02T15:00:00Z") }

// longestSpan bounds the lengths of time that flags take: a hundred years.
const longestSpan = 100 * 8766 * time.Hour

// spanFlag returns a flag that takes a length of time such as 14d; 0 if it is
// left out.
func spanFlag(cmd *cobra.Command, name string) (time.Duration, error) {
	text, err := textFlag(cmd, name)
	if err != nil || text == "" {
		return 0, err
	}
	err = errNoTime
	if text == "0" {
		text = "0s"
	}
	if spanForm.MatchString(text) {
		var span policy.Time
		if span, err = parseSpan(text, policy.Time(longestSpan.Milliseconds())); err == nil {
			return time.Duration(span) * time.Millisecond, nil
		}
		if errors.Is(err, errFar) {
			err = errors.New("that is more than a hundred years")
		}
	}
	return 0, fmt.Errorf("--%s %s: %w: want a length of time such as 12h or 14d (ms, s, m, h, d or w)", name, words.Quote(text), err)
}

// positiveSpanFlag is spanFlag without the zero, which says nothing.
func positiveSpanFlag(cmd *cobra.Command, name string) (time.Duration, error) {
	span, err := spanFlag(cmd, name)
	if err == nil && span == 0 && cmd.Flags().Changed(name) {
		return 0, fmt.Errorf("--%s: that is no time at all: want a length of time such as 12h or 14d (ms, s, m, h, d or w)", name)
	}
	return span, err
}

// parseSince reads --since: a time ago, the beginning of a date in UTC, or an
// instant.
func parseSince(text string, now policy.Time) (at policy.Time, err error) {
	switch {
	case spanForm.MatchString(text):
		var span policy.Time
		span, err = parseSpan(text, policy.Time(longestSpan.Milliseconds()))
		at = now - span
		if errors.Is(err, errFar) {
			err = errors.New("that is more than a hundred years ago")
		}
	case dateForm.MatchString(text):
		var day time.Time
		day, err = parseDate(text)
		at = policy.At(day)
	default:
		at, err = parseInstant(text)
	}
	if err == nil && at > now {
		err = fmt.Errorf("that is %s, which is yet to come", at)
	}
	if err != nil {
		ago := now.Add(-7 * 24 * time.Hour).Std()
		return 0, fmt.Errorf("--since %s: %w: want a time ago such as 7d (ms, s, m, h, d or w), a date such as %s, or an instant such as %s",
			words.Quote(text), err, ago.Format(time.DateOnly), exampleInstant(ago))
	}
	return at, nil
}

// currentTime is the instant by the clock of the system. One command needs no more of
// a clock: it does not live long enough to see the system's clock set back.
func currentTime() policy.Time { return keystore.SystemClock().Now() }
