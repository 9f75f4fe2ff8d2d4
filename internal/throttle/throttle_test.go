package throttle

import (
	"encoding/binary"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

const noon policy.Time = 1_900_000_000_000

var client = netip.MustParseAddr("192.0.2.7")

const (
	failuresAllowed    = 30
	throttledAddresses = 16_384
)

// addresses counts by the network of an address, as the issuance API does.
type addresses struct{ *Throttle[netip.Prefix] }

func newThrottle(limit int) addresses {
	return addresses{New[netip.Prefix](Rule{Failures: failuresAllowed, Window: time.Minute, Keys: limit})}
}

// fail counts a failing request.
func (a addresses) fail(addr netip.Addr, now policy.Time) int {
	return a.Fail(policy.NetworkOf(addr), now)
}

// spend makes the failing requests that are allowed.
func spend(t rapid.TB, th addresses, addr netip.Addr, now policy.Time) {
	t.Helper()
	for i := range failuresAllowed {
		if wait := th.fail(addr, now); wait != 0 {
			t.Fatalf("failing call %d of %v is to wait %d s", i+1, addr, wait)
		}
	}
}

func wantWait(t rapid.TB, th addresses, addr netip.Addr, now policy.Time, want int) {
	t.Helper()
	if got := th.Wait(policy.NetworkOf(addr), now); got != want {
		t.Errorf("%v at %d is to wait %d s before a call, want %d", addr, now-noon, got, want)
	}
	if got := th.fail(addr, now); got != want {
		t.Errorf("a failing call of %v at %d is to wait %d s, want %d", addr, now-noon, got, want)
	}
}

func TestThrottle_ThirtyFailingCallsAMinuteAreAllowed(t *testing.T) {
	t.Parallel()
	th := newThrottle(throttledAddresses)
	for i := range policy.Time(30) {
		wantWait(t, th, client, noon+i*1000, 0)
	}
	for _, tt := range []struct {
		at   policy.Time
		wait int
	}{
		{29_000, 31}, {30_000, 30}, {30_001, 30}, {30_999, 30}, {31_000, 29}, {59_000, 1}, {59_001, 1}, {59_999, 1},
	} {
		wantWait(t, th, client, noon+tt.at, tt.wait)
	}
	// The window that began with the first request ends at exactly this millisecond.
	spend(t, th, client, noon+60_000)
	wantWait(t, th, client, noon+60_000, 60)
	wantWait(t, th, client, noon+119_999, 1)
	wantWait(t, th, client, noon+120_000, 0)
}

func TestThrottle_AMinuteBeginsWithTheFirstFailingCall(t *testing.T) {
	t.Parallel()
	th := newThrottle(throttledAddresses)
	wantWait(t, th, client, noon, 0)
	wantWait(t, th, client, noon+90_000, 0) // begins another window
	for range failuresAllowed - 1 {
		wantWait(t, th, client, noon+149_999, 0)
	}
	wantWait(t, th, client, noon+149_999, 1)
	wantWait(t, th, client, noon+150_000, 0)
}

func TestThrottle_ClientsCountByThemselves(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, one, other string
		shared           bool
	}{
		{"IPv4 addresses", "192.0.2.7", "192.0.2.8", false},
		{"a mapped address and the one that it carries", "::ffff:192.0.2.7", "192.0.2.7", true},
		{"two mapped addresses", "::ffff:192.0.2.7", "::ffff:192.0.2.8", false},
		{"a /64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true},
		{"two /64 of a /63", "2001:db8::1", "2001:db8:0:1::1", false},
		{"zones", "fe80::1%eth0", "fe80::1%eth1", true},
		{"families", "0.0.0.0", "::", false},
		{"the mapped addresses and their /64", "::ffff:192.0.2.7", "::1", false},
		{"unknown addresses", "", "", true},
		{"an unknown address and 0.0.0.0", "", "0.0.0.0", false},
		{"an unknown address and ::", "", "::", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			one, _ := netip.ParseAddr(tt.one)
			other, _ := netip.ParseAddr(tt.other)
			th := newThrottle(throttledAddresses)
			spend(t, th, one, noon)
			wantWait(t, th, one, noon, 60)
			if tt.shared {
				wantWait(t, th, other, noon, 60)
			} else {
				spend(t, th, other, noon)
			}
		})
	}
}

func TestThrottle_AClockThatIsSetBackLocksNobodyOut(t *testing.T) {
	t.Parallel()
	for _, back := range []policy.Time{1001, 60_000, 3_600_000, noon, math.MaxInt64} {
		th := newThrottle(throttledAddresses)
		spend(t, th, client, noon)
		wantWait(t, th, client, noon, 60)
		spend(t, th, client, noon-back)
		wantWait(t, th, client, noon-back, 60)
		wantWait(t, th, client, noon-back+60_000, 0)
	}
	th := newThrottle(throttledAddresses)
	spend(t, th, client, math.MaxInt64)
	spend(t, th, client, math.MinInt64)
	spend(t, th, client, math.MaxInt64)
	wantWait(t, th, client, math.MaxInt64, 60)
}

func TestThrottle_CallsThatOvertakeEachOtherCountInOneMinute(t *testing.T) {
	t.Parallel()
	th := newThrottle(throttledAddresses)
	spend(t, th, client, noon)
	wantWait(t, th, client, noon-1000, 60) // the earliest call that does not show a clock that was set back
	th = newThrottle(throttledAddresses)
	for i := range policy.Time(failuresAllowed) {
		wantWait(t, th, client, noon-i, 0)
	}
	wantWait(t, th, client, noon+1, 60)
	wantWait(t, th, client, noon-1000, 60) // and no more than that
	wantWait(t, th, client, noon+59_000, 0)
}

// v4 returns the n-th address.
func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// checkSize checks that the throttle counts no more addresses than its limit, and that its
// parts agree.
func checkSize(t rapid.TB, th addresses) {
	t.Helper()
	if n := len(th.windows.byKey); n > th.windows.limit || n != th.windows.order.Len() {
		t.Fatalf("it keeps count of %d addresses and %d in order, and may of %d", n, th.windows.order.Len(), th.windows.limit)
	}
}

func TestThrottle_AMillionAddressesTakeNoMoreMemory(t *testing.T) {
	t.Parallel()
	th := newThrottle(throttledAddresses)
	for n := range uint32(1_000_000) {
		if wait := th.fail(v4(n), noon+policy.Time(n/100)); wait != 0 {
			t.Fatalf("the first failing call of %v is to wait %d s", v4(n), wait)
		}
	}
	checkSize(t, th)
	if len(th.windows.byKey) != throttledAddresses {
		t.Errorf("it keeps count of %d addresses, want %d", len(th.windows.byKey), throttledAddresses)
	}
	th.fail(client, noon+10_000_000)
	if checkSize(t, th); len(th.windows.byKey) != 1 {
		t.Errorf("it keeps count of %d addresses whose minute is over", len(th.windows.byKey)-1)
	}
}

func TestThrottle_TheMinuteThatBeganFirstIsForgottenFirst(t *testing.T) {
	t.Parallel()
	th := newThrottle(2)
	spend(t, th, v4(1), noon)
	spend(t, th, v4(2), noon+1)
	wantWait(t, th, v4(1), noon+2, 60) // a request does not make the window longer
	wantWait(t, th, v4(3), noon+3, 0)  // replaces address 1
	wantWait(t, th, v4(2), noon+3, 60)
	spend(t, th, v4(1), noon+4) // replaces address 2
	wantWait(t, th, v4(1), noon+4, 60)
	wantWait(t, th, v4(2), noon+4, 0)
	checkSize(t, th)
}

func TestThrottle_AnEndedWindowIsForgottenFirst(t *testing.T) {
	t.Parallel()
	th := newThrottle(2)
	th.fail(v4(1), noon)
	spend(t, th, v4(2), noon+1000)
	th.fail(v4(1), noon+60_000) // a new window, so the window of address 2 is older
	spend(t, th, v4(1), noon+120_000)
	th.fail(v4(3), noon+120_000) // replaces address 2, whose window has ended
	wantWait(t, th, v4(1), noon+120_000, 60)
	checkSize(t, th)
}

func TestThrottle_CountsAtLeastOneAddress(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{-1, 0, 1} {
		th := newThrottle(limit)
		spend(t, th, client, noon)
		wantWait(t, th, client, noon, 60)
		wantWait(t, th, v4(1), noon, 0)
		wantWait(t, th, client, noon, 0)
	}
}

func TestThrottle_ConcurrentRequestsAreAllCounted(t *testing.T) {
	t.Parallel()
	th := newThrottle(throttledAddresses)
	const clients, callers, calls = 8, 8, 50
	var allowed [clients]atomic.Int64
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for j := range calls {
				for c := range clients {
					if th.fail(v4(uint32(c)), noon+policy.Time(i+j)) == 0 {
						allowed[c].Add(1)
					}
				}
			}
		})
	}
	all.Wait()
	for c := range allowed {
		if n := allowed[c].Load(); n != failuresAllowed {
			t.Errorf("client %d had %d failing calls answered, want %d", c, n, failuresAllowed)
		}
	}
}

func TestThrottle_AgreesWithANaiveModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		type naive struct {
			key   string
			start policy.Time
			calls int
		}
		limit := rapid.IntRange(1, 6).Draw(t, "limit")
		th := newThrottle(limit)
		var model []naive // by start
		now := noon
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += policy.Time(rapid.SampledFrom([]int{0, 1, 999, 1000, 20_000, 59_999, 60_000}).Draw(t, "later by"))
			n := rapid.Uint32Range(0, 7).Draw(t, "client")
			for range rapid.SampledFrom([]int{1, 29, 30, 31}).Draw(t, "calls") {
				at, kept := -1, model[:0]
				for _, m := range model {
					if now < m.start+60_000 {
						kept = append(kept, m)
					}
				}
				model = kept
				for i, m := range model {
					if m.key == v4(n).String() {
						at = i
					}
				}
				if at < 0 {
					if len(model) == limit {
						model = model[1:]
					}
					model = append(model, naive{key: v4(n).String(), start: now})
					at = len(model) - 1
				}
				model[at].calls++
				want := 0
				if model[at].calls > 30 {
					left := (model[at].start + 60_000).Std().Sub(now.Std())
					want = int(math.Ceil(left.Seconds()))
				}
				wantWait(t, th, v4(n), now, want)
				checkSize(t, th)
			}
		}
	})
}

func TestThrottle_WhateverTheClockDoesWaitsAreShort(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		th := newThrottle(rapid.IntRange(0, 3).Draw(t, "limit"))
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now := policy.Time(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2000, 62_000)).Draw(t, "now"))
			addr := v4(rapid.Uint32Range(0, 4).Draw(t, "client"))
			if rapid.Bool().Draw(t, "often") {
				for range failuresAllowed {
					th.fail(addr, now)
				}
			}
			wait := th.fail(addr, now)
			if wait < 0 || wait > 60 {
				t.Fatalf("a failing call is to wait %d s", wait)
			}
			checkSize(t, th)
			if then := now.Add(time.Duration(wait) * time.Second); wait > 0 && then > now {
				wantWait(t, th, addr, then, 0)
			}
		}
	})
}
