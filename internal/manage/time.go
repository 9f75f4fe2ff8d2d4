package manage

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

var (
	spanForm  = regexp.MustCompile(`^(-?)([0-9]+)(ms|s|m|h|d|w)$`)
	dateForm  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	clockForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}`)
	// time.Parse accepts more than RFC 3339.
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

// longestSpan is the longest span that a field can have: a hundred years.
const longestSpan = 100 * 8766 * time.Hour

// The mistakes in a time.
var (
	errFar      = errors.New("that is beyond the year 9999")
	errNegative = errors.New("that is negative")
	errNoDay    = errors.New("there is no such day")
	errNoMoment = errors.New("there is no such instant, or it is not spelled as in RFC 3339, with its time zone")
	errNoTime   = errors.New("that is no time")
)

// Never is the text of an expiry that never comes.
const Never = "never"

// parseExpiry reads the field expires: a time from now (30d), a date, which lasts to
// its end in UTC, an instant, or never. The expiry is later than now.
func parseExpiry(text string, now policy.Time) (policy.Expiry, error) {
	if text == Never {
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
	return policy.Expiry{}, wrong("expires", " %s: %v: want a time from now such as 30d (ms, s, m, h, d or w), a date such as %s, an instant such as %s, or never",
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

// parseSince reads the field since: a time ago (7d), a date, which counts from its
// beginning in UTC, or an instant. It is not later than now.
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
		return 0, wrong("since", " %s: %v: want a time ago such as 7d (ms, s, m, h, d or w), a date such as %s, or an instant such as %s",
			words.Quote(text), err, ago.Format(time.DateOnly), exampleInstant(ago))
	}
	return at, nil
}

// parseAt reads the field at: an instant.
func parseAt(text string, now policy.Time) (policy.Time, error) {
	at, err := parseInstant(text)
	if err != nil {
		return 0, wrong("at", " %s: %v: want an instant such as %s", words.Quote(text), err, exampleInstant(now.Std()))
	}
	return at, nil
}

// spanExamples shows what a field that takes a span can have.
const spanExamples = "want a length of time such as 12h or 14d (ms, s, m, h, d or w)"

// parseSpanOf reads a field that takes a span, up to a hundred years: 14d, or 0.
func parseSpanOf(name, text string) (time.Duration, error) {
	err := errNoTime
	value := text
	if value == "0" {
		value = "0s"
	}
	if spanForm.MatchString(value) {
		var span policy.Time
		if span, err = parseSpan(value, policy.Time(longestSpan.Milliseconds())); err == nil {
			return time.Duration(span) * time.Millisecond, nil
		}
		if errors.Is(err, errFar) {
			err = errors.New("that is more than a hundred years")
		}
	}
	return 0, wrong(name, " %s: %v: %s", words.Quote(value), err, spanExamples)
}

// parsePositiveSpan is parseSpanOf for a field that can be empty, and otherwise is
// longer than 0.
func parsePositiveSpan(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	span, err := parseSpanOf(name, text)
	if err == nil && span == 0 {
		return 0, wrong(name, ": that is no time at all: %s", spanExamples)
	}
	return span, err
}

// parseSpan reads a span that matches spanForm, in milliseconds.
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

// parseDate reads a date that matches dateForm. The result is its midnight in UTC.
func parseDate(text string) (time.Time, error) {
	day, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return time.Time{}, errNoDay
	}
	return day, nil
}

// parseInstant reads an instant in RFC 3339.
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
