package credential

import (
	"net/http"

	"github.com/speechgate/speechgate/policy"
)

// Budget bounds the memory that requests hold of which nobody knows yet whether they
// have a valid key. The caller implements it.
type Budget interface {
	// Begin makes a reservation of zero bytes for the request that w answers.
	Begin(w http.ResponseWriter) Reservation
}

// Reservation is what one request holds of a [Budget], in bytes.
type Reservation interface {
	// Reserve takes n bytes more, or reports false and takes none.
	Reserve(n int) bool
	// Release gives n bytes back.
	Release(n int)
	// Lost says why the budget has ended the reservation, and with it the reading of
	// the request. It is empty while the reservation stands.
	Lost() string
}

// limited is the fault of a form for whose head there is no memory.
func limited(detail string) *Fault {
	return &Fault{Reason: policy.LimitReached, Detail: detail}
}

// errNoMemory is met when the budget has no room for a form's head.
var errNoMemory = limited("the forms of other requests hold all of max_heads")

// hold is what a headReader has reserved for the memory that it has besides its chunk,
// which costs no more than the connection does.
type hold struct {
	budget Budget // nil where nothing is counted
	w      http.ResponseWriter
	taken  Reservation
	size   int
}

// streamCost is about what a request costs that waits for its body over HTTP/2 or 3: its
// goroutine, its header and what Caddy keeps of it. Over HTTP/1 a connection has one
// request at a time, and costs as much by itself.
const streamCost = 32 << 10

// admit reserves what the request costs besides its head.
func (h *hold) admit(r *http.Request) error {
	if h.budget == nil || r.ProtoMajor < 2 {
		return nil
	}
	return h.grow(streamCost)
}

// grow reserves n bytes more.
func (h *hold) grow(n int) error {
	if h.budget == nil {
		return nil
	}
	if h.taken == nil {
		h.taken = h.budget.Begin(h.w)
	}
	if !h.taken.Reserve(n) {
		if err := h.lost(); err != nil {
			return err
		}
		return errNoMemory
	}
	h.size += n
	return nil
}

// lost is the fault of a reservation that the budget has ended; nil while it stands.
func (h *hold) lost() error {
	if h.taken == nil {
		return nil
	}
	if why := h.taken.Lost(); why != "" {
		return limited(why)
	}
	return nil
}

// release gives back what is reserved.
func (h *hold) release() {
	if h.size > 0 {
		h.taken.Release(h.size)
		h.size = 0
	}
}

// ReleaseBudget gives back what ReadForm has reserved. The head of the form stays in
// memory until it has gone upstream. ReleaseBudget must be called however the request ends. It
// reports whether the budget had ended the reservation before.
func (f *Found) ReleaseBudget() (lost bool) {
	if f.form == nil {
		return false
	}
	h := &f.form.head.hold
	h.release()
	return h.lost() != nil
}

// DiscardForm forgets the head of the form, of a request that is refused. r's body then gives
// what comes behind the head.
func (f *Found) DiscardForm(r *http.Request) {
	if f.form == nil {
		return
	}
	f.form.copies = nil
	f.form.body.drop()
	r.Body = f.form.body.ReadCloser
}
