package gate

import "sync"

// eventQueue runs functions one at a time, in the order in which they were added. A value that
// only these functions use needs no lock. The queue has a goroutine only while it runs a
// function, because most streams have no events for most of the time.
type eventQueue struct {
	mu      sync.Mutex
	running bool
	waiting []func()
}

// post adds f, and returns at once.
func (q *eventQueue) post(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, f)
	if !q.running {
		q.running = true
		go q.run()
	}
}

// do adds f, and returns when f has returned. A function that the queue runs must not call do.
func (q *eventQueue) do(f func()) {
	q.mu.Lock()
	if !q.running {
		q.running = true
		q.mu.Unlock()
		defer q.runWaiting()
		f() // on this goroutine, because the caller waits anyway
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

// runWaiting starts a goroutine if functions wait.
func (q *eventQueue) runWaiting() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.running = len(q.waiting) > 0; q.running {
		go q.run()
	}
}

// run runs the waiting functions until there are none.
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
