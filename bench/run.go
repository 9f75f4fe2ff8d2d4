//go:build linux

package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// source makes the next request in buf, which holds the connection's last one,
// and says which class of requests it is: an index of a plan's classes.
type source func(buf []byte) (request []byte, class int)

// plan says what is sent in a run.
type plan struct {
	addr    string // of the proxy
	conns   int
	next    source
	classes []class
	length  time.Duration
	// rate is in requests per second, sent at their due times whatever becomes
	// of those before; 0 sends the next one when an answer has come.
	rate float64
	// together leaves the other proxy running: stopped in the middle of a write it
	// would hold the keystore's lock.
	together bool
}

// class says how requests of one kind are answered.
type class struct {
	status  int
	backend bool // by the backend, and not by the proxy
}

// answered is the class of requests that the proxy lets through.
var answered = class{status: 200, backend: true}

// run is one run on its way.
type run struct {
	plan

	loop  *loop
	begun time.Time
	conns []*sock
	idle  []*sock
	sent  int // requests at a rate, of which some may wait for a connection

	done      int // answers that came in time
	latencies [][]time.Duration
	ended     bool
}

// result is what came of a run.
type result struct {
	requests  int
	cpu       time.Duration // of the proxy
	latencies [][]time.Duration
	took      time.Duration
}

func (r *result) perSecond() float64 { return float64(r.requests) / r.took.Seconds() }

// microseconds of the proxy's own CPU time for a request.
func (r *result) cpuEach() float64 { return float64(r.cpu.Nanoseconds()) / 1e3 / float64(r.requests) }

// percentile of the latencies of a class, in microseconds.
func (r *result) percentile(class int, p float64) float64 {
	all := r.latencies[class]
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[min(len(all)-1, int(p*float64(len(all))))].Nanoseconds()) / 1e3
}

// play runs a plan against a proxy, whose CPU time cpu tells.
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
	// What was due is sent yet, and counts, however late it is.
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

// outstanding reports whether an answer has not come.
func (r *run) outstanding() bool {
	return slices.ContainsFunc(r.conns, func(s *sock) bool { return s.busy })
}

// nextDue is when the next request at a rate is due.
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

// pace sends what is due. What finds no free connection stays due.
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

// answered notes an answer, and has the client go on.
func (r *run) answered(s *sock) {
	now := time.Since(r.begun)
	if want := r.classes[s.class]; status(s.head) != want.status || want.backend != bytes.Contains(s.head, []byte(backendField)) {
		r.loop.fail(fmt.Errorf("of the proxy at %s, where %+v was expected: %.300q", r.addr, want, s.head))
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
