package throttle

import (
	"slices"
	"strconv"
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

// Gateways that are told of each failing request at once count as one throttle does, and a client that
// waits as it is told is allowed again.
func TestGatewaysCountFailuresTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const failures = 5
		gateways := []*Throttle[string]{newNamed(failures), newNamed(failures), newNamed(failures)}
		one := newNamed(failures)
		now := policy.Time(1_764_000_000_000)
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			now += policy.Time(rapid.OneOf(rapid.IntRange(0, 2_000), rapid.IntRange(0, 70_000)).Draw(t, "pause"))
			at := rapid.SampledFrom(gateways).Draw(t, "gateway")
			wait, count := one.Wait("key", now), one.Count("key", now)
			if got := at.Count("key", now); got != count {
				t.Fatalf("the gateway knows %d failures, want %d", got, count)
			}
			if got := at.Wait("key", now); got != wait {
				t.Fatalf("the client waits %d s, want %d", got, wait)
			}
			if wait > 0 {
				if left := at.Wait("key", now.Add(time.Duration(wait)*time.Second)); left != 0 {
					t.Fatalf("after the wait of %d s, the client waits %d s more", wait, left)
				}
			}
			if got := at.Fail("key", now); got != wait || one.Fail("key", now) != wait {
				t.Fatalf("Wait says %d, and Fail %d", wait, got)
			}
			for _, c := range at.Changes(false) {
				for _, to := range gateways {
					if to != at {
						to.Add(now, c)
					}
				}
			}
		}
	})
}

// Gateways that are told late have the same window when all is told: the next one begins for all of them
// at the same time, and in it they allow as many failing requests as the rule says.
func TestGatewaysThatAreToldLateHaveTheSameWindow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const failures = 5
		gateways := []*Throttle[string]{newNamed(failures), newNamed(failures), newNamed(failures)}
		now := policy.Time(1_764_000_000_000)
		begun := now
		for i := range rapid.IntRange(1, 20).Draw(t, "requests") {
			if i > 0 {
				now += policy.Time(rapid.IntRange(0, 2_000).Draw(t, "pause"))
			}
			rapid.SampledFrom(gateways).Draw(t, "gateway").Fail("key", now)
		}
		for _, from := range rapid.Permutation(gateways).Draw(t, "order") {
			for _, c := range from.Changes(false) {
				for _, to := range gateways {
					if to != from {
						to.Add(now, c)
					}
				}
			}
		}
		for i, g := range gateways {
			if got, want := g.Count("key", now), gateways[0].Count("key", now); got != want {
				t.Errorf("gateway %d knows %d failures, and gateway 0 %d", i, got, want)
			}
			if got := g.Count("key", begun+59_999); got == 0 {
				t.Errorf("gateway %d ends the window early", i)
			}
			if got := g.Count("key", begun+60_000); got != 0 {
				t.Errorf("gateway %d ends the window late", i)
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

// A gateway that has a window already, and hears of an earlier failing request, ends the window as early
// as the other gateway does. A gateway whose window has ended counts it in the next one.
func TestAWindowBeginsWithTheFirstFailureAtAnyGateway(t *testing.T) {
	t.Parallel()
	const noon = policy.Time(1_764_000_000_000)
	type failures struct{ n, at int } // at is in seconds
	for _, test := range []struct {
		own, others failures
		told, want  int // seconds; want is how long the client waits
	}{
		{own: failures{3, 10}, told: 20, want: 50},
		{others: failures{3, 10}, told: 20, want: 50},
		{own: failures{2, 0}, others: failures{1, 10}, told: 20, want: 40},
		{own: failures{1, 10}, others: failures{2, 0}, told: 20, want: 40},
		{own: failures{3, 10}, others: failures{1, 0}, told: 20, want: 40},
		{own: failures{3, 0}, others: failures{3, 10}, told: 20, want: 40},
		{own: failures{1, 0}, others: failures{1, 10}, told: 20, want: 0},
		{own: failures{3, 0}, others: failures{3, 59}, told: 61, want: 58},
		{own: failures{3, 0}, others: failures{2, 59}, told: 61, want: 0},
		{own: failures{3, 70}, others: failures{1, 0}, told: 75, want: 55}, // an old failure ends no window
		{others: failures{3, 0}, told: 60, want: 0},
		{others: failures{3, 21}, told: 20, want: 60}, // by the clock of the other gateway
		{others: failures{3, 22}, told: 20, want: 0},
	} {
		throttle := newNamed(3)
		at := func(seconds int) policy.Time { return noon.Add(time.Duration(seconds) * time.Second) }
		for range test.own.n {
			throttle.Fail("key", at(test.own.at))
		}
		throttle.Add(at(test.told), share.Change{ID: "name of key", Past: []share.Past{{At: at(test.others.at), N: test.others.n}}})
		if got := throttle.Wait("key", at(test.told)); got != test.want {
			t.Errorf("own failures %+v, those of others %+v, told at %d: the client waits %d s, want %d", test.own, test.others, test.told, got, test.want)
		}
	}
}

// While nobody asks what there is to tell, what is over is left out, and the rest counts.
func TestWhatIsOverIsNotTold(t *testing.T) {
	t.Parallel()
	const noon = policy.Time(1_764_000_000_000)
	one, other := newNamed(3), newNamed(3)
	for at := noon; at <= noon+130_000; at += 61_000 {
		for range 3 {
			one.Fail("key", at)
		}
	}
	tell(one, other, noon+130_000)
	if got, want := other.Wait("key", noon+130_000), one.Wait("key", noon+130_000); got != want || got == 0 {
		t.Errorf("the client waits %d s at the other gateway, want %d", got, want)
	}
}

// Of failing requests that overtake each other, the others learn when the first one was.
func TestAWindowThatIsToldBeginsWithItsFirstFailure(t *testing.T) {
	t.Parallel()
	const now = policy.Time(1_764_000_000_000)
	one, other := newNamed(2), newNamed(2)
	one.Fail("key", now)
	one.Fail("key", now-700)
	tell(one, other, now)
	for at, want := range map[policy.Time]int{now + 59_299: 1, now + 59_300: 0} {
		if mine, others := one.Wait("key", at), other.Wait("key", at); mine != want || others != want {
			t.Errorf("%d ms later, the client waits %d s, and %d s at the other gateway; want %d", at-now, mine, others, want)
		}
	}
}

// What a gateway has to tell is limited, as what it remembers.
func TestWhatIsToldIsLimited(t *testing.T) {
	t.Parallel()
	const now = policy.Time(1_764_000_000_000)
	told := 0
	th := New[int](Rule{Failures: 3, Window: time.Minute, Keys: 10}).Named(strconv.Itoa)
	th.Fail(1, now) // before it shares
	th.Share(func() { told++ })
	for i := range 100 {
		th.Fail(i, now)
	}
	for i := range 10 {
		th.Fail(i, now)
	}
	list := th.Changes(false)
	if len(list) != 10 || told != 1 {
		t.Errorf("%d keys are told, and %d times something is to tell", len(list), told)
	}
	for _, c := range list { // those of a key that is told are all told
		if want := []share.Past{{At: now, N: 2}}; !slices.Equal(c.Past, want) {
			t.Errorf("the failures %+v of key %s are told, want %+v", c.Past, c.ID, want)
		}
	}
	for i := range 100 {
		th.Add(now, share.Change{ID: time.Duration(i).String(), Past: []share.Past{{At: now, N: 1}}})
	}
	if n := len(th.windows.byKey); n != 10 {
		t.Errorf("%d keys are remembered", n)
	}
	th.Share(nil)
	th.Fail(1, now)
	if n := len(th.Changes(false)); n != 0 {
		t.Errorf("%d keys are told after the end of sharing", n)
	}
}

func TestAKeyWithoutANameCountsAtItsGatewayOnly(t *testing.T) {
	t.Parallel()
	const now = policy.Time(1_764_000_000_000)
	rule := Rule{Failures: 2, Window: time.Minute, Keys: 10}
	for what, th := range map[string]*Throttle[int]{
		"a throttle without names": New[int](rule),
		"keys without names":       New[int](rule).Named(func(int) string { return "" }),
	} {
		th.Share(func() { t.Errorf("%s: something is to tell", what) })
		for range 2 {
			th.Fail(1, now)
		}
		if n := len(th.Changes(false)); n != 0 {
			t.Errorf("%s: %d keys are told", what, n)
		}
		if th.Wait(1, now) != 60 || th.Wait(0, now) != 0 {
			t.Errorf("%s: the clients wait %d and %d s", what, th.Wait(1, now), th.Wait(0, now))
		}
	}
}
