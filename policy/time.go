package policy

import "time"

// Time is an instant in whole milliseconds since 1970-01-01T00:00:00Z. The
// zero value means "never happened" in a record.
type Time int64

// LastTime is the end of the year 9999, 9999-12-31T23:59:59.999Z. A later year does
// not have four digits.
const LastTime Time = 253_402_300_799_999

// At returns t, rounded down to the millisecond.
func At(t time.Time) Time { return Time(t.UnixMilli()) }

// Add returns t+d, with d rounded down to the millisecond. A sum beyond the range
// of Time becomes the end of the range, and does not overflow.
func (t Time) Add(d time.Duration) Time {
	ms := Time(d.Milliseconds())
	if d%time.Millisecond < 0 {
		ms--
	}
	sum := t + ms
	switch {
	case ms > 0 && sum < t:
		return 1<<63 - 1
	case ms < 0 && sum > t:
		return -1 << 63
	}
	return sum
}

// Std returns t as a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMilli(int64(t)).UTC() }

// IsZero reports whether t means "never happened".
func (t Time) IsZero() bool { return t == 0 }

// String formats t as RFC 3339 in UTC with milliseconds.
func (t Time) String() string { return t.Std().Format("2006-01-02T15:04:05.000Z07:00") }

// Expiry is the instant from which a key is no longer valid, or the explicit
// statement that the key does not expire. The zero value is an expiry in 1970.
type Expiry struct {
	at    Time
	never bool
}

// Never returns the expiry of a key that does not expire.
func Never() Expiry { return Expiry{never: true} }

// ExpiresAt returns the expiry of a key that is valid before t, and not at t.
func ExpiresAt(t Time) Expiry { return Expiry{at: t} }

// Passed reports whether the key has expired at now.
func (e Expiry) Passed(now Time) bool { return !e.never && now >= e.at }

// After reports whether e is later than other.
func (e Expiry) After(other Expiry) bool {
	return !other.never && (e.never || e.at > other.at)
}

// Time returns the instant of expiry. OK is false if the key does not expire.
func (e Expiry) Time() (at Time, ok bool) { return e.at, !e.never }

// String formats the instant as [Time.String] does, or returns "never".
func (e Expiry) String() string {
	if e.never {
		return "never"
	}
	return e.at.String()
}
