package issuance

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// exampleAfter is the time from now to the expiry in an example, if lifetimes are not
// limited.
const exampleAfter = 30 * 24 * time.Hour

// limits says which expiry a request may ask for. The examples in errors keep to it.
type limits struct {
	now     policy.Time
	zone    *time.Location
	longest time.Duration // 0 means no limit
}

// end returns the latest expiry that longest permits.
func (l limits) end() policy.Time {
	if l.longest == 0 {
		return math.MaxInt64
	}
	return l.now.Add(l.longest)
}

// allows reports whether ParseExpiry would accept an epi.
func (l limits) allows(epi string) bool {
	at, err := readExpiry(epi, l.now, l.zone)
	return err == nil && at > l.now && at <= min(l.end(), policy.LastTime)
}

// atMost returns the longest lifetime of a key, with examples, as a part of an error.
func (l limits) atMost() string {
	digits, span := spellSpan(l.longest)
	if span == "" {
		return fmt.Sprintf("%s milliseconds at most, such as %s or %s", digits, digits, l.instant())
	}
	return fmt.Sprintf("%s at most, such as %s or %s", span, span, l.instant())
}

// forms returns the forms of an epi, with examples that are accepted, as a part of an
// error.
func (l limits) forms() string {
	longest, longestSpan := spellSpan(l.longest)
	digits, span := l.first("60000", longest), l.first("30s", longestSpan, "1s")
	forms := []string{"milliseconds from now (" + digits + ")"}
	if span != "" {
		forms = append(forms, "a number of s, m, h, d or w from now ("+span+")")
	}
	if date := l.date(); date != "" {
		forms = append(forms, "a date ("+date+")")
	}
	text := strings.Join(forms, ", ") + " or an instant (" + l.instant() + ")"
	switch {
	case l.longest == 0:
		return text
	case longestSpan == "":
		return text + ", and " + longest + " milliseconds at most"
	}
	return text + ", and " + longestSpan + " at most"
}

// first returns the first of epis that would be accepted, or "" if none would be.
func (l limits) first(epis ...string) string {
	for _, epi := range epis {
		if l.allows(epi) {
			return epi
		}
	}
	return ""
}

// date returns an example of a date that is accepted. It returns "" if longest is less than
// 48 hours, because the end of a date can then be too late.
func (l limits) date() string {
	if l.longest > 0 && l.longest < 48*time.Hour {
		return ""
	}
	for ahead := l.ahead(); ahead >= 0; ahead -= 24 * time.Hour { // a date expires at the end of its day
		if date := l.now.Add(ahead).Std().Format("2006/01/02"); l.allows(date) {
			return date
		}
	}
	return ""
}

// instant returns an example of an instant. It has whole hours, minutes or seconds if the
// longest lifetime is long enough.
func (l limits) instant() string {
	at := l.now.Add(l.ahead()).Std()
	for _, form := range []struct {
		unit   time.Duration
		layout string
	}{{time.Hour, "2006/01/02 15:00:00Z"}, {time.Minute, "2006/01/02 15:04:00Z"}, {time.Second, "2006/01/02 15:04:05Z"}} {
		if l.ahead() >= 2*form.unit {
			return at.Format(form.layout)
		}
	}
	return at.Format("2006/01/02 15:04:05.000Z")
}

// ahead returns the time from now to the expiry in an example.
func (l limits) ahead() time.Duration {
	if l.longest == 0 {
		return exampleAfter
	}
	return min(exampleAfter, l.longest)
}

// spellSpan writes a time from now, rounded down to the millisecond: digits is the number
// of milliseconds, and span is a number with a unit. If no unit fits, span is empty.
func spellSpan(d time.Duration) (digits, span string) {
	ms := d.Milliseconds()
	digits = strconv.FormatInt(ms, 10)
	for _, name := range []string{"d", "h", "m", "s"} {
		unit := units[name]
		if ms%unit == 0 && (name != "d" || ms > unit) { // one day is written as 24h
			return digits, strconv.FormatInt(ms/unit, 10) + name
		}
	}
	return digits, ""
}
