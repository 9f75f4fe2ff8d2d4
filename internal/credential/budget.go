package credential

import "net/http"

// Budget limits the memory of forms whose keys have not been checked yet. The caller of
// ReadForm implements it.
type Budget interface {
	// Begin makes a reservation of zero bytes for the request that w answers.
	Begin(w http.ResponseWriter) Reservation
}

// Reservation is the memory that one request has of a [Budget].
type Reservation interface {
	// Reserve takes n more bytes. It reports false, and takes nothing, if there is no room.
	Reserve(n int) bool
	// Release gives n bytes back.
	Release(n int)
	// Lost returns why the budget has ended the reservation, or "" if it has not. The
	// reading of the request ends with the reservation.
	Lost() string
}

// errNoMemory is the fault of a form for which the budget has no room.
var errNoMemory = limited("the forms of other requests hold all of max_heads")

// headMemory is the memory that a headReader has reserved. The first chunk needs no
// reservation, because it takes no more memory than the connection does.
type headMemory struct {
	budget      Budget // nil if nothing is counted
	w           http.ResponseWriter
	reservation Reservation // nil until bytes are reserved
	size        int
}

// streamCost is about the memory of a request that waits for its body over HTTP/2 or
// HTTP/3: its goroutine, its header and what Caddy keeps of it. Over HTTP/1, a
// connection has one request at a time, so the connections limit this memory.
const streamCost = 32 << 10

// reserveForStream reserves streamCost for a request over HTTP/2 or HTTP/3.
func (m *headMemory) reserveForStream(r *http.Request) error {
	if r.ProtoMajor < 2 {
		return nil
	}
	return m.reserve(streamCost)
}

// reserve reserves n more bytes.
func (m *headMemory) reserve(n int) error {
	if m.budget == nil {
		return nil
	}
	if m.reservation == nil {
		m.reservation = m.budget.Begin(m.w)
	}
	if !m.reservation.Reserve(n) {
		if err := m.lost(); err != nil {
			return err
		}
		return errNoMemory
	}
	m.size += n
	return nil
}

// lost returns the fault of a reservation that the budget has ended, or nil.
func (m *headMemory) lost() error {
	if m.reservation == nil {
		return nil
	}
	if why := m.reservation.Lost(); why != "" {
		return limited(why)
	}
	return nil
}

// release gives back what is reserved.
func (m *headMemory) release() {
	if m.size > 0 {
		m.reservation.Release(m.size)
		m.size = 0
	}
}

// ReleaseBudget gives back the memory that ReadForm has reserved. Call it however the
// request ends; later calls give back nothing. The bytes of the head stay in memory until
// they have been sent to the backend. lost is true if the budget took the reservation away
// before.
func (f *Found) ReleaseBudget() (lost bool) {
	if f.form == nil {
		return false
	}
	m := &f.form.head.memory
	m.release()
	return m.lost() != nil
}
