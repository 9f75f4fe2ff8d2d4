//go:build linux

package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// source writes the next request into buf, and returns its class: an index into the
// plan's classes. Buf holds the last request of the connection.
type source func(buf []byte) (request []byte, class int)

// plan says which requests a run sends.
type plan struct {
	addr    string // the proxy's address
	conns   int
	next    source
	answer  []byte // the body that each answer must have; nil if any body will do
	classes []class
	length  time.Duration
	// rate is in requests per second. Requests are sent when they are due, even if
	// earlier requests have no answer yet. 0 sends the next request when an answer has
	// arrived.
	rate float64
	// together lets the other proxy run at the same time. Otherwise it is stopped, and a
	// process that is stopped in a write holds the keystore's lock.
	together bool
}

// class says how requests of one class are answered.
type class struct {
	status  int
	backend bool // whether the backend answers, and not the proxy
}

// answered is the class of requests that the proxy lets through.
var answered = class{status: 200, backend: true}

// run is the state of one run.
type run struct {
	plan

	loop  *loop
	begun time.Time
	conns []*sock
	idle  []*sock
	sent  int // the number of requests that were due; some may still wait for a connection

	done      int // the number of answers in time
	latencies [][]time.Duration
	ended     bool
}

// result is the result of a run.
type result struct {
	requests  int
	cpu       time.Duration // the proxy's CPU time
	latencies [][]time.Duration
	took      time.Duration
}

func (r *result) perSecond() float64 { return float64(r.requests) / r.took.Seconds() }

// microseconds returns the proxy's CPU time for one request.
func (r *result) cpuEach() float64 { return float64(r.cpu.Nanoseconds()) / 1e3 / float64(r.requests) }

// percentile returns a percentile of the latencies of the first class, in microseconds.
func (r *result) percentile(p float64) float64 {
	all := r.latencies[0]
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[min(len(all)-1, int(p*float64(len(all))))].Nanoseconds()) / 1e3
}

// play runs a plan against a proxy. Cpu returns the proxy's CPU time.
func (l *loop) play(p plan, cpu func() time.Duration) (*result, error) {
	r := &run{plan: p, loop: l}
	for range p.classes {
		r.latencies = append(r.latencies, make([]time.Duration, 0, 1<<17))
	}
	for range p.conns {
		s, err := l.dial(p.addr)
		if err != nil {
			return nil, err
		}
		r.conns = append(r.conns, s)
		s.writing = make([]byte, 0, 16<<10)
	}
	defer func() {
		l.run = nil
		for _, s := range r.conns {
			if l.socks[s.fd] == s {
				l.close(s)
			}
		}
	}()
	l.run = r
	r.begun = time.Now()
	before := cpu()
	r.start()
	for l.err == nil && time.Since(r.begun) < p.length {
		l.turn()
		r.pace()
	}
	done := &result{requests: r.done, took: time.Since(r.begun), cpu: cpu() - before}
	r.ended = true
	// Requests that were due in the run are still sent, and answers are still awaited,
	// for up to 10 s. They count in the latencies, and not in the number of requests.
	for late := time.Now(); l.err == nil && (r.behind() || r.outstanding()); {
		l.turn()
		r.pace()
		if time.Since(late) > 10*time.Second {
			l.fail(fmt.Errorf("the proxy at %s is 10 s behind", p.addr))
		}
	}
	done.latencies = r.latencies
	return done, l.err
}

// outstanding reports whether an answer is missing.
func (r *run) outstanding() bool {
	return slices.ContainsFunc(r.conns, func(s *sock) bool { return s.busy })
}

// nextDue returns when the next request is due.
func (r *run) nextDue() time.Duration {
	return time.Duration(float64(r.sent) / r.rate * float64(time.Second))
}

// behind reports whether requests that were due in the run have not been sent.
func (r *run) behind() bool { return r.rate > 0 && r.nextDue() < r.length }

func (r *run) start() {
	r.idle = append(r.idle, r.conns...)
	if r.rate == 0 {
		for _, s := range r.conns {
			r.ask(s, time.Since(r.begun))
		}
	}
}

// pace sends the requests that are due. A request without a free connection stays due.
func (r *run) pace() {
	if r.rate == 0 {
		return
	}
	now := min(time.Since(r.begun), r.length)
	for len(r.idle) > 0 {
		due := r.nextDue()
		if due >= now {
			return
		}
		s := r.idle[len(r.idle)-1]
		r.idle = r.idle[:len(r.idle)-1]
		r.sent++
		r.ask(s, due)
	}
}

func (r *run) ask(s *sock, due time.Duration) {
	request, class := r.next(s.writing)
	s.busy, s.due, s.class = true, due, class
	r.loop.send(s, request)
}

// content compares the next bytes of an answer's body with the expected body.
func (r *run) content(s *sock, p []byte) {
	if r.answer == nil {
		return
	}
	if !bytes.HasPrefix(r.answer[min(s.got, len(r.answer)):], p) {
		r.loop.fail(fmt.Errorf("of the proxy at %s, behind %d bytes of the answer that was expected: %.300q", r.addr, s.got, p))
	}
	s.got += len(p)
}

// answered records an answer. The client can then send its next request.
func (r *run) answered(s *sock) {
	now := time.Since(r.begun)
	if want := r.classes[s.class]; status(s.head) != want.status || want.backend != bytes.Contains(s.head, []byte(backendField)) {
		r.loop.fail(fmt.Errorf("of the proxy at %s, where %+v was expected: %.300q", r.addr, want, s.head))
		return
	}
	if r.answer != nil && s.got != len(r.answer) {
		r.loop.fail(fmt.Errorf("the proxy at %s answers with %d bytes, where %d were expected: %.300q", r.addr, s.got, len(r.answer), s.head))
		return
	}
	r.done++
	r.latencies[s.class] = append(r.latencies[s.class], now-s.due)
	switch {
	case r.rate > 0:
		r.idle = append(r.idle, s)
	case !r.ended:
		r.ask(s, now)
	}
}
