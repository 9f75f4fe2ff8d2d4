package throttle

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/policy"
)

func newNamed(failures int) *Throttle[string] {
	t := New[string](Rule{Failures: failures, Window: time.Minute, Keys: 100}).Named(func(key string) string { return "name of " + key })
	t.Share(func() {})
	return t
}

// tell tells one throttle what another one has counted.
func tell(from, to *Throttle[string], now policy.Time) {
	for _, c := range from.Changes(false) {
		to.Add(now, c)
	}
}

// As many failing requests as the rule says are allowed at all gateways together, if each is told at
// once; and a client that waits as it is told is allowed again.
func TestGatewaysCountFailuresTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const failures = 5
		gateways := []*Throttle[string]{newNamed(failures), newNamed(failures), newNamed(failures)}
		now := policy.Time(1_764_000_000_000)
		var allowed []policy.Time
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			now += policy.Time(rapid.OneOf(rapid.IntRange(0, 2_000), rapid.IntRange(0, 70_000)).Draw(t, "pause"))
			at := rapid.SampledFrom(gateways).Draw(t, "gateway")
			count := at.Count("key", now)
			wait := at.Wait("key", now)
			if got := at.Fail("key", now); got != wait {
				t.Fatalf("Wait says %d, and Fail %d", wait, got)
			}
			if wait < 0 || wait > 60 || (wait > 0) != (count >= failures) {
				t.Fatalf("%d failures are known, and the client waits %d s", count, wait)
			}
			if wait > 0 {
				if left := at.Wait("key", now.Add(time.Duration(wait)*time.Second)); left != 0 {
					t.Fatalf("after the wait of %d s, the client waits %d s more", wait, left)
				}
				continue
			}
			allowed = append(allowed, now)
			for _, c := range at.Changes(false) {
				for _, to := range gateways {
					if to != at {
						to.Add(now, c)
					}
				}
			}
			// The windows are fixed: a client can use up those of the two of its gateway in turn.
			n := 0
			for _, before := range allowed {
				if before > now-60_000 {
					n++
				}
			}
			if n > 2*failures {
				t.Fatalf("%d failures were allowed within a minute", n)
			}
		}
	})
}

func TestAFailureCountsAtTheOthersUntilItsWindowEnds(t *testing.T) {
	t.Parallel()
	const now = policy.Time(1_764_000_000_000)
	one, other := newNamed(3), newNamed(3)
	for range 3 {
		one.Fail("key", now)
	}
	tell(one, other, now+10_000)
	for at, want := range map[policy.Time]int{now + 10_000: 50, now + 59_999: 1, now + 60_000: 0} {
		if got := other.Wait("key", at); got != want {
			t.Errorf("%d ms after the failures, the client waits %d s, want %d", at-now, got, want)
		}
	}
	if got := other.Wait("another key", now+10_000); got != 0 {
		t.Errorf("another client waits %d s", got)
	}
	if other.Count("key", now+10_000) != 3 {
		t.Errorf("%d failures are known", other.Count("key", now+10_000))
	}
	// Too old to count, and no failures at all.
	other.Add(now+200_000, share.Change{ID: "name of key", Past: []share.Past{{At: now, N: 3}, {At: now + 199_000, N: 0}, {At: now + 199_000, N: -5}}})
	if got := other.Wait("key", now+200_000); got != 0 {
		t.Errorf("old failures count: the client waits %d s", got)
	}
}

// A client waits until so many of its two windows have ended that a request is allowed, and no longer.
func TestAClientWaitsForAsFewWindowsAsItMust(t *testing.T) {
	t.Parallel()
	const begun = policy.Time(1_764_000_000_000)
	at := func(seconds int) policy.Time { return begun.Add(time.Duration(seconds) * time.Second) }
	type failures struct{ n, at int } // at is in seconds
	for _, test := range []struct {
		own, others failures
		want        int // seconds at 20
	}{
		{own: failures{3, 10}, want: 50},
		{others: failures{3, 10}, want: 50},
		{own: failures{2, 0}, others: failures{2, 10}, want: 40},
		{own: failures{2, 10}, others: failures{2, 0}, want: 40},
		{own: failures{1, 0}, others: failures{3, 10}, want: 50},
		{own: failures{3, 10}, others: failures{1, 0}, want: 50},
		{own: failures{3, 0}, others: failures{1, 10}, want: 40},
		{own: failures{1, 10}, others: failures{3, 0}, want: 40},
		{own: failures{3, 0}, others: failures{3, 10}, want: 50},
		{own: failures{3, 10}, others: failures{3, 0}, want: 50},
		{own: failures{1, 0}, others: failures{1, 10}, want: 0},
	} {
		throttle := newNamed(3)
		for range test.own.n {
			throttle.Fail("key", at(test.own.at))
		}
		throttle.Add(at(20), share.Change{ID: "name of key", Past: []share.Past{{At: at(test.others.at), N: test.others.n}}})
		if got := throttle.Wait("key", at(20)); got != test.want {
			t.Errorf("own failures %+v, those of others %+v: the client waits %d s, want %d", test.own, test.others, got, test.want)
		}
	}
}

// What one gateway remembers for the others is limited, as what it remembers for itself.
func TestWhatIsToldIsLimited(t *testing.T) {
	t.Parallel()
	const now = policy.Time(1_764_000_000_000)
	told := 0
	th := New[int](Rule{Failures: 2, Window: time.Minute, Keys: 10}).Named(func(int) string { return "name" })
	th.Fail(1, now) // before it shares
	th.Share(func() { told++ })
	for i := range 100 {
		th.Fail(i, now)
	}
	if n := len(th.Changes(false)); n != 10 || told != 1 {
		t.Errorf("%d keys are told, and %d times something is to tell", n, told)
	}
	for i := range 100 {
		th.Add(now, share.Change{ID: time.Duration(i).String(), Past: []share.Past{{At: now, N: 1}}})
	}
	if n := len(th.others.byKey); n != 10 {
		t.Errorf("%d keys of others are remembered", n)
	}
	th.Share(nil)
	th.Fail(1, now)
	if n := len(th.Changes(false)); n != 0 {
		t.Errorf("%d keys are told after the end of sharing", n)
	}
	nameless := New[int](Rule{Failures: 2, Window: time.Minute, Keys: 10})
	nameless.Share(func() { t.Error("a throttle without names shares") })
	nameless.Fail(1, now)
}
