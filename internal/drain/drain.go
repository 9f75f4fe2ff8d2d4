// Package drain reads the rest of a refused upload, and drops it.
//
// Many clients look for an answer only after they have sent everything. If the server
// closes the connection while such a client still sends, the client gets a reset in place
// of the answer. nginx calls such reading a lingering close.
package drain

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The time without a byte after which a drain ends.
const (
	// Idle is the time for most clients.
	Idle = 30 * time.Second
	// IdleExpect is the time for a client that has promised to wait for the answer (Expect:
	// 100-continue).
	IdleExpect = 2 * time.Second
)

// Bounds and defaults of [Limits].
const (
	DefaultMaxSize   = 1 << 30 // bytes
	MinMaxSize       = 1 << 20 // bytes: the smallest MaxSize
	MaxMaxSize       = 1 << 40 // bytes: the largest MaxSize
	DefaultMaxNumber = 1024
)

// Limits are the limits that a configuration sets.
type Limits struct {
	MaxSize   int64 // bytes of one refused upload
	MaxNumber int   // drains at the same time, in the whole process
}

// Drainer drains uploads within the limits of one configuration.
type Drainer struct {
	Set    *Set
	Limits Limits
}

// Drain reads body to its end and drops it, while bytes keep coming and the limits allow
// it. The argument idle is the longest time without a byte. Drain returns how the drain
// ended and how many bytes it read. If the drain ended before the end of the body, nothing
// more can be read from the body.
func (d Drainer) Drain(body io.Reader, rc *http.ResponseController, idle time.Duration) (end End, size int64) {
	return d.Set.drain(body, rc, idle, d.Limits)
}

// End is how a drain ended. It is a label of the metric and a field of the log.
type End string

const (
	whole    End = "whole"     // the client has sent everything
	gone     End = "gone"      // the client has closed the connection or reset the stream
	tooIdle  End = "idle"      // no byte came for too long
	tooLarge End = "too_large" // the client has sent more than max_drain_size bytes
	crowded  End = "crowded"   // a new drain began while max_drains others ran, and this drain was idle the longest
	atExit   End = "exit"      // the process exits
)

// Set has the running drains of a process. It stops a drain that is idle for too long. If
// there are too many drains, it stops the one that is idle the longest. When the process
// exits, it stops all drains.
//
// A drain can outlive the configuration whose gate refused the request, and it does not
// keep a keystore open.
type Set struct {
	Ended   *prometheus.CounterVec // the drains that have ended, by End
	started time.Time
	exiting func() bool

	mu       sync.Mutex
	running  map[*upload]struct{}
	checking bool // a goroutine runs checkUntilEmpty
}

// upload is a refused upload that is being drained.
type upload struct {
	rc       *http.ResponseController
	idle     time.Duration // the longest time without a byte
	lastByte atomic.Int64  // when the last byte came, in nanoseconds since Set.started
	stopped  End           // why the set has stopped the drain, or ""; Set.mu guards it
}

// NewSet returns a set without drains. The set calls the function exiting to learn whether
// the process exits. If so, the set ends every drain.
func NewSet(exiting func() bool) *Set {
	ended := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "speechgate",
		Name:      "drained_uploads_total",
		Help:      "Refused uploads that were read on, by how that ended: whole, gone, idle, too_large, crowded or exit.",
	}, []string{"end"})
	return &Set{Ended: ended, started: time.Now(), exiting: exiting, running: make(map[*upload]struct{})}
}

func (s *Set) drain(body io.Reader, rc *http.ResponseController, idle time.Duration, limits Limits) (end End, size int64) {
	u := &upload{rc: rc, idle: idle}
	s.add(u, limits.MaxNumber)
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	var err error
	for err == nil && size <= limits.MaxSize {
		var n int
		n, err = body.Read(buf[:])
		size += int64(n)
		u.lastByte.Store(int64(time.Since(s.started)))
	}
	switch end = s.remove(u); {
	case errors.Is(err, io.EOF):
		end = whole
	case end != "": // the set has stopped the drain with a deadline, which has made the read fail
	case err == nil:
		end = tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded): // a deadline that Caddy or the head budget has set
		end = tooIdle
	default:
		end = gone
	}
	if end != whole {
		// Without a deadline in the past, net/http itself would read more of the body,
		// without the limits.
		_ = rc.SetReadDeadline(time.Now())
	}
	s.Ended.WithLabelValues(string(end)).Inc()
	return end, size
}

const bufferSize = 8 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// add adds a drain. If maxNumber others run already, add stops the one that has been idle
// the longest.
func (s *Set) add(u *upload, maxNumber int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.lastByte.Store(int64(time.Since(s.started)))
	var idlest *upload
	others := 0
	for other := range s.running {
		if other.stopped != "" {
			continue
		}
		others++
		if idlest == nil || other.lastByte.Load() < idlest.lastByte.Load() {
			idlest = other
		}
	}
	if others >= maxNumber {
		idlest.stop(crowded)
	}
	s.running[u] = struct{}{}
	if !s.checking {
		s.checking = true
		go s.checkUntilEmpty()
	}
}

// remove removes a drain. It returns why the set has stopped the drain, or "" if the set
// has not stopped it.
func (s *Set) remove(u *upload) End {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, u)
	return u.stopped
}

// stop makes the next read of the upload fail. Set.mu is locked, so the handler of the
// request has not returned and rc is valid.
func (u *upload) stop(why End) {
	u.stopped = why
	_ = u.rc.SetReadDeadline(time.Now()) // all servers of Caddy support deadlines
}

const checkEvery = 100 * time.Millisecond

// checkUntilEmpty calls check regularly, until no drain runs.
func (s *Set) checkUntilEmpty() {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for range tick.C {
		if !s.check() {
			return
		}
	}
}

// check stops drains that have been idle for too long and, when the process exits, all
// drains. It reports whether any drain still runs.
func (s *Set) check() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	exiting := s.exiting()
	for u := range s.running {
		switch idle := time.Since(s.started) - time.Duration(u.lastByte.Load()); {
		case u.stopped != "":
		case exiting:
			u.stop(atExit)
		case idle > u.idle:
			u.stop(tooIdle)
		}
	}
	s.checking = len(s.running) > 0
	return s.checking
}
