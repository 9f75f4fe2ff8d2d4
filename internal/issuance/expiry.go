package issuance

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// units are the units of a time from now, in milliseconds. A time without a unit is in
// milliseconds.
var units = map[string]int64{
	"":  1,
	"s": 1000,
	"m": 60 * 1000,
	"h": 60 * 60 * 1000,
	"d": 24 * 60 * 60 * 1000,
	"w": 7 * 24 * 60 * 60 * 1000,
}

var (
	spanForm    = regexp.MustCompile(`\A([0-9]+)([smhdw]?)\z`)
	instantForm = regexp.MustCompile(`\A([0-9]{4})[/-]([0-9]{2})[/-]([0-9]{2})` +
		`([ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{3}))?` +
		`( ?(?:Z|([+-])([0-9]{2})(?::?([0-9]{2}))?))?)?\z`)
)

// ParseExpiry reads the form field epi, which asks for an expiry. It is one of
//
//   - digits: milliseconds from now (60000);
//   - digits and one of s, m, h, d (24 hours) and w (7 days): a time from now (30s);
//   - a date (2031/02/03 or 2031-02-03), which lasts to its end in zone. Day 00
//     is the last day of the month before;
//   - a date, a space or T, and a time of day with seconds and optionally three
//     digits of milliseconds (2031/02/03 10:00:00.000). A time zone can follow, with
//     or without a space before it: Z, +09, +0900 or +09:00. Without a time zone,
//     zone counts.
//
// If clocks are set back, a local time can come twice: the first of the two counts.
// If clocks are set forward, a local time can be left out: the instant at which the
// clocks are set counts. Zone must not be nil.
//
// The expiry must come after now, before the year 10000 in UTC, and no later than
// longest after now. A longest of 0 means no limit; otherwise longest must be a
// millisecond or more. For every other text ParseExpiry returns an error of one
// sentence. The sentence shows the text, says what is wrong with it, and gives
// examples that would be accepted. It does not show a text that contains a key or a
// service password. With an error, the returned time is zero.
func ParseExpiry(text string, now policy.Time, zone *time.Location, longest time.Duration) (policy.Time, error) {
	at, err := readExpiry(text, now, zone)
	want := limits{now, zone, longest}
	switch {
	case err != nil:
	case at <= now:
		err = fmt.Errorf("that is %s, which is past", FormatExpiry(at, zone))
	case at > policy.LastTime:
		err = errFar
	case at > want.end():
		return 0, fmt.Errorf("epi %s: that is longer than keys live here: want %s", shown(text), want.atMost())
	default:
		return at, nil
	}
	return 0, fmt.Errorf("epi %s: %w: want %s", shown(text), err, want.forms())
}

// FormatExpiry formats t in the time zone zone, as 2031/02/03 10:00:00.000+09:00. With
// every zone, [ParseExpiry] reads the same instant from the text. FormatExpiry uses UTC,
// with +00:00, if the offset of zone cannot be written (it has seconds, or is a day or
// more), or if the year in zone does not have four digits. The zone must not be nil.
func FormatExpiry(t policy.Time, zone *time.Location) string {
	local := t.Std().In(zone)
	_, offset := local.Zone()
	const day = 24 * 60 * 60
	if offset%60 != 0 || offset <= -day || offset >= day || local.Year() < 0 || local.Year() > 9999 {
		local = t.Std()
	}
	return local.Format("2006/01/02 15:04:05.000-07:00")
}

// maxShown is how many bytes of a text an error shows at most.
const maxShown = 60

func shown(text string) string {
	switch {
	case policy.HoldsSecret(text):
		return "(hidden)"
	case len(text) > maxShown:
		return strconv.Quote(text[:maxShown]) + "..."
	}
	return strconv.Quote(text)
}

func readExpiry(text string, now policy.Time, zone *time.Location) (policy.Time, error) {
	if m := spanForm.FindStringSubmatch(text); m != nil {
		return readSpan(m[1], units[m[2]], now)
	}
	if m := instantForm.FindStringSubmatch(text); m != nil {
		return readInstant(m, zone)
	}
	return 0, mistakeIn(text)
}

func readSpan(digits string, unit int64, now policy.Time) (policy.Time, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case err != nil || n > math.MaxInt64/unit:
		return 0, errFar
	case n == 0:
		return 0, errZero
	}
	at := now + policy.Time(n*unit)
	if at < now { // the sum has overflowed
		return 0, errFar
	}
	return at, nil
}

// readInstant reads the groups of instantForm. Groups 1 to 3 are year, month and day. Group
// 4 is the time of day, with its hour, minute, second and milliseconds in groups 5 to 8.
// Group 9 is the time zone, with its sign, hours and minutes in groups 10 to 12. The time
// of day and the time zone may be empty.
func readInstant(m []string, zone *time.Location) (policy.Time, error) {
	var n [13]int
	for _, i := range []int{1, 2, 3, 5, 6, 7, 8, 11, 12} {
		n[i] = number(m[i])
	}
	year, month, day := n[1], time.Month(n[2]), n[3]
	switch {
	case month < time.January || month > time.December:
		return 0, errMonth
	case day > time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day():
		return 0, errDay
	case n[5] > 23:
		return 0, errHour
	case n[6] > 59 || n[7] > 59:
		return 0, errMinute
	case n[11] > 23 || n[12] > 59:
		return 0, errOffset
	}
	if m[4] == "" {
		day++
	}
	// Day 0 is the last day of the month before, for time.Date as for epi.
	wall := time.Date(year, month, day, n[5], n[6], n[7], n[8]*int(time.Millisecond), time.UTC)
	if m[9] == "" {
		return whenShown(wall, zone), nil
	}
	offset := time.Duration(n[11])*time.Hour + time.Duration(n[12])*time.Minute
	if m[10] == "-" {
		offset = -offset
	}
	return policy.At(wall.Add(-offset)), nil
}

// number returns the value of a few digits. It returns 0 for an empty text.
func number(digits string) int {
	n := 0
	for _, c := range []byte(digits) {
		n = 10*n + int(c-'0')
	}
	return n
}

// whenShown returns the first instant at which the clocks of zone show the time wall. If
// they skip wall, it returns the instant at which they are set forward. It does not use
// time.Date: for a local time that comes twice or not at all, time.Date does not guarantee
// which instant it returns.
func whenShown(wall time.Time, zone *time.Location) policy.Time {
	from := wall.Add(-48 * time.Hour).In(zone) // no time zone is 48 hours ahead of UTC
	for {
		_, offset := from.Zone()
		_, end := from.ZoneBounds()
		at := wall.Add(-time.Duration(offset) * time.Second)
		if at.Before(from) {
			at = from
		}
		if !end.IsZero() && !end.After(from) {
			end = from.Add(time.Hour) // ZoneBounds is wrong on the last day of future leap years: continue hour by hour
		}
		if end.IsZero() || at.Before(end) {
			return policy.At(at)
		}
		from = end
	}
}
