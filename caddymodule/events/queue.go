package events

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

const (
	queueSize = 1024                   // events that can wait for the handlers
	waitAgain = 100 * time.Millisecond // between two looks of Wait whether a configuration runs
)

// Queue has the events that the handlers have not got yet. It survives reloads: the handlers of the
// configuration that runs get the events, also those of requests that an earlier configuration has
// admitted. The nil Queue takes no events.
type Queue struct {
	now     func() policy.Time
	waiting chan Event
	wanted  atomic.Uint32 // a bit for each name that the running configuration has handlers for; before the first one runs, all bits
	lost    *prometheus.CounterVec
	jobs    jobMemory

	lostLogged atomic.Int64 // the state of due
	logger     atomic.Pointer[zap.Logger]

	mu      sync.Mutex
	current *Emitter // of the running configuration; nil: no configuration runs
}

// NewQueue returns an empty Queue. The argument now is the clock of the process.
func NewQueue(now func() policy.Time) *Queue {
	q := &Queue{now: now, waiting: make(chan Event, queueSize), lost: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy", Subsystem: "speechgate", Name: "events_lost_total",
		Help: "Events that no handler has got, because the handlers were too slow, by event.",
	}, []string{"event"})}
	for _, name := range Names() {
		q.lost.WithLabelValues(name.String())
	}
	q.wanted.Store(1<<nameCount - 1) // Caddy accepts connections before the start is complete
	return q
}

// Collector returns what has to be registered.
func (q *Queue) Collector() prometheus.Collector { return q.lost }

// Wants reports whether the running configuration has a handler for the event.
func (q *Queue) Wants(name Name) bool { return q != nil && q.wanted.Load()&(1<<name) != 0 }

// Offer puts an event of a request into the queue, with the current instant. It does not if nobody
// wants the event, if the bound has been reached, or if the queue is full. It never waits.
func (q *Queue) Offer(b *Bound, e Event) {
	if !q.Wants(e.Name) {
		return
	}
	now := q.now()
	leftOut, ok := b.take(now)
	if !ok {
		return
	}
	e.At, e.LeftOut = now, leftOut
	if !q.put(e) {
		b.leftOut.Add(leftOut + 1)
	}
}

// OfferJobOnGrace does what Offer does, once for each job.
func (q *Queue) OfferJobOnGrace(e Event) {
	if q.Wants(JobOnGrace) {
		e.Name, e.At = JobOnGrace, q.now()
		q.jobs.first(e.Backend, e.JobID, func() bool { return q.put(e) })
	}
}

// Wait puts an event into the queue, and waits until there is room. After the end of ctx, which is
// that of a configuration, it waits only if another configuration runs. It is for events that no
// request waits for.
func (q *Queue) Wait(ctx context.Context, e Event) {
	e.own()
	select {
	case q.waiting <- e:
		return
	case <-ctx.Done():
	}
	for q.inUse() {
		select {
		case q.waiting <- e:
			return
		case <-time.After(waitAgain):
		}
	}
	q.put(e)
}

// replaced reports whether another emitter is used in place of e.
func (q *Queue) replaced(e *Emitter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.current != e
}

// inUse reports whether a configuration runs.
func (q *Queue) inUse() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.current != nil
}

// put puts an event into the queue. It returns false if the queue is full.
func (q *Queue) put(e Event) bool {
	e.own()
	select {
	case q.waiting <- e:
		return true
	default:
		q.lose(e.Name)
		return false
	}
}

// lose counts an event that no handler gets, and says so in the log once a minute.
func (q *Queue) lose(name Name) {
	q.lost.WithLabelValues(name.String()).Inc()
	if logger := q.logger.Load(); logger != nil && due(&q.lostLogged, q.now(), 1, lostEvery) {
		logger.Error("events are lost, because their handlers are too slow", zap.Stringer("event", name), zap.Int("waiting", len(q.waiting)))
	}
}

// Use makes an emitter get the events, in place of the emitter before it.
func (q *Queue) Use(e *Emitter) {
	var wanted uint32
	for _, name := range Names() {
		if e.Wants(name.String()) {
			wanted |= 1 << name
		}
	}
	e.stop, e.last, e.done = make(chan struct{}), make(chan struct{}), make(chan struct{})
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current != nil {
		close(q.current.stop)
	}
	q.current = e
	q.logger.Store(e.Logger)
	q.wanted.Store(wanted)
	go e.run(q)
}

// Drop ends the use of an emitter, and waits for the handler that runs, until ctx ends. If no other
// emitter is used in its place, it gets the events that wait before. A nil emitter was never used.
func (q *Queue) Drop(ctx context.Context, e *Emitter) {
	if e == nil {
		return
	}
	if q.replaced(e) {
		select {
		case <-e.done:
		case <-ctx.Done(): // a handler hangs
		}
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.current = nil
	q.wanted.Store(0)
	close(e.last)
	select {
	case <-e.done:
	case <-ctx.Done():
		close(e.stop) // a handler hangs
	}
	for {
		select {
		case event := <-q.waiting:
			q.lose(event.Name)
		default:
			return
		}
	}
}
