package caddymodule

import (
	"container/list"
	"net/http"
	"sync"
	"time"

	"github.com/speechgate/speechgate/internal/credential"
)

// What requests hold in memory before they have shown a valid key is bounded for the
// process. A request that comes when everything is held takes the place of the oldest one,
// so that clients that are slow on purpose cannot lock out the others: to keep their place
// they would have to send as fast as everyone together.

const (
	defaultMaxHeads = 256 << 20
	minMaxHeads     = 1 << 20
	maxMaxHeads     = 64 << 30

	reservationSafe  = time.Second      // the time in which a reservation is not ended for another
	reservationTime  = 30 * time.Second // the time that every reservation has
	reservationSpeed = 8 << 10          // bytes for which a reservation has a second more
	reservationCheck = 250 * time.Millisecond
	reservationLast  = time.Second // for a read that is under way when a reservation ends
)

// The details of requests whose reservation is ended.
const (
	reservationOldest = "all of max_heads is held, and the head of this form, or this start command, was the oldest: it made room for another"
	reservationSlow   = "the head of the form, or the start command, came too slowly: it has 30 seconds, and one more for each 8 KiB"
)

// unjudged is the memory that requests of this process hold before they are judged. It
// outlives the configuration whose gate reads them.
var unjudged = newMemory()

// memory counts what is reserved, and by whom.
type memory struct {
	mu      sync.Mutex
	held    int64
	holders list.List // of *reservation, the oldest in front
	watched bool      // whether a goroutine looks after them
}

func newMemory() *memory { return new(memory) }

// memoryBudget is one configuration's bound on a memory.
type memoryBudget struct {
	memory *memory
	most   int64 // bytes
}

// Begin implements [credential.Budget]. A reader whose reservation is ended sees so at
// its next read. The deadline is for a client that sends nothing any more: a read that
// has met a deadline cannot be followed by another, and an upload must be read on for
// its client to get the refusal.
func (b *memoryBudget) Begin(w http.ResponseWriter) credential.Reservation {
	rc := http.NewResponseController(w)
	return b.reservation(func() {
		_ = rc.SetReadDeadline(time.Now().Add(reservationLast)) // supported by every server of Caddy's
	})
}

// reservation makes one that is ended by cut, which must have the holder stop reading and
// must not wait for it.
func (b *memoryBudget) reservation(cut func()) *reservation {
	return &reservation{budget: b, cut: cut, begun: time.Now()}
}

// reservation is what one request holds of a memory. What is mutable is guarded by the
// memory's lock.
type reservation struct {
	budget *memoryBudget
	cut    func()
	begun  time.Time

	held  int64
	place *list.Element // among the holders; nil while nothing is held
	lost  string        // why the budget has ended it
}

// Reserve implements [credential.Reservation].
func (r *reservation) Reserve(n int) bool {
	m := r.budget.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for r.lost == "" && m.held+int64(n) > r.budget.most {
		oldest := m.oldest(r)
		if oldest == nil || now.Sub(oldest.begun) < reservationSafe {
			return false
		}
		m.end(oldest, reservationOldest)
	}
	if r.lost != "" {
		return false
	}
	r.held += int64(n)
	m.held += int64(n)
	if r.place == nil {
		r.place = m.holders.PushBack(r)
	}
	if !m.watched {
		m.watched = true
		go m.watch()
	}
	return true
}

// Release implements [credential.Reservation].
func (r *reservation) Release(n int) {
	m := r.budget.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.take(r, int64(n))
}

// Lost implements [credential.Reservation].
func (r *reservation) Lost() string {
	m := r.budget.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.lost
}

// oldest is the holder that began first, other than r; nil if there is none. It looks at
// no others: clients can have tens of thousands of reservations.
func (m *memory) oldest(r *reservation) *reservation {
	e := m.holders.Front()
	if e != nil && e == r.place {
		e = e.Next()
	}
	if e == nil {
		return nil
	}
	return holderOf(e)
}

func holderOf(e *list.Element) *reservation {
	r, _ := e.Value.(*reservation) // nothing else is in the list
	return r
}

// take gives back n bytes of r, or as many as r still has.
func (m *memory) take(r *reservation, n int64) {
	n = min(n, r.held)
	r.held -= n
	m.held -= n
	if r.held == 0 && r.place != nil {
		m.holders.Remove(r.place)
		r.place = nil
	}
}

// end ends a reservation. Its holder drops the memory as soon as its read returns.
func (m *memory) end(r *reservation, why string) {
	r.lost = why
	m.take(r, r.held)
	r.cut()
}

// watch looks after the reservations until there are none.
func (m *memory) watch() {
	tick := time.NewTicker(reservationCheck)
	defer tick.Stop()
	for now := range tick.C {
		if !m.check(now) {
			return
		}
	}
}

// check ends the reservations whose time is over, and reports whether any is left.
func (m *memory) check(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.holders.Front(); e != nil; {
		r := holderOf(e)
		e = e.Next()
		if now.Sub(r.begun) > reservationTime+time.Duration(r.held/reservationSpeed)*time.Second {
			m.end(r, reservationSlow)
		}
	}
	m.watched = m.holders.Len() > 0
	return m.watched
}

// Interface guards
var (
	_ credential.Budget      = (*memoryBudget)(nil)
	_ credential.Reservation = (*reservation)(nil)
)
