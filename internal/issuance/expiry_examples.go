package issuance

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// exampleAfter is how far after now an example expires if lifetimes are not limited.
const exampleAfter = 30 * 24 * time.Hour

// limits are the limits of an expiry, from which the examples in errors are made.
type limits struct {
	now     policy.Time
	zone    *time.Location
	longest time.Duration // 0 means no limit
}

// end returns the latest expiry that may be asked for.
func (l limits) end() policy.Time {
	if l.longest == 0 {
		return math.MaxInt64
	}
	return l.now.Add(l.longest)
}

// allows reports whether an epi would be accepted.
func (l limits) allows(epi string) bool {
	at, err := readExpiry(epi, l.now, l.zone)
	return err == nil && at > l.now && at <= min(l.end(), policy.LastTime)
}

// atMost says how long a key may live, and gives examples.
func (l limits) atMost() string {
	digits, span := spellSpan(l.longest)
	if span == "" {
		return fmt.Sprintf("%s milliseconds at most, such as %s or %s", digits, digits, l.instant())
	}
	return fmt.Sprintf("%s at most, such as %s or %s", span, span, l.instant())
}

// forms lists the forms of an epi, with examples.
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

// first returns the first epi that would be accepted, or the empty string.
func (l limits) first(epis ...string) string {
	for _, epi := range epis {
		if l.allows(epi) {
			return epi
		}
	}
	return ""
}

// date returns an example of a date. It returns the empty string if the end of every
// date can be too late.
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

// instant returns an example of an instant, with as many zeros as the limits allow.
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

// ahead returns how far after now an example expires.
func (l limits) ahead() time.Duration {
	if l.longest == 0 {
		return exampleAfter
	}
	return min(exampleAfter, l.longest)
}

// spellSpan writes a time from now, rounded down to the millisecond: as
// milliseconds, and with a unit. The span is empty if no unit fits.
func spellSpan(d time.Duration) (digits, span string) {
	ms := d.Milliseconds()
	digits = strconv.FormatInt(ms, 10)
	for _, name := range []string{"d", "h", "m", "s"} {
		unit := units[name]
		if ms > 0 && ms%unit == 0 && (name != "d" || ms > unit) { // a day is spelled 24h
			return digits, strconv.FormatInt(ms/unit, 10) + name
		}
	}
	return digits, ""
}
