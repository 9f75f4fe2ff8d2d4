package issuance

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/speechgate/speechgate/policy"
)

const (
	// burstOf is how many seconds' worth of keys an account may have issued at once.
	burstOf = 100

	// longestRetry bounds Retry-After, in seconds.
	longestRetry = 60

	// countedFor is how long a count of an account's keys is gone by. It grows with
	// each key that is issued here, and is high by those that have ended since.
	countedFor = policy.Time(time.Minute / time.Millisecond)

	// countedAtLimit is the same where the count has reached the limit.
	countedAtLimit = policy.Time(time.Second / time.Millisecond)

	// quotaAccounts is how many accounts the gateway keeps count of.
	quotaAccounts = 16_384
)

// quota bounds what one account can have issued: how many keys a second, and how
// many that have not ended. Keys that an account asks for itself and keys that its
// keys ask for count together.
//
// It keeps count of a limited number of accounts, and forgets the account that was
// silent for longest for the next one to come. That account begins with a whole
// burst again.
//
// It is safe for concurrent use.
type quota struct {
	maxLive int // keys; 0 for no limit
	maxRate int // keys a second; 0 for no limit
	limit   int // accounts

	mu       sync.Mutex
	accounts map[string]*list.Element
	order    *list.List // of *usage, the longest silent in front
}

// usage is what one account has had issued.
type usage struct {
	account string

	mu      sync.Mutex
	due     int64 // microseconds: when all that was issued is paid for by the rate
	live    int   // keys that have not ended, at the most
	counted policy.Time
	known   bool
}

func newQuota(maxLive, maxRate, limit int) *quota {
	return &quota{maxLive: maxLive, maxRate: maxRate, limit: limit, accounts: make(map[string]*list.Element), order: list.New()}
}

// excess says why a key is one too many. The zero value is none.
type excess struct {
	retryAfter int // seconds, from 1 to 60
	live       int // how many keys there are, where they are too many; 0 where the rate is
}

// take takes one key of the account's quota. The error is the store's.
func (q *quota) take(ctx context.Context, now policy.Time, store Keystore, account string) (excess, error) {
	u := q.usage(account)
	u.mu.Lock()
	defer u.mu.Unlock()
	wait, due := q.pay(u, now)
	if wait > 0 {
		return excess{retryAfter: wait}, nil
	}
	if q.maxLive > 0 {
		if err := q.count(ctx, now, store, u); err != nil {
			return excess{}, err
		}
		if u.live >= q.maxLive {
			return excess{retryAfter: longestRetry, live: u.live}, nil
		}
		u.live++
	}
	u.due = due
	return excess{}, nil
}

// pay returns how many seconds the rate has the next key wait, or when it is paid
// for then.
func (q *quota) pay(u *usage, now policy.Time) (wait int, due int64) {
	if q.maxRate <= 0 {
		return 0, 0
	}
	const second = int64(time.Second / time.Microsecond)
	at, each := int64(now)*1000, second/int64(q.maxRate)
	due = max(u.due, at) + max(each, 1)
	over := due - at - burstOf*second
	if over <= 0 {
		return 0, due
	}
	return int(min((over+second-1)/second, longestRetry)), 0
}

// count brings the number of the account's keys up to date, where it is old.
func (q *quota) count(ctx context.Context, now policy.Time, store Keystore, u *usage) error {
	age := now - u.counted
	if u.known && age < countedFor && (u.live < q.maxLive || age < countedAtLimit) {
		return nil
	}
	live, err := store.LiveKeys(ctx, u.account, now, q.maxLive)
	if err != nil {
		return err
	}
	u.live, u.counted, u.known = live, now, true
	return nil
}

// usage is that of the account, which has been heard of now.
func (q *quota) usage(account string) *usage {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.accounts[account]; ok {
		q.order.MoveToBack(e)
		return usageOf(e)
	}
	for len(q.accounts) >= q.limit {
		oldest := q.order.Front()
		delete(q.accounts, usageOf(oldest).account)
		q.order.Remove(oldest)
	}
	u := &usage{account: account}
	q.accounts[account] = q.order.PushBack(u)
	return u
}

func usageOf(e *list.Element) *usage {
	u, _ := e.Value.(*usage) // nothing else is in the list
	return u
}
