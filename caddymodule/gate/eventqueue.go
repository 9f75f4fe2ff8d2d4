package gate

import "sync"

// eventQueue runs functions one at a time, in the order in which they come. Whatever only
// these functions use needs no lock. The queue has a goroutine only while a function
// runs, because nothing happens to most streams for most of the time.
type eventQueue struct {
	mu      sync.Mutex
	running bool
	waiting []func()
}

// post has f run later, and returns at once.
func (q *eventQueue) post(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, f)
	if !q.running {
		q.running = true
		go q.run()
	}
}

// do runs f and returns when f has returned. It must not be called by a function that
// the queue runs.
func (q *eventQueue) do(f func()) {
	q.mu.Lock()
	if !q.running {
		q.running = true
		q.mu.Unlock()
		defer q.pass()
		f() // the caller waits anyway
		return
	}
	done := make(chan struct{})
	q.waiting = append(q.waiting, func() {
		defer close(done)
		f()
	})
	q.mu.Unlock()
	<-done
}

// pass has a goroutine run what waits.
func (q *eventQueue) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running = len(q.waiting) > 0; q.running {
		go q.run()
	}
}

// run runs what waits, until nothing waits.
func (q *eventQueue) run() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.running, q.waiting = false, nil
			q.mu.Unlock()
			return
		}
		f := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		f()
	}
}
