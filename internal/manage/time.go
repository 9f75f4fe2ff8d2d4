package manage

import (
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

var (
	dateForm  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	clockForm = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}`)
	// time.Parse accepts more than RFC 3339.
	instantForm = regexp.MustCompile(`^[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)
)

// longestSpan is the longest duration that a field can have: a hundred years.
const longestSpan = 100 * 8766 * time.Hour

// The mistakes in a time.
var (
	errFar      = phrase.Errorf("that is beyond the year 9999")
	errLong     = phrase.Errorf("that is longer than 106751d")
	errNegative = phrase.Errorf("that is negative")
	errTiny     = phrase.Errorf("that is not a whole number of milliseconds")
	errNoDay    = phrase.Errorf("there is no such day")
	errNoMoment = phrase.Errorf("there is no such instant, or it is not spelled as in RFC 3339, with its time zone")
	errNoTime   = phrase.Errorf("that is no time")
)

// Never is the value of the field expires for a key that does not expire.
const Never = "never"

// ParseExpiry returns the expiry that [NewKey.Expires] asks for.
func ParseExpiry(text string, now policy.Time) (policy.Expiry, error) { return parseExpiry(text, now) }

// parseExpiry reads the field expires. Its value is a duration from now (30d), a date (the
// key expires at the end of that day in UTC), an instant, or never. An expiry that is not
// later than now is an error.
func parseExpiry(text string, now policy.Time) (policy.Expiry, error) {
	if text == Never {
		return policy.Never(), nil
	}
	at, err := parseExpiryTime(text, now)
	switch {
	case err != nil:
	case at <= now:
		err = phrase.Errorf("that is %s, which is past", at)
	case at > policy.LastTime:
		err = errFar
	default:
		return policy.ExpiresAt(at), nil
	}
	soon := now.Add(30 * 24 * time.Hour).Std()
	return policy.Expiry{}, wrong("expires", " %s: %v: %s from now, a date such as %s, an instant such as %s, or never",
		words.Quote(text), err, wantDuration(), soon.Format(time.DateOnly), exampleInstant(soon))
}

func parseExpiryTime(text string, now policy.Time) (policy.Time, error) {
	if span, ok, err := parseSpan(text); ok {
		if err == nil && span == 0 {
			err = phrase.Errorf("the key would expire as it is issued")
		}
		return now + span, err
	}
	if dateForm.MatchString(text) {
		day, err := parseDate(text)
		return policy.At(day.AddDate(0, 0, 1)), err
	}
	return parseInstant(text)
}

// parseSince reads the field since. Its value is a duration before now (7d), a date (the
// beginning of that day in UTC), or an instant. A time later than now is an error.
func parseSince(text string, now policy.Time) (policy.Time, error) {
	var at policy.Time
	span, isSpan, err := parseSpan(text)
	switch {
	case isSpan:
		at = now - span
		if errors.Is(err, errLong) || span > policy.Time(longestSpan.Milliseconds()) {
			err = phrase.Errorf("that is more than a hundred years ago")
		}
	case dateForm.MatchString(text):
		var day time.Time
		day, err = parseDate(text)
		at = policy.At(day)
	default:
		at, err = parseInstant(text)
	}
	if err == nil && at > now {
		err = phrase.Errorf("that is %s, which is yet to come", at)
	}
	if err != nil {
		ago := now.Add(-7 * 24 * time.Hour).Std()
		return 0, wrong("since", " %s: %v: %s for so long ago, a date such as %s, or an instant such as %s",
			words.Quote(text), err, wantDuration(), ago.Format(time.DateOnly), exampleInstant(ago))
	}
	return at, nil
}

// parseUntil reads the field until. Its value is a duration before now (7d), a date (the end of
// that day in UTC), or an instant. A time that is not later than since is an error.
func parseUntil(text string, since, now policy.Time) (policy.Time, error) {
	var at policy.Time
	span, isSpan, err := parseSpan(text)
	switch {
	case isSpan:
		at = now - span
		if errors.Is(err, errLong) || span > policy.Time(longestSpan.Milliseconds()) {
			err = phrase.Errorf("that is more than a hundred years ago")
		}
	case dateForm.MatchString(text):
		var day time.Time
		day, err = parseDate(text)
		at = policy.At(day.AddDate(0, 0, 1))
	default:
		at, err = parseInstant(text)
	}
	if err == nil && at <= since {
		err = phrase.Errorf("that is %s, which is not later than the beginning, %s", at, since)
	}
	if err != nil {
		ago := now.Add(-7 * 24 * time.Hour).Std()
		return 0, wrong("until", " %s: %v: %s for so long ago, a date such as %s, or an instant such as %s",
			words.Quote(text), err, wantDuration(), ago.Format(time.DateOnly), exampleInstant(ago))
	}
	return at, nil
}

// parseAt reads the field at. Its value is an instant.
func parseAt(text string, now policy.Time) (policy.Time, error) {
	at, err := parseInstant(text)
	if err != nil {
		return 0, wrong("at", " %s: %v: want an instant such as %s", words.Quote(text), err, exampleInstant(now.Std()))
	}
	return at, nil
}

// parseSpanOf reads a field whose value is a duration, such as 14d or 0, up to a hundred
// years.
func parseSpanOf(name, text string) (time.Duration, error) {
	span, ok, err := parseSpan(text)
	switch {
	case !ok:
		err = words.ErrDurationForm
	case errors.Is(err, errLong) || time.Duration(span) > longestSpan/time.Millisecond:
		err = phrase.Errorf("that is more than a hundred years")
	}
	if err != nil {
		return 0, wrong(name, " %s: %v: %s", words.Quote(text), err, wantDuration())
	}
	return time.Duration(span) * time.Millisecond, nil
}

// parsePositiveSpan reads a field whose value is a duration of more than 0. It returns 0
// for an empty field.
func parsePositiveSpan(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	span, err := parseSpanOf(name, text)
	if err == nil && span == 0 {
		return 0, wrong(name, ": that is no time at all: %s", wantDuration())
	}
	return span, err
}

// parseSpan reads a duration in whole milliseconds, in the form of a Caddyfile. ok is
// false if the text is not in this form. The error says that a duration is negative,
// too long, or not in whole milliseconds.
func parseSpan(text string) (span policy.Time, ok bool, err error) {
	d, err := words.ParseDuration(text)
	switch {
	case errors.Is(err, words.ErrDurationForm):
		return 0, false, nil
	case strings.HasPrefix(text, "-"):
		return 0, true, errNegative
	case err != nil:
		return 0, true, errLong
	case d%time.Millisecond != 0:
		return 0, true, errTiny
	}
	return policy.Time(d.Milliseconds()), true, nil
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

// wantDuration is the part of a message that says what a duration looks like.
func wantDuration() phrase.Text { return phrase.New(words.WantDuration) }

func exampleInstant(t time.Time) string { return t.Format("2006-01-02T15:00:00Z") }
