package policy_test

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

const (
	latest   policy.Time = math.MaxInt64
	earliest policy.Time = math.MinInt64
)

func TestTime_Add(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name string
		at   policy.Time
		d    time.Duration
		want policy.Time
	}{
		{"nothing moves nothing", created, 0, created},
		{"whole milliseconds forward", created, 5 * ms, created + 5},
		{"whole milliseconds back", created, -5 * ms, created - 5},
		{"a part of a millisecond forward is cut off", created, 2*ms - 1, created + 1},
		{"a nanosecond forward is none", created, 1, created},
		{"a nanosecond back is a millisecond", created, -1, created - 1},
		{"a part of a millisecond back is rounded down", created, -ms - 1, created - 2},
		{"the longest duration stops at the latest instant", latest, math.MaxInt64, latest},
		{"one millisecond past the end stops", latest, ms, latest},
		{"up to the end is exact", latest - 1, ms, latest},
		{"the longest duration back stops at the earliest instant", earliest, math.MinInt64, earliest},
		{"one millisecond before the beginning stops", earliest, -ms, earliest},
		{"down to the beginning is exact", earliest + 1, -ms, earliest},
		{"across zero", -3, 5 * ms, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := tt.at.Add(tt.d); got != tt.want {
				t.Errorf("%d + %v = %d, want %d", int64(tt.at), tt.d, int64(got), int64(tt.want))
			}
		})
	}
}

func TestTime_AddIsFlooredAndClamped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Int64().Draw(t, "at")
		d := rapid.Int64().Draw(t, "d")
		// Euclidean division by a positive number rounds down.
		want := new(big.Int).Div(big.NewInt(d), big.NewInt(1_000_000))
		want.Add(want, big.NewInt(at))
		switch {
		case want.Cmp(big.NewInt(math.MaxInt64)) > 0:
			want.SetInt64(math.MaxInt64)
		case want.Cmp(big.NewInt(math.MinInt64)) < 0:
			want.SetInt64(math.MinInt64)
		}
		if got := policy.Time(at).Add(time.Duration(d)); int64(got) != want.Int64() {
			t.Fatalf("%d + %d ns = %d, want %d", at, d, int64(got), want)
		}
	})
}

func TestTime_AtRoundsDownToTheMillisecond(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		std  time.Time
		want policy.Time
	}{
		{"a whole millisecond is itself", time.UnixMilli(1234), 1234},
		{"a nanosecond later is still that one", time.UnixMilli(1234).Add(1), 1234},
		{"a nanosecond earlier is the one before", time.UnixMilli(1234).Add(-1), 1233},
		{"before 1970 too it is the one before", time.UnixMilli(-5).Add(-1), -6},
		{"a zone changes nothing", time.UnixMilli(1234).In(time.FixedZone("", 9*3600)), 1234},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := policy.At(tt.std); got != tt.want {
				t.Errorf("At = %d, want %d", int64(got), int64(tt.want))
			}
		})
	}
}

func TestTime_printsAndGoesBack(t *testing.T) {
	t.Parallel()
	at := policy.Time(1_700_000_000_007)
	if got, want := at.String(), "2023-11-14T22:13:20.007Z"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if std := at.Std(); std.Location() != time.UTC || policy.At(std) != at {
		t.Errorf("Std = %v, which is %d", std, policy.At(std))
	}
	if !policy.Time(0).IsZero() || policy.Time(1).IsZero() || policy.Time(-1).IsZero() {
		t.Error("IsZero holds for the zero value alone")
	}
}

func TestR3_NeverIsItsOwnValue(t *testing.T) {
	t.Parallel()
	t.Run("never does not pass, at the end of time either", func(t *testing.T) {
		t.Parallel()
		for _, now := range []policy.Time{earliest, 0, after, latest} {
			if policy.Never().Passed(now) {
				t.Errorf("never has passed at %d", int64(now))
			}
		}
	})
	t.Run("never has no instant", func(t *testing.T) {
		t.Parallel()
		if at, ok := policy.Never().Time(); ok {
			t.Errorf("never is at %v", at)
		}
	})
	t.Run("never is neither the zero value, nor an expiry at zero, nor a far date", func(t *testing.T) {
		t.Parallel()
		for _, e := range []policy.Expiry{{}, policy.ExpiresAt(0), policy.ExpiresAt(latest)} {
			if e == policy.Never() {
				t.Errorf("%v equals never", e)
			}
			if _, ok := e.Time(); !ok {
				t.Errorf("%v has no instant", e)
			}
		}
		if !policy.ExpiresAt(latest).Passed(latest) {
			t.Error("the farthest date does not pass")
		}
	})
	t.Run("the zero value has passed", func(t *testing.T) {
		t.Parallel()
		if !(policy.Expiry{}).Passed(created) || !(policy.Expiry{}).Passed(0) {
			t.Error("the zero expiry is still to come")
		}
	})
	t.Run("each prints as what it is", func(t *testing.T) {
		t.Parallel()
		if got := policy.Never().String(); got != "never" {
			t.Errorf("never prints %q", got)
		}
		if got := policy.ExpiresAt(1).String(); got != "1970-01-01T00:00:00.001Z" {
			t.Errorf("an expiry prints %q", got)
		}
		if got := (policy.Expiry{}).String(); got != "1970-01-01T00:00:00.000Z" {
			t.Errorf("the zero expiry prints %q", got)
		}
	})
}

func TestR3_ExpiryPassesAtItsMillisecond(t *testing.T) {
	t.Parallel()
	e := policy.ExpiresAt(expiry)
	if at, ok := e.Time(); !ok || at != expiry {
		t.Errorf("Time = %v, %v", at, ok)
	}
	for offset, want := range map[policy.Time]bool{-1: false, 0: true, 1: true} {
		if got := e.Passed(expiry + offset); got != want {
			t.Errorf("%+d ms: passed is %v, want %v", offset, got, want)
		}
	}
}
