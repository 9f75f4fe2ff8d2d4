// Package limits counts what keys and accounts with limits use at a server: requests in the
// last minute, and requests at a time. Live streams are counted by their registry, and audio
// by the usage in the keystore: this package only remembers for a second what the keystore says.
//
// A key without limits is not counted here. The counts of a process are lost when it ends.
//
// # Other gateways
//
// If the process shares its counts (package share), a limit counts what all gateways have admitted,
// as far as this one knows: so it can be exceeded by what the others admit within the time that
// package share states. The counts of the others are beside those of this process, and a decision
// adds them up.
//
// # How exact the counts are
//
// What one process admits at a time is exact: a request takes its place and gives it back under
// one lock.
//
// Requests a minute are counted by the second, over the current second and the 60 before it.
// So a key never gets more requests than its limit in any 60 seconds, and a place comes free
// 60 to 61 seconds after its request: a key that always asks for more gets at least 60/61 of
// its limit. A place that another gateway has given comes free up to 2 seconds later.
package limits

import (
	"github.com/speechgate/speechgate/policy"
)

// Counters are the counts of one process. They are safe for concurrent use. They are a
// [share.Source].
type Counters struct {
	subjects table
	changes  changes
}

// New returns counters that have counted nothing.
func New() *Counters {
	c := new(Counters)
	c.subjects.init(&c.changes)
	return c
}

// Subject is a key or an account, with its limits.
type Subject struct {
	ID     string
	Limits policy.Limits
}

// counted reports whether the subject has a limit that is counted here.
func (s *Subject) counted() bool { return s.Limits.Requests != 0 || s.Limits.Concurrent != 0 }

// Kind says how a request counts.
type Kind uint8

// The kinds.
const (
	Request Kind = iota // in the minute, and in those at a time until Release
	Command             // in the minute only: the start command or the handshake of a live stream, or a request whose end is not seen
)

// Refusal says which limit refuses a request. The zero value refuses nothing.
type Refusal struct {
	Limit     policy.LimitName
	ByAccount bool // the limit is the account's, and not the key's
	// RetryAfter is when the request may succeed, in seconds from 1 to 60. It is 0 if the
	// time is not known.
	RetryAfter int
}

// Ticket is the place of a request. The zero value is no place.
type Ticket struct {
	key, account place
}

// place is the place of a request among those of one key or account.
type place struct {
	subject *subject // nil if it does not count the request
	kind    Kind
	second  int64 // in which the request was counted
}

// Admit counts a request of a key at the instant now. If the request would exceed a limit of
// the key or of its account, Admit counts nothing. Otherwise it sets t, and the caller must
// call [Ticket.Release] when the request has ended.
func (c *Counters) Admit(t *Ticket, key, account *Subject, kind Kind, now policy.Time) Refusal {
	mine, shared := c.lock(key, account, now)
	refusal := check(mine, shared, key, account, kind, now)
	if refusal.Limit == policy.NoLimit {
		t.key, t.account = mine.count(kind, now), shared.count(kind, now)
		c.changes.note(mine)
		c.changes.note(shared)
	}
	shared.unlock()
	mine.unlock()
	return refusal
}

// Check returns what Admit would return now, and counts nothing.
func (c *Counters) Check(key, account *Subject, kind Kind, now policy.Time) Refusal {
	mine, shared := c.lock(key, account, now)
	defer mine.unlock()
	defer shared.unlock()
	return check(mine, shared, key, account, kind, now)
}

// check returns the limit that one more request would exceed. The caller has locked the counts.
func check(mine, shared *subject, key, account *Subject, kind Kind, now policy.Time) Refusal {
	refusal := mine.check(&key.Limits, kind, now)
	if refusal.Limit == policy.NoLimit {
		refusal = shared.check(&account.Limits, kind, now)
		refusal.ByAccount = refusal.Limit != policy.NoLimit
	}
	return refusal
}

// lock returns the counts of a key and of its account, locked; nil for one without limits that
// are counted.
//
// Both are looked up before one of them is locked: an addition to the table can wait for the
// lock of every subject. Nobody locks a key after an account, so two callers never wait for
// each other.
func (c *Counters) lock(key, account *Subject, now policy.Time) (mine, shared *subject) {
	for {
		if key.counted() {
			mine = c.subjects.of(key.ID, now)
		}
		if account.counted() {
			shared = c.subjects.of(account.ID, now)
		}
		if mine.lock() {
			if shared.lock() {
				return mine, shared
			}
			mine.unlock()
		}
	}
}

// Release ends the request. Later calls do nothing.
func (t *Ticket) Release() {
	t.key.release()
	t.account.release()
}

// Cancel takes the request back, as if it had not been counted. Later calls do nothing.
func (t *Ticket) Cancel() {
	t.key.cancel()
	t.account.cancel()
}

// Use is what a key or an account uses at one instant, at all gateways.
type Use struct {
	Requests   int // in the last minute
	Concurrent int // at a time
}

// UseOf returns what the key or account with this ID uses at now, as far as it is counted.
func (c *Counters) UseOf(id string, now policy.Time) Use {
	s := c.subjects.find(id)
	if s == nil {
		return Use{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return Use{Requests: int(s.inMinute(secondOf(now))), Concurrent: int(s.atATime())}
}
