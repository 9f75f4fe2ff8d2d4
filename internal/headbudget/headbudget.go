// Package headbudget bounds the memory that requests hold before they have shown a valid
// key: the heads of forms, and the first start commands of streams.
//
// The bound is for the whole process. If all of it is held, the oldest reservation is ended
// to make room for a new request. So clients that are slow on purpose cannot lock out
// others: to keep their reservations, they would have to send as fast as all other clients
// together.
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
	minTime        = time.Second      // the minimum age of a reservation that is ended to make room
	maxTime        = 30 * time.Second // a reservation is ended after maxTime, …
	bytesPerSecond = 8 << 10          // … and one more second for each bytesPerSecond
	readTime       = time.Second      // for a read that is waiting for the client when its reservation ends
	expireEvery    = 250 * time.Millisecond
)

// The details in the log for a request whose reservation the budget has ended.
const (
	detailOldest = "all of max_heads is held, and the head of this form, or this start command, was the oldest: it made room for another"
	detailSlow   = "the head of the form, or the start command, came too slowly: it has 30 seconds, and one more for each 8 KiB"
)

// Budget bounds the reserved bytes of a Memory, as one configuration sets the bound.
type Budget struct {
	Memory *Memory
	Max    int64 // bytes
}

// Begin implements [credential.Budget]. If the budget ends the reservation, the reader of
// the form notices it after its next read. A client that sends nothing more would block
// this read, so Begin lets a read deadline be set. The deadline is one second later,
// because nothing can be read after it has passed, and the rest of an upload must be read
// so that its client gets the refusal.
func (b *Budget) Begin(w http.ResponseWriter) credential.Reservation {
	rc := http.NewResponseController(w)
	return b.NewReservation(time.Now(), func() {
		_ = rc.SetReadDeadline(time.Now().Add(readTime)) // all servers of Caddy support deadlines
	})
}

// NewReservation returns a reservation of zero bytes that began at begun. If the budget
// ends the reservation, it calls onEnd once, with its lock held. onEnd must make the holder
// stop reading. It must not wait for the holder, and must not call a method of the
// reservation.
func (b *Budget) NewReservation(begun time.Time, onEnd func()) *Reservation {
	return &Reservation{budget: b, onEnd: onEnd, begun: begun}
}

// Memory has the reservations of all configurations in this process.
type Memory struct {
	mu       sync.Mutex
	held     int64     // bytes
	holders  list.List // of *Reservation with at least one byte, the oldest first
	expiring bool      // a goroutine runs expireUntilEmpty
}

// NewMemory returns a memory without reservations.
func NewMemory() *Memory { return new(Memory) }

// Held returns how many bytes are reserved, and by how many requests.
func (m *Memory) Held() (bytes int64, requests int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held, m.holders.Len()
}

// Reservation is the memory that one request holds. Memory.mu guards the fields that change.
type Reservation struct {
	budget *Budget
	onEnd  func()
	begun  time.Time

	held    int64         // bytes
	element *list.Element // in Memory.holders; nil while nothing is held
	ended   string        // why the budget has ended the reservation; "" if it has not
}

// Reserve implements [credential.Reservation].
func (r *Reservation) Reserve(n int) bool {
	m := r.budget.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for r.ended == "" && m.held+int64(n) > r.budget.Max {
		oldest := m.oldestExcept(r)
		if oldest == nil || now.Sub(oldest.begun) < minTime {
			return false
		}
		m.end(oldest, detailOldest)
	}
	if r.ended != "" {
		return false
	}
	r.held += int64(n)
	m.held += int64(n)
	if r.element == nil {
		r.element = m.holders.PushBack(r)
	}
	if !m.expiring {
		m.expiring = true
		go m.expireUntilEmpty()
	}
	return true
}

// Release implements [credential.Reservation].
func (r *Reservation) Release(n int) {
	m := r.budget.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.release(r, int64(n))
}

// Lost implements [credential.Reservation].
func (r *Reservation) Lost() string {
	m := r.budget.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	return r.ended
}

// oldestExcept returns the oldest holder that is not r, or nil if there is no other holder.
// It looks only at the first two in the list, because clients can have tens of thousands of
// reservations.
func (m *Memory) oldestExcept(r *Reservation) *Reservation {
	e := m.holders.Front()
	if e != nil && e == r.element {
		e = e.Next()
	}
	if e == nil {
		return nil
	}
	return holderOf(e)
}

func holderOf(e *list.Element) *Reservation {
	r, _ := e.Value.(*Reservation) // the list has no other values
	return r
}

// release gives back n bytes of r, or all bytes of r if they are fewer.
func (m *Memory) release(r *Reservation, n int64) {
	n = min(n, r.held)
	r.held -= n
	m.held -= n
	if r.held == 0 && r.element != nil {
		m.holders.Remove(r.element)
		r.element = nil
	}
}

// end ends a reservation, and counts its bytes as free. The holder frees the memory a
// little later, when its read returns.
func (m *Memory) end(r *Reservation, why string) {
	r.ended = why
	m.release(r, r.held)
	r.onEnd()
}

// expireUntilEmpty calls Expire until there are no reservations.
func (m *Memory) expireUntilEmpty() {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for now := range tick.C {
		if !m.Expire(now) {
			return
		}
	}
}

// Expire ends the reservations that are too old at now, and reports whether any are left.
// expireUntilEmpty calls it four times a second while there are reservations.
func (m *Memory) Expire(now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.holders.Front(); e != nil; {
		r := holderOf(e)
		e = e.Next()
		if now.Sub(r.begun) > maxTime+time.Duration(r.held/bytesPerSecond)*time.Second {
			m.end(r, detailSlow)
		}
	}
	m.expiring = m.holders.Len() > 0
	return m.expiring
}

// Interface guards
var (
	_ credential.Budget      = (*Budget)(nil)
	_ credential.Reservation = (*Reservation)(nil)
)
