package words

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestParseDuration_ReadsWhatPeopleWrite(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want time.Duration
		err  error
	}{
		{"0", 0, nil},
		{"0s", 0, nil},
		{"90s", 90 * time.Second, nil},
		{"24h", 24 * time.Hour, nil},
		{"7d", 7 * 24 * time.Hour, nil},
		{"2w", 14 * 24 * time.Hour, nil},
		{"1h30m", 90 * time.Minute, nil},
		{"1w2d3h4m5s6ms7us8ns", 9*24*time.Hour + 3*time.Hour + 4*time.Minute + 5*time.Second + 6*time.Millisecond + 7*time.Microsecond + 8, nil},
		{"1.5d", 36 * time.Hour, nil},
		{".5w", 84 * time.Hour, nil},
		{"1.h", time.Hour, nil},
		{"+1h", time.Hour, nil},
		{"-1h30m", -90 * time.Minute, nil},
		{"106751d", 106751 * 24 * time.Hour, nil},
		{"106752d", 0, ErrDurationLong},
		{"15251w", 0, ErrDurationLong},
		{"106751d24h", 0, ErrDurationLong},
		{"99999999999999999999h", 0, ErrDurationLong},
		{"99999999999999999999h1x", 0, ErrDurationForm},
		{"", 0, ErrDurationForm},
		{"-", 0, ErrDurationForm},
		{"+", 0, ErrDurationForm},
		{"--1h", 0, ErrDurationForm},
		{"1", 0, ErrDurationForm},
		{"00", 0, ErrDurationForm},
		{"h", 0, ErrDurationForm},
		{".h", 0, ErrDurationForm},
		{"1.2.3h", 0, ErrDurationForm},
		{"1h30", 0, ErrDurationForm},
		{"1h-30m", 0, ErrDurationForm},
		{"1H", 0, ErrDurationForm},
		{"1y", 0, ErrDurationForm},
		{"1 h", 0, ErrDurationForm},
		{" 1h", 0, ErrDurationForm},
		{"1h ", 0, ErrDurationForm},
		{"1e3s", 0, ErrDurationForm},
		{"３h", 0, ErrDurationForm},
		{"off", 0, ErrDurationForm},
	}
	for _, test := range tests {
		if got, err := ParseDuration(test.text); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%q is %s, %v; want %s, %v", test.text, got, err, test.want, test.err)
		}
	}
}

func TestParseDuration_ReadsTheLongestDuration(t *testing.T) {
	t.Parallel()
	if got, err := ParseDuration("9223372036854775807ns"); got != math.MaxInt64 || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := ParseDuration("9223372036854775807ns1ns"); !errors.Is(err, ErrDurationLong) {
		t.Errorf("one nanosecond more is %v", err)
	}
}
