package console

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

const (
	// busiestKeys is how many keys the page usage shows.
	busiestKeys = 20
	// busiestWait is how long a page waits for the busiest keys.
	busiestWait = 15 * time.Millisecond
	// busiestLasts is how many times as long as it took to add them up the busiest keys are shown. So
	// adding up takes at most one percent of the time.
	busiestLasts = 100
	// busiestKept is how many lists are kept.
	busiestKept = 64
	// busiestTime is how long adding up may take.
	busiestTime = time.Minute
)

// busiest knows the keys with the most requests. With many keys in use it takes seconds to add up
// the requests of all of them, so no page waits for that.
type busiest struct {
	wait time.Duration // busiestWait, unless a test has set it
	slot chan struct{} // one list is added up at a time

	mu    sync.Mutex
	lists map[busiestOf]*busiestList
}

// busiestOf names a list: its reader, the account that the reader has asked for, and the days.
type busiestOf struct {
	actor, account string
	days           int
}

// busiestList is a list. The mutex of busiest protects it.
type busiestList struct {
	known bool // the list was added up at least once
	keys  []manage.Usage
	at    policy.Time   // when adding up began
	until policy.Time   // until when the list is shown without adding up again
	ended chan struct{} // closed when adding up has ended; nil if nothing is added up
}

func newBusiest() *busiest {
	return &busiest{wait: busiestWait, slot: make(chan struct{}, 1), lists: make(map[busiestOf]*busiestList)}
}

// ofVisit returns the busiest keys for the query of a page, and when they were added up. It returns
// false if they are not known yet: then they are being added up.
func (b *busiest) ofVisit(v *visit, q manage.UsageQuery, days int) (keys []manage.Usage, at policy.Time, known bool) {
	of := busiestOf{v.manager.Actor.Kind + " " + v.manager.Actor.ID, q.AccountID, days}
	b.mu.Lock()
	l := b.list(of)
	if l.ended == nil && (!l.known || v.now >= l.until) {
		l.ended = make(chan struct{})
		m := *v.manager
		go b.add(v.r.WithContext(context.WithoutCancel(v.r.Context())), v.Console, m, q, l)
	}
	ended := l.ended
	b.mu.Unlock()
	if ended != nil {
		waited := time.NewTimer(b.wait)
		defer waited.Stop()
		select {
		case <-ended:
		case <-waited.C:
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return l.keys, l.at, l.known
}

// list returns the list of some requests, which is empty if it was not asked for before. The caller has
// locked the mutex.
func (b *busiest) list(of busiestOf) *busiestList {
	if l, ok := b.lists[of]; ok {
		return l
	}
	for other, l := range b.lists { // any one, as a map has no order
		if len(b.lists) < busiestKept {
			break
		}
		if l.ended == nil {
			delete(b.lists, other)
		}
	}
	l := new(busiestList)
	if len(b.lists) < busiestKept {
		b.lists[of] = l
	}
	return l
}

// add adds a list up, for the page of a request. The store stays open meanwhile.
func (b *busiest) add(r *http.Request, c *Console, m manage.Manager, q manage.UsageQuery, l *busiestList) {
	b.slot <- struct{}{}
	defer func() { <-b.slot }()
	ctx, cancel := context.WithTimeout(r.Context(), busiestTime)
	defer cancel()
	begun := time.Now()
	keys, err := sumOfKeys(ctx, c, m, q)
	took := time.Since(begun)
	if err != nil {
		c.settings.Failed(r, fmt.Errorf("adding up the busiest keys: %w", err))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil { // otherwise the next page tries again, and shows the list from before
		l.keys, l.at, l.known = keys, m.Now, true
		l.until = m.Now.Add(busiestLasts * took)
	}
	close(l.ended)
	l.ended = nil
}

func sumOfKeys(ctx context.Context, c *Console, m manage.Manager, q manage.UsageQuery) (keys []manage.Usage, err error) {
	store, release, err := c.settings.Gateway.Open()
	if err != nil {
		return nil, err
	}
	defer release()
	m.Store = store
	q.By, q.Limit = "key", busiestKeys
	err = m.Usage(ctx, q, func(sum *manage.Usage) error {
		keys = append(keys, *sum)
		return nil
	})
	return keys, err
}
