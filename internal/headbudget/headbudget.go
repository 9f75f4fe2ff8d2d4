// Package headbudget bounds the memory that requests hold before they have shown a valid
// key: the heads of forms, and the first start commands of streams.
//
// The bound is for the whole process. When all of it is held, a new request takes the
// place of the oldest one. So clients that are slow on purpose cannot lock out others: to
// keep their place, they would have to send as fast as all other clients together.
package headbudget

import (
	"container/list"
	"net/http"
	"sync"
	"time"

	"github.com/speechgate/speechgate/internal/credential"
)

// The limits that a configuration can set, in bytes.
const (
	DefaultLimit = 256 << 20
	MinLimit     = 1 << 20
	MaxLimit     = 64 << 30
)

const (
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

// Memory counts what the requests of a process have reserved, and which requests. It
// outlives the configuration whose gate reads a request.
type Memory struct {
	mu      sync.Mutex
	held    int64
	holders list.List // of *reservation, the oldest in front
	watched bool      // whether a goroutine looks after them
}

// NewMemory returns a memory without reservations.
func NewMemory() *Memory { return new(Memory) }

// Held returns how many bytes are reserved, and by how many requests.
func (m *Memory) Held() (bytes int64, requests int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held, m.holders.Len()
}

// Budget is one configuration's bound on a memory.
type Budget struct {
	Memory *Memory
	Max    int64 // bytes
}

// Begin implements [credential.Budget]. A reader whose reservation is ended sees so at
// its next read. The deadline is for a client that sends nothing any more: a read that
// has met a deadline cannot be followed by another, and an upload must be read on for
// its client to get the refusal.
func (b *Budget) Begin(w http.ResponseWriter) credential.Reservation {
	rc := http.NewResponseController(w)
	return b.NewReservation(time.Now(), func() {
		_ = rc.SetReadDeadline(time.Now().Add(reservationLast)) // supported by every server of Caddy's
	})
}

// NewReservation makes one that is ended by cut, which must have the holder stop reading and
// must not wait for it.
func (b *Budget) NewReservation(begun time.Time, cut func()) *Reservation {
	return &Reservation{budget: b, cut: cut, begun: begun}
}

// Reservation is what one request holds of a memory. What is mutable is guarded by the
// memory's lock.
type Reservation struct {
	budget *Budget
	cut    func()
	begun  time.Time

	held  int64
	place *list.Element // among the holders; nil while nothing is held
	lost  string        // why the budget has ended it
}

// Reserve implements [credential.Reservation].
func (r *Reservation) Reserve(n int) bool {
	m := r.budget.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for r.lost == "" && m.held+int64(n) > r.budget.Max {
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
func (r *Reservation) Release(n int) {
	m := r.budget.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.take(r, int64(n))
}

// Lost implements [credential.Reservation].
func (r *Reservation) Lost() string {
	m := r.budget.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.lost
}

// oldest is the holder that began first, other than r; nil if there is none. It looks at
// no others: clients can have tens of thousands of reservations.
func (m *Memory) oldest(r *Reservation) *Reservation {
	e := m.holders.Front()
	if e != nil && e == r.place {
		e = e.Next()
	}
	if e == nil {
		return nil
	}
	return holderOf(e)
}

func holderOf(e *list.Element) *Reservation {
	r, _ := e.Value.(*Reservation) // nothing else is in the list
	return r
}

// take gives back n bytes of r, or as many as r still has.
func (m *Memory) take(r *Reservation, n int64) {
	n = min(n, r.held)
	r.held -= n
	m.held -= n
	if r.held == 0 && r.place != nil {
		m.holders.Remove(r.place)
		r.place = nil
	}
}

// end ends a reservation. Its holder drops the memory as soon as its read returns.
func (m *Memory) end(r *Reservation, why string) {
	r.lost = why
	m.take(r, r.held)
	r.cut()
}

// watch looks after the reservations until there are none.
func (m *Memory) watch() {
	tick := time.NewTicker(reservationCheck)
	defer tick.Stop()
	for now := range tick.C {
		if !m.Expire(now) {
			return
		}
	}
}

// Expire ends the reservations whose time is over at now, and reports whether any is
// left. The memory calls it by itself while it holds something.
func (m *Memory) Expire(now time.Time) bool {
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
	_ credential.Budget      = (*Budget)(nil)
	_ credential.Reservation = (*Reservation)(nil)
)
