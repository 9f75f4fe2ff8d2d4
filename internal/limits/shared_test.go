package limits

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/share"
	"github.com/speechgate/speechgate/policy"
)

// fleet are the counters of several gateways.
type fleet []*Counters

func newFleet(n int) fleet {
	f := make(fleet, n)
	for i := range f {
		f[i] = New()
		f[i].Share(func() {})
	}
	return f
}

// tell tells each gateway what the others have counted, as package share does. The numbers at a time
// that were told before are in told.
func (f fleet) tell(now policy.Time, told []map[string]int) {
	for i, from := range f {
		for _, c := range from.Changes(false) {
			before := told[i][c.ID]
			told[i][c.ID] = c.Now
			c.Now -= before
			for j, to := range f {
				if i != j {
					to.Add(now, c)
				}
			}
		}
	}
}

func newTold(n int) (told []map[string]int) {
	for range n {
		told = append(told, make(map[string]int))
	}
	return told
}

// The bound of a limit over several gateways: in any 60 seconds, the limit and what was admitted
// within one turn. A place comes free within 63 seconds.
func TestR20_GatewaysCountRequestsTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gateways := rapid.IntRange(2, 4).Draw(t, "gateways")
		most := rapid.Uint32Range(1, 15).Draw(t, "limit")
		f, told, k := newFleet(gateways), newTold(gateways), key(policy.Limits{Requests: most})
		now := start
		var admitted []policy.Time
		within := func(span policy.Time) (n uint32) {
			for _, at := range admitted {
				if at > now-span {
					n++
				}
			}
			return n
		}
		untold, mostUntold := uint32(0), uint32(0)
		for range rapid.IntRange(1, 150).Draw(t, "requests") {
			now += policy.Time(rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 5_000), rapid.IntRange(59_000, 130_000)).Draw(t, "pause"))
			if rapid.Bool().Draw(t, "turn") {
				f.tell(now, told)
				untold = 0
			}
			c := f[rapid.IntRange(0, gateways-1).Draw(t, "gateway")]
			own := c.UseOf(k.ID, now)
			refusal := c.Admit(new(Ticket), k, nobody(), Command, now)
			if refusal.Limit == policy.NoLimit {
				admitted = append(admitted, now)
				untold++
				mostUntold = max(mostUntold, untold)
				if use := c.UseOf(k.ID, now); use.Requests != own.Requests+1 {
					t.Fatalf("a request counts as %d", use.Requests-own.Requests)
				}
				if n := within(60_000); n > most+mostUntold {
					t.Fatalf("%d requests in 60 s, want %d and the %d of a turn at most", n, most, mostUntold)
				}
				continue
			}
			if n := within(63_000); n < most {
				t.Fatalf("refused although there were only %d of %d requests in 63 s", n, most)
			}
			if refusal.Limit != policy.LimitRequests || refusal.RetryAfter < 1 || refusal.RetryAfter > 60 {
				t.Fatalf("refused with %+v", refusal)
			}
			if !rapid.Bool().Draw(t, "waits") {
				continue
			}
			now += policy.Time(refusal.RetryAfter) * 1000
			if refusal.RetryAfter == 60 {
				now += 2000 // 60 seconds can be two too few
			}
			if r := c.Check(k, nobody(), Command, now); r.Limit != policy.NoLimit {
				t.Fatalf("refused again after %d s: %+v", refusal.RetryAfter, r)
			}
		}
		// All know the same sum.
		f.tell(now, told)
		for _, c := range f[1:] {
			if one, other := f[0].UseOf(k.ID, now).Requests, c.UseOf(k.ID, now).Requests; one > other+int(within(63_000)-within(59_000)) || other > one+int(within(63_000)-within(59_000)) {
				t.Fatalf("one gateway knows of %d requests, and another of %d", one, other)
			}
		}
	})
}

// If all is told, exactly as many run at a time as the limit says; and what is given back at one gateway
// comes free at the others.
func TestR20_GatewaysCountRequestsAtATimeTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const most, gateways = 3, 3
		f, told, k := newFleet(gateways), newTold(gateways), key(policy.Limits{Concurrent: most})
		account := &Subject{"acc_1", policy.Limits{Concurrent: most + 1}}
		var running []*Ticket
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(running) > 0 && rapid.Bool().Draw(t, "ends") {
				running[0].Release()
				running = running[1:]
			} else {
				c, ticket := f[rapid.IntRange(0, gateways-1).Draw(t, "gateway")], new(Ticket)
				refused := c.Admit(ticket, k, account, Request, start).Limit == policy.LimitConcurrent
				if refused != (len(running) == most) {
					t.Fatalf("%d of %d run, and another is refused: %t", len(running), most, refused)
				}
				if !refused {
					running = append(running, ticket)
				}
			}
			f.tell(start, told)
			for _, c := range f {
				for _, id := range []string{k.ID, account.ID} {
					if n := c.UseOf(id, start).Concurrent; n != len(running) {
						t.Fatalf("a gateway knows of %d requests of %s at a time, want %d", n, id, len(running))
					}
				}
			}
		}
	})
}

// The places that an account has given are told when they are given, and not only when they are given back.
func TestR20_GatewaysCountTheRequestsOfAnAccountTogether(t *testing.T) {
	t.Parallel()
	f, told := newFleet(2), newTold(2)
	account := &Subject{"acc_1", policy.Limits{Requests: 1}}
	for _, key := range []*Subject{key(policy.Limits{Requests: 9}), {ID: "key_2"}} {
		f[0].Admit(new(Ticket), key, account, Command, start)
		f.tell(start, told)
		if r := f[1].Check(key, account, Command, start); r.Limit != policy.LimitRequests || !r.ByAccount {
			t.Errorf("the other gateway tells %s %+v", key.ID, r)
		}
	}
}

// A request that is taken back counts at no gateway.
func TestR20_ACancelledRequestIsTakenBackEverywhere(t *testing.T) {
	t.Parallel()
	for kind, atATime := range map[Kind]int{Request: 1, Command: 0} {
		f, told, k := newFleet(2), newTold(2), key(policy.Limits{Requests: 1, Concurrent: 1})
		var ticket Ticket
		if r := f[0].Admit(&ticket, k, nobody(), kind, start); r != (Refusal{}) {
			t.Fatal(r)
		}
		f.tell(start, told)
		if use := f[1].UseOf(k.ID, start); use != (Use{1, atATime}) {
			t.Errorf("kind %d: the other gateway knows of %+v", kind, use)
		}
		if r := f[1].Check(k, nobody(), Command, start+500); r.Limit != policy.LimitRequests || r.RetryAfter < 59 {
			t.Errorf("kind %d: the other gateway refuses with %+v", kind, r)
		}
		ticket.Cancel()
		f.tell(start, told)
		if use := f[1].UseOf(k.ID, start); use != (Use{}) {
			t.Errorf("kind %d: the other gateway knows of %+v after the request was taken back", kind, use)
		}
	}
}

// A place comes free at the other gateways no earlier than where it was given: never two requests of one
// place in 60 seconds.
func TestR20_APlaceComesFreeAtTheOthersNoEarlier(t *testing.T) {
	t.Parallel()
	for _, given := range []policy.Time{start, start + 500, start + 999} {
		f, told, k := newFleet(2), newTold(2), key(policy.Limits{Requests: 1})
		f[0].Admit(new(Ticket), k, nobody(), Command, given)
		f.tell(given, told)
		if r := f[1].Check(k, nobody(), Command, given+60_000-1); r.Limit != policy.LimitRequests {
			t.Errorf("a place that was given %d ms after a second is free within 60 s: %+v", given-start, r)
		}
		if r := f[1].Check(k, nobody(), Command, given+63_000); r != (Refusal{}) {
			t.Errorf("a place that was given %d ms after a second is not free after 63 s: %+v", given-start, r)
		}
	}
}

// Changes are noted once, and only while the counts are shared. What was counted before is noted too.
func TestChangesAreNotedWhileCountsAreShared(t *testing.T) {
	t.Parallel()
	c, k := New(), key(policy.Limits{Requests: 100, Concurrent: 9})
	var ticket Ticket
	c.Admit(&ticket, k, nobody(), Request, start)
	if list := c.Changes(true); len(list) != 1 || list[0].Now != 1 { // asked for all
		t.Errorf("changes %+v", list)
	}
	told := 0
	c.Share(func() { told++ })
	if told != 1 || len(c.Changes(false)) != 1 || len(c.Changes(false)) != 0 {
		t.Errorf("told %d times of what was counted before", told)
	}
	for range 5 {
		c.Admit(new(Ticket), k, nobody(), Command, start)
	}
	list := c.Changes(false)
	if told != 2 || len(list) != 1 || len(list[0].Past) != 1 || list[0].Past[0].N != 5 || list[0].Now != 1 {
		t.Errorf("told %d times of %+v", told, list)
	}
	if list := c.Changes(true); len(list) != 1 || list[0].Now != 1 || len(list[0].Past) != 0 { // said again
		t.Errorf("all changes %+v", list)
	}
	c.Admit(new(Ticket), k, nobody(), Command, start)
	if list := c.Changes(true); len(list) != 1 || list[0].Now != 1 || len(list[0].Past) != 1 { // once, though it has changed
		t.Errorf("all changes %+v", list)
	}
	ticket.Release()
	if list := c.Changes(false); told != 4 || len(list) != 1 || list[0].Now != 0 || len(list[0].Past) != 0 {
		t.Errorf("told %d times of the end, %+v", told, list)
	}
	c.Share(nil)
	c.Admit(new(Ticket), k, nobody(), Command, start)
	if list := c.Changes(false); told != 4 || len(list) != 0 {
		t.Errorf("told %d times of %+v after the end of sharing", told, list)
	}
}

// Requests, and reports of the others, come in any order with the loop that takes the changes.
func TestChangesAreTakenInARace(t *testing.T) {
	t.Parallel()
	const clients, rounds = 8, 500
	c, k := New(), key(policy.Limits{Requests: 1_000_000, Concurrent: 1_000})
	c.Share(func() {})
	var done sync.WaitGroup
	stop := make(chan struct{})
	sum, last := 0, 0
	take := func() {
		for _, change := range c.Changes(false) {
			last = change.Now
			for _, p := range change.Past {
				sum += p.N
			}
		}
		c.Add(start, share.Change{ID: k.ID, Now: 1, Past: []share.Past{{At: start, N: 1}}})
		c.Add(start, share.Change{ID: k.ID, Now: -1, Past: []share.Past{{At: start, N: -1}}})
	}
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				take()
			}
		}
	}()
	for range clients {
		done.Go(func() {
			for range rounds {
				var ticket Ticket
				c.Admit(&ticket, k, nobody(), Request, start)
				ticket.Release()
			}
		})
	}
	done.Wait()
	close(stop)
	<-taken
	take()
	if sum != clients*rounds || last != 0 {
		t.Errorf("%d requests were told, and %d at a time at last; want %d and 0", sum, last, clients*rounds)
	}
	if use := c.UseOf(k.ID, start); use != (Use{Requests: clients * rounds}) {
		t.Errorf("%+v", use)
	}
}

// The table forgets no key that is in use at another gateway.
func TestTheTableKeepsWhatOthersUse(t *testing.T) {
	t.Parallel()
	c, k := New(), key(policy.Limits{Concurrent: 1})
	c.Add(start, share.Change{ID: k.ID, Now: 1})
	for i := range 1000 {
		at := start + policy.Time(i)*1000
		c.Admit(new(Ticket), &Subject{string(rune('a'+i%26)) + time.Duration(i).String(), policy.Limits{Requests: 5}}, nobody(), Command, at)
	}
	if r := c.Check(k, nobody(), Request, start+1_000_000); r.Limit != policy.LimitConcurrent {
		t.Errorf("the place that another gateway has given was lost: %+v", r)
	}
}

// The others learn of the end of a request although the table has forgotten its key since.
func TestTheEndOfARequestOfAForgottenKeyIsTold(t *testing.T) {
	t.Parallel()
	f, told, k := newFleet(2), newTold(2), key(policy.Limits{Concurrent: 1})
	var ticket Ticket
	f[0].Admit(&ticket, k, nobody(), Request, start)
	f.tell(start, told)
	ticket.Release()
	later := start + 100_000
	for i := range 1000 {
		f[0].Admit(new(Ticket), &Subject{"key_" + time.Duration(i).String(), policy.Limits{Requests: 5}}, nobody(), Command, later)
	}
	if f[0].subjects.find(k.ID) != nil {
		t.Fatal("the table has not forgotten the key")
	}
	f.tell(later, told)
	if r := f[1].Check(k, nobody(), Request, later); r != (Refusal{}) {
		t.Errorf("the place is not free at the other gateway: %+v", r)
	}
}

// A key that was looked at and has had no request, such as one whose limits were shown, has nothing to
// tell the others.
func TestAKeyWithoutRequestsHasNothingToTell(t *testing.T) {
	t.Parallel()
	c := New()
	key := &Subject{ID: "key_1", Limits: policy.Limits{Concurrent: 1}}
	_ = c.Check(key, &Subject{ID: "acc_1"}, Request, 1_900_000_000_000)
	c.Share(func() {})
	for _, change := range c.Changes(true) {
		if change.Now != 0 || len(change.Past) != 0 {
			t.Errorf("%+v", change)
		}
	}
	if list := c.Changes(true); len(list) != 0 {
		t.Errorf("%+v is said again", list)
	}
	c.Add(1_900_000_000_000, share.Change{ID: "key_1", Past: []share.Past{{At: -70_000, N: 1}, {At: 10_000, N: 1}}})
	if use := c.UseOf("key_1", 1_900_000_000_000); use.Requests != 0 {
		t.Errorf("requests of long ago count: %+v", use)
	}
}
