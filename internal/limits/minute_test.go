package limits

import (
	"fmt"
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// A client is told when the first place comes free: 61 seconds after the second in which it was taken.
func TestR20_ARefusedClientIsToldWhenAPlaceComesFree(t *testing.T) {
	t.Parallel()
	c, k := New(), key(policy.Limits{Requests: 2})
	c.Admit(new(Ticket), k, nobody(), Command, start+999)
	c.Admit(new(Ticket), k, nobody(), Command, start+10_000)
	for _, tt := range []struct {
		after policy.Time
		wait  int
	}{{10_000, 51}, {30_000, 31}, {30_001, 31}, {30_999, 31}, {31_000, 30}, {60_000, 1}, {60_999, 1}, {61_000, 0}} {
		if r := c.Check(k, nobody(), Command, start+tt.after); r.RetryAfter != tt.wait || (r.Limit == policy.LimitRequests) != (tt.wait > 0) {
			t.Errorf("after %d ms it is told %+v, want %d s", tt.after, r, tt.wait)
		}
	}
}

// The requests of the last minute are counted for every key that has a limit, so that a limit of requests
// that the key gets later holds at once.
func TestR20_ANewLimitCountsTheRequestsOfTheLastMinute(t *testing.T) {
	t.Parallel()
	c := New()
	for i := range policy.Time(100) {
		var ticket Ticket
		if r := c.Admit(&ticket, key(policy.Limits{Concurrent: 1}), nobody(), Request, start+i*1000); r != (Refusal{}) {
			t.Fatal(r)
		}
		ticket.Release()
	}
	now := start + 100_000
	if use := c.UseOf("key_1", now); use.Requests != 60 {
		t.Errorf("%d requests are counted, want the 60 of the last minute", use.Requests)
	}
	if r := c.Check(key(policy.Limits{Requests: 60}), nobody(), Request, now); r.Limit != policy.LimitRequests {
		t.Errorf("a limit of 60 requests that is new says %+v", r)
	}
	if r := c.Check(key(policy.Limits{Requests: 61}), nobody(), Request, now); r != (Refusal{}) {
		t.Errorf("a limit of 61 requests that is new says %+v", r)
	}
}

// The end of a stream's start command changes nothing: the command counts in the minute only.
func TestR20_ACommandTakesNoPlaceAndGivesNoneBack(t *testing.T) {
	t.Parallel()
	c, k := New(), key(policy.Limits{Requests: 10, Concurrent: 1})
	var command, request Ticket
	for what, ticket := range map[Kind]*Ticket{Command: &command, Request: &request} {
		if r := c.Admit(ticket, k, nobody(), what, start); r != (Refusal{}) {
			t.Fatal(r)
		}
	}
	command.Release()
	if use := c.UseOf("key_1", start); use != (Use{Requests: 2, Concurrent: 1}) {
		t.Errorf("after the end of the command, the key uses %+v", use)
	}
	if r := c.Check(k, nobody(), Request, start); r.Limit != policy.LimitConcurrent {
		t.Errorf("after the end of the command, another request is told %+v", r)
	}
}

// A request that is taken back after more than a minute takes nothing from the requests that came later.
func TestR20_ARequestThatIsTakenBackLateChangesNoMinute(t *testing.T) {
	t.Parallel()
	for _, late := range []policy.Time{59_000, 60_000, 61_000, 62_000, 183_000} {
		c, k := New(), key(policy.Limits{Requests: 10})
		var first Ticket
		c.Admit(&first, k, nobody(), Request, start)
		c.Admit(new(Ticket), k, nobody(), Command, start+late)
		first.Cancel()
		if use := c.UseOf("key_1", start+late); use != (Use{Requests: 1}) {
			t.Errorf("taken back after %d ms: the key uses %+v, want the later request", late, use)
		}
	}
}

// Many other keys do not make the table forget the requests of the last minute.
func TestTheTableKeepsTheRequestsOfTheLastMinute(t *testing.T) {
	t.Parallel()
	c, k := New(), key(policy.Limits{Requests: 1})
	c.Admit(new(Ticket), k, nobody(), Command, start)
	for i := range 1000 {
		c.Admit(new(Ticket), &Subject{fmt.Sprintf("key_other_%d", i), policy.Limits{Requests: 5}}, nobody(), Command, start+policy.Time(i)*60)
	}
	if r := c.Check(k, nobody(), Command, start+60_000); r.Limit != policy.LimitRequests {
		t.Errorf("after 1000 other keys, a key that has used up its minute is told %+v", r)
	}
}
