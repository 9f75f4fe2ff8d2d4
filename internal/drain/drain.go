// Package drain reads a refused upload on, and drops what it reads.
//
// Many clients do not look for an answer before they have sent everything. If the server
// closes the connection while such a client still sends, the client gets a reset in place
// of the answer. nginx calls this reading a lingering close.
package drain

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// A drain ends when no byte has come for this time.
const (
	Idle       = 30 * time.Second
	IdleExpect = 2 * time.Second // of a client that promised to wait (Expect: 100-continue)

	checkEvery = 100 * time.Millisecond
)

// The limits that a configuration can set: the bytes of one drain, and the number of
// drains.
const (
	DefaultMaxSize   = 1 << 30
	LeastMaxSize     = 1 << 20
	MostMaxSize      = 1 << 40
	DefaultMaxNumber = 1024
)

// Limits bound the drains.
type Limits struct {
	MaxSize   int64 // bytes of one refused upload
	MaxNumber int   // drains at a time, in the process
}

// Limited are the drains of a process, with the limits of one configuration.
type Limited struct {
	Set    *Set
	Limits Limits
}

// Read reads body to its end and drops it, for as long as bytes keep coming and the
// limits allow it. Idle is the longest time without a byte. Read returns how the drain
// ended and how many bytes it has read. If it returns before the end of the body, no
// more can be read from the body.
func (d Limited) Read(body io.Reader, rc *http.ResponseController, idle time.Duration) (end End, size int64) {
	return d.Set.read(body, rc, idle, d.Limits)
}

// End is how a drain ended. The metric has it as a label.
type End string

// The ends of a drain.
const (
	Whole    End = "whole"     // the client has sent everything
	Gone     End = "gone"      // the client has closed the connection or reset the stream
	TooIdle  End = "idle"      // no byte came for too long
	TooLarge End = "too_large" // more than max_drain_size bytes came
	Crowded  End = "crowded"   // max_drains others came after, and this one was idle the longest
	AtExit   End = "exit"      // the process exits
)

// Set knows the running drains of a process, and ends those that must not go on.
// A drain outlives the configuration whose gate refused the request, and holds no
// keystore.
type Set struct {
	Ended   *prometheus.CounterVec // the drains that have ended, by how
	started time.Time
	exiting func() bool

	mu      sync.Mutex
	running map[*drain]struct{}
	watched bool // whether a goroutine looks after them
}

// drain is one refused upload that is read on.
type drain struct {
	rc       *http.ResponseController
	idle     time.Duration // the longest time without a byte
	lastByte atomic.Int64  // when it came, in nanoseconds since the set was started
	cut      End           // why the set has ended it; guarded by the set
}

// NewSet returns a set without drains.
func NewSet() *Set {
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "speechgate",
		Name:      "drained_uploads_total",
		Help:      "Refused uploads that were read on, by how that ended: whole, gone, idle, too_large, crowded or exit.",
	}, []string{"end"})
	return &Set{Ended: ended, started: time.Now(), exiting: caddy.Exiting, running: make(map[*drain]struct{})}
}

// read reads body to its end and drops it, for as long as bytes keep coming and the
// limits allow it. When it returns before the end, no more can be read from the body.
func (s *Set) read(body io.Reader, rc *http.ResponseController, idle time.Duration, limits Limits) (end End, size int64) {
	d := &drain{rc: rc, idle: idle}
	s.begin(d, limits.MaxNumber)
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	var err error
	for err == nil && size <= limits.MaxSize {
		var n int
		n, err = body.Read(buf[:])
		size += int64(n)
		d.lastByte.Store(int64(time.Since(s.started)))
	}
	switch end = s.end(d); {
	case errors.Is(err, io.EOF):
		end = Whole
	case end != "": // the error is of the deadline that ended it
	case err == nil:
		end = TooLarge
	case errors.Is(err, os.ErrDeadlineExceeded): // set by Caddy, or by the budget that ended the reading of the form
		end = TooIdle
	default:
		end = Gone
	}
	if end != Whole {
		// Or net/http would read on by itself, without our limits.
		_ = rc.SetReadDeadline(time.Now())
	}
	s.Ended.WithLabelValues(string(end)).Inc()
	return end, size
}

const bufferSize = 8 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// begin takes a drain in. Where there are most already, the one that has been idle the
// longest makes room.
func (s *Set) begin(d *drain, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.lastByte.Store(int64(time.Since(s.started)))
	var idlest *drain
	live := 0
	for other := range s.running {
		if other.cut != "" {
			continue
		}
		live++
		if idlest == nil || other.lastByte.Load() < idlest.lastByte.Load() {
			idlest = other
		}
	}
	if live >= most {
		idlest.stop(Crowded)
	}
	s.running[d] = struct{}{}
	if !s.watched {
		s.watched = true
		go s.watch()
	}
}

// end lets go of a drain, and says why the set has ended it, if the set has.
func (s *Set) end(d *drain) End {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, d)
	return d.cut
}

// stop ends a drain's reading. It is called under the set's lock, while the drain's
// handler has not returned.
func (d *drain) stop(why End) {
	d.cut = why
	_ = d.rc.SetReadDeadline(time.Now()) // supported by every server of Caddy's
}

// watch looks after the drains until there are none.
func (s *Set) watch() {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for range tick.C {
		if !s.check() {
			return
		}
	}
}

// check ends the drains that are idle and, when the process exits, all. It reports
// whether any is left.
func (s *Set) check() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	exiting := s.exiting()
	for d := range s.running {
		switch idle := time.Since(s.started) - time.Duration(d.lastByte.Load()); {
		case d.cut != "":
		case exiting:
			d.stop(AtExit)
		case idle > d.idle:
			d.stop(TooIdle)
		}
	}
	s.watched = len(s.running) > 0
	return s.watched
}
