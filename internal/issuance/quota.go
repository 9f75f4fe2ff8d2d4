package issuance

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/speechgate/speechgate/policy"
)

const (
	// burstSeconds limits a burst: an account may get as many keys at once as its rate
	// permits in burstSeconds. With a rate of 2 a second, these are 200 keys.
	burstSeconds = 100

	// longestRetry is the largest Retry-After, in seconds.
	longestRetry = 60

	// countMaxAge is how long a count of an account's live keys is used before the keys are
	// counted again. The count grows with each key that is issued here. It does not fall
	// when a key ends, so an old count can be too high.
	countMaxAge = policy.Time(time.Minute / time.Millisecond)

	// countMaxAgeAtLimit is how long a count that has reached the limit is used.
	countMaxAgeAtLimit = policy.Time(time.Second / time.Millisecond)

	// quotaAccounts is how many accounts a quota remembers.
	quotaAccounts = 16_384
)

// quota limits the keys that one account can get: keys a second, and live keys. Requests
// with the account's service password and requests with the account's keys count together.
//
// A quota remembers a limited number of accounts. To make room for another account, it
// forgets the account whose last request is longest ago. A forgotten account can get the
// keys of burstSeconds at once again.
//
// It is safe for concurrent use.
type quota struct {
	maxLive int // keys; 0 for no limit
	maxRate int // keys a second; 0 for no limit
	limit   int // accounts

	mu       sync.Mutex
	accounts map[string]*list.Element
	order    *list.List // of *usage; the account whose last request is longest ago is in front
}

// usage counts the keys that one account has got.
type usage struct {
	account string

	mu      sync.Mutex
	due     int64       // the theoretical arrival time (TAT) of GCRA, in microseconds since 1970: each key moves it on by the time that the rate has for one key
	live    int         // an upper bound for the number of live keys
	counted policy.Time // when live was read from the keystore
	known   bool        // whether live has been read from the keystore
}

func newQuota(maxLive, maxRate, limit int) *quota {
	return &quota{maxLive: maxLive, maxRate: maxRate, limit: limit, accounts: make(map[string]*list.Element), order: list.New()}
}

// excess says which limit the next key would exceed. The zero value says that the key is
// within both limits.
type excess struct {
	retryAfter int // the seconds to wait, from 1 to 60
	live       int // the number of live keys, if it has reached the limit; 0 if the rate is too high
}

// take counts one key for the account, if the key is within the limits. Otherwise it counts
// nothing and returns the excess. An error comes from the store.
func (q *quota) take(ctx context.Context, now policy.Time, store Store, account string) (excess, error) {
	u := q.usage(account)
	u.mu.Lock()
	defer u.mu.Unlock()
	wait, due := q.schedule(u, now)
	if wait > 0 {
		return excess{retryAfter: wait}, nil
	}
	if q.maxLive > 0 {
		if err := q.refreshLive(ctx, now, store, u); err != nil {
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

// schedule returns how many seconds the account has to wait until the rate permits the next
// key. If it does not have to wait, schedule returns the value of usage.due after that key.
func (q *quota) schedule(u *usage, now policy.Time) (wait int, due int64) {
	if q.maxRate <= 0 {
		return 0, 0
	}
	const second = int64(time.Second / time.Microsecond)
	at, each := int64(now)*1000, second/int64(q.maxRate)
	due = max(u.due, at) + max(each, 1)
	over := due - at - burstSeconds*second
	if over <= 0 {
		return 0, due
	}
	return int(min((over+second-1)/second, longestRetry)), 0
}

// refreshLive counts the live keys in the store again, if the last count is too old.
func (q *quota) refreshLive(ctx context.Context, now policy.Time, store Store, u *usage) error {
	age := now - u.counted
	if u.known && age < countMaxAge && (u.live < q.maxLive || age < countMaxAgeAtLimit) {
		return nil
	}
	live, err := store.LiveKeys(ctx, u.account, now, q.maxLive)
	if err != nil {
		return err
	}
	u.live, u.counted, u.known = live, now, true
	return nil
}

// usage returns the usage of the account, and adds it if the account is not known. The
// account then has the latest request.
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
	u, _ := e.Value.(*usage) // the list has no other values
	return u
}
