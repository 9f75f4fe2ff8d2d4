package gate

import (
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// Every event runs once, one at a time. The events of one goroutine run in their order.
func TestEventQueue_RunsOneEventAtATime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var q eventQueue
		running, ran := 0, 0
		last := make(map[int]int) // the last event of each goroutine
		plan := rapid.SliceOfN(rapid.SliceOfN(rapid.Bool(), 0, 20), 1, 4).Draw(t, "waits, by goroutine")
		var wg sync.WaitGroup
		want := 0
		for id, waits := range plan {
			want += len(waits)
			wg.Go(func() {
				for i, wait := range waits {
					event := func() {
						if running++; running != 1 {
							t.Errorf("%d events run at a time", running)
						}
						if last[id] != i {
							t.Errorf("event %d of goroutine %d runs after %d others", i, id, last[id])
						}
						last[id]++
						ran++
						running--
					}
					if wait {
						q.do(event)
					} else {
						q.post(event)
					}
				}
			})
		}
		wg.Wait()
		q.do(func() {}) // comes after all others
		if ran != want {
			t.Errorf("%d events of %d ran", ran, want)
		}
	})
}

// An event that comes while another one runs in do is not forgotten.
func TestEventQueue_RunsWhatWasPostedDuringDo(t *testing.T) {
	t.Parallel()
	var q eventQueue
	ran := make(chan struct{})
	q.do(func() { q.post(func() { close(ran) }) })
	wantSoon(t, "the event runs", func() { <-ran })
	wantSoon(t, "the queue goes on", func() { q.do(func() {}) })
}

func TestEventQueue_GoesOnAfterAPanic(t *testing.T) {
	t.Parallel()
	var q eventQueue
	func() {
		defer func() { _ = recover() }()
		q.do(func() { panic("an event") })
	}()
	ran := false
	q.do(func() { ran = true })
	if !ran {
		t.Error("no event runs after a panic")
	}
}
