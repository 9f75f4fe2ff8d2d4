package limits

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

const start = policy.Time(1_764_000_000_000)

func key(limits policy.Limits) *Subject { return &Subject{"key_1", limits} }

func nobody() *Subject { return &Subject{} }

func TestR20_RequestsAtATimeAreExactInARace(t *testing.T) {
	t.Parallel()
	const clients, most, rounds = 64, 7, 2_000
	c, k := New(), key(policy.Limits{Concurrent: most})
	account := &Subject{"acc_1", policy.Limits{Concurrent: most - 2}}
	for name, shared := range map[string]*Subject{"a key": nobody(), "an account": account} {
		limit := int64(most)
		if shared == account {
			limit = most - 2
		}
		var running, highest, admitted, unfair atomic.Int64
		var clientsDone sync.WaitGroup
		for range clients {
			clientsDone.Go(func() {
				for range rounds {
					var ticket Ticket
					refusal := c.Admit(&ticket, k, shared, Request, start)
					if refusal.Limit != policy.NoLimit {
						if refusal.Limit != policy.LimitConcurrent || refusal.ByAccount != (shared == account) {
							unfair.Add(1)
						}
						continue
					}
					admitted.Add(1)
					now := running.Add(1)
					for {
						before := highest.Load()
						if now <= before || highest.CompareAndSwap(before, now) {
							break
						}
					}
					running.Add(-1)
					ticket.Release()
				}
			})
		}
		clientsDone.Wait()
		if highest.Load() > limit {
			t.Errorf("%s: %d requests at a time, want %d at most", name, highest.Load(), limit)
		}
		if unfair.Load() > 0 || admitted.Load() == 0 {
			t.Errorf("%s: %d refusals by another limit, %d requests admitted", name, unfair.Load(), admitted.Load())
		}
		for _, id := range []string{"key_1", "acc_1"} {
			if use := c.UseOf(id, start); use.Concurrent != 0 {
				t.Errorf("%s: %d places of %s are never given back", name, use.Concurrent, id)
			}
		}
	}
}

// All clients hold their places until all have asked, so exactly as many are admitted as there
// are places.
func TestR20_EveryPlaceIsGivenOutInARace(t *testing.T) {
	t.Parallel()
	const clients, most = 64, 9
	c, k := New(), key(policy.Limits{Concurrent: most})
	var admitted atomic.Int64
	var asked, done sync.WaitGroup
	asked.Add(clients)
	for range clients {
		done.Go(func() {
			var ticket Ticket
			if c.Admit(&ticket, k, nobody(), Request, start).Limit == policy.NoLimit {
				admitted.Add(1)
			}
			asked.Done()
			asked.Wait()
			ticket.Release()
			ticket.Release() // does nothing
		})
	}
	done.Wait()
	if admitted.Load() != most {
		t.Errorf("%d clients of %d were admitted, want %d", admitted.Load(), clients, most)
	}
	for range most {
		if r := c.Admit(new(Ticket), k, nobody(), Request, start); r != (Refusal{}) {
			t.Fatalf("a place was not given back: %+v", r)
		}
	}
	if r := c.Admit(new(Ticket), k, nobody(), Request, start); r != (Refusal{Limit: policy.LimitConcurrent}) {
		t.Errorf("one more: %+v", r)
	}
	if r := c.Admit(new(Ticket), k, nobody(), Command, start); r != (Refusal{}) {
		t.Errorf("a command of a stream is no request at a time: %+v", r)
	}
}

// The bound that the package states: never more than the limit in any 60 seconds, and a place
// comes free within 61.
func TestR20_RequestsAMinuteHoldTheStatedBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Uint32Range(1, 20).Draw(t, "limit")
		c, k := New(), key(policy.Limits{Requests: most})
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
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now += policy.Time(rapid.OneOf(rapid.IntRange(0, 400), rapid.IntRange(0, 30_000), rapid.IntRange(59_000, 130_000)).Draw(t, "pause"))
			refusal := c.Admit(new(Ticket), k, nobody(), Command, now)
			if refusal.Limit == policy.NoLimit {
				admitted = append(admitted, now)
				if n := within(60_000); n > most {
					t.Fatalf("%d requests in 60 s, want %d at most", n, most)
				}
				continue
			}
			if n := within(61_000); n < most {
				t.Fatalf("refused although there were only %d of %d requests in 61 s", n, most)
			}
			if refusal.Limit != policy.LimitRequests || refusal.RetryAfter < 1 || refusal.RetryAfter > 60 {
				t.Fatalf("refused with %+v", refusal)
			}
			// A client that waits as it is told is admitted. 60 seconds can be one too few.
			at := now + policy.Time(refusal.RetryAfter)*1000
			if refusal.RetryAfter == 60 {
				at += 1000
			}
			if r := c.Admit(new(Ticket), k, nobody(), Command, at); r.Limit != policy.NoLimit {
				t.Fatalf("refused again after %d s: %+v", refusal.RetryAfter, r)
			}
			now = at
			admitted = append(admitted, now)
		}
	})
}

func TestR20_ARefusedRequestCountsNothing(t *testing.T) {
	t.Parallel()
	c := New()
	k := key(policy.Limits{Requests: 10, Concurrent: 10})
	account := &Subject{"acc_1", policy.Limits{Requests: 1}}
	var first Ticket
	if r := c.Admit(&first, k, account, Request, start); r != (Refusal{}) {
		t.Fatal(r)
	}
	for range 20 {
		var ticket Ticket
		if r := c.Admit(&ticket, k, account, Request, start+500); r.Limit != policy.LimitRequests || !r.ByAccount || ticket != (Ticket{}) {
			t.Fatal(r, ticket)
		}
	}
	if use := c.UseOf("key_1", start+600); use != (Use{Requests: 1, Concurrent: 1}) {
		t.Errorf("the key uses %+v", use)
	}
	first.Cancel()
	first.Cancel()
	for _, id := range []string{"key_1", "acc_1", "key_2"} {
		if use := c.UseOf(id, start+600); use != (Use{}) {
			t.Errorf("%s uses %+v after the request was taken back", id, use)
		}
	}
}

// Check says what Admit does, and changes nothing.
func TestCheck_IsAdmitWithoutCounting(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := New()
		limit := func(name string) uint32 { return rapid.Uint32Range(0, 4).Draw(t, name) }
		k := key(policy.Limits{Requests: limit("requests"), Concurrent: limit("concurrent")})
		account := &Subject{"acc_1", policy.Limits{Requests: limit("requests of all"), Concurrent: limit("concurrent of all")}}
		var tickets []Ticket
		now := start
		for range rapid.IntRange(1, 30).Draw(t, "requests") {
			now += policy.Time(rapid.IntRange(0, 30_000).Draw(t, "pause"))
			if len(tickets) > 0 && rapid.Bool().Draw(t, "ends") {
				tickets[0].Release()
				tickets = tickets[1:]
			}
			kind := rapid.SampledFrom([]Kind{Request, Command}).Draw(t, "kind")
			before := [2]Use{c.UseOf("key_1", now), c.UseOf("acc_1", now)}
			want := c.Check(k, account, kind, now)
			if after := [2]Use{c.UseOf("key_1", now), c.UseOf("acc_1", now)}; after != before {
				t.Fatalf("a check changes the counts %+v to %+v", before, after)
			}
			var ticket Ticket
			if got := c.Admit(&ticket, k, account, kind, now); got != want {
				t.Fatalf("checked %+v, and admitted %+v", want, got)
			}
			tickets = append(tickets, ticket)
		}
	})
}

// Keys come and go; the counts of those that are in use must not be lost with the others.
func TestTheTableForgetsIdleKeysOnly(t *testing.T) {
	t.Parallel()
	c, busy := New(), key(policy.Limits{Concurrent: 1})
	var held Ticket
	c.Admit(&held, busy, nobody(), Request, start)
	const keys = 10_000
	for i := range keys {
		var ticket Ticket
		at := start + policy.Time(i)*1000 // so that a key is idle 61 keys later
		if r := c.Admit(&ticket, &Subject{fmt.Sprintf("key_other_%d", i), policy.Limits{Requests: 5}}, nobody(), Request, at); r != (Refusal{}) {
			t.Fatal(r)
		}
		ticket.Release()
		if r := c.Admit(&ticket, busy, nobody(), Request, at); r.Limit != policy.LimitConcurrent {
			t.Fatalf("after %d other keys, the place of a key that is in use was lost", i)
		}
	}
	if slots := len(*c.subjects.slots.Load()); slots > 1024 {
		t.Errorf("the table has %d slots for about 61 keys", slots)
	}
	held.Release()
	if r := c.Admit(&held, busy, nobody(), Request, start); r != (Refusal{}) {
		t.Error(r)
	}
}

// Clients of many keys force the table to be rebuilt while others take and give back places.
func TestTheTableIsRebuiltInARace(t *testing.T) {
	t.Parallel()
	const clients, rounds = 16, 3_000
	c := New()
	var over atomic.Int64
	var running [4]atomic.Int64
	var done sync.WaitGroup
	for n := range clients {
		done.Go(func() {
			for i := range rounds {
				var ticket Ticket
				which := (i + n) % len(running)
				at := start + policy.Time(i)*70_000
				if c.Admit(&ticket, &Subject{fmt.Sprintf("key_%d", which), policy.Limits{Concurrent: 2}}, nobody(), Request, at).Limit == policy.NoLimit {
					if running[which].Add(1) > 2 {
						over.Add(1)
					}
					running[which].Add(-1)
				}
				c.Admit(new(Ticket), &Subject{fmt.Sprintf("key_%d_%d", n, i), policy.Limits{Requests: 1}}, nobody(), Command, at)
				ticket.Release()
			}
		})
	}
	done.Wait()
	if over.Load() > 0 {
		t.Errorf("a key was over its limit %d times", over.Load())
	}
}

// Each account that is new to the table can force the table to be rebuilt, which locks every
// subject, while the request holds its key.
func TestAccountsAreAddedWhileKeysAreLocked(t *testing.T) {
	t.Parallel()
	const clients, rounds = 8, 2_000
	c := New()
	var admitted atomic.Int64
	var clientsDone sync.WaitGroup
	for n := range clients {
		clientsDone.Go(func() {
			for i := range rounds {
				var ticket Ticket
				account := &Subject{fmt.Sprintf("acc_%d_%d", n, i), policy.Limits{Concurrent: 1}}
				if c.Admit(&ticket, &Subject{fmt.Sprintf("key_%d", i%5), policy.Limits{Concurrent: clients}}, account, Request, start).Limit == policy.NoLimit {
					admitted.Add(1)
				}
				ticket.Release()
			}
		})
	}
	done := make(chan struct{})
	go func() { clientsDone.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatalf("requests wait for each other for ever, after %d of %d", admitted.Load(), clients*rounds)
	}
	if admitted.Load() != clients*rounds {
		t.Errorf("%d requests were admitted, want %d", admitted.Load(), clients*rounds)
	}
}

func TestAKeyWithoutLimitsIsNotCounted(t *testing.T) {
	t.Parallel()
	c := New()
	var ticket Ticket
	unlimited := key(policy.Limits{Streams: 3, AudioDay: 9, Operations: 1 << policy.Recognize})
	if r := c.Admit(&ticket, unlimited, &Subject{ID: "acc_1"}, Request, start); r != (Refusal{}) || ticket != (Ticket{}) {
		t.Error(r, ticket)
	}
	if c.subjects.used != 0 {
		t.Errorf("%d subjects are counted", c.subjects.used)
	}
}

// BenchmarkAdmit measures what the limits add to a decision.
func BenchmarkAdmit(b *testing.B) {
	for _, keys := range []int{1, 100_000} {
		c := New()
		subjects := make([]Subject, keys)
		for i := range subjects {
			subjects[i] = Subject{fmt.Sprintf("key_%020d", i), policy.Limits{Requests: 1_000_000_000, Concurrent: 4, AudioDay: 1}}
		}
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			none := nobody()
			for i := 0; b.Loop(); i++ {
				var ticket Ticket
				if r := c.Admit(&ticket, &subjects[i%keys], none, Request, start); r.Limit != policy.NoLimit {
					b.Fatal(r)
				}
				ticket.Release()
			}
		})
	}
}
