package events

import (
	"context"
	"fmt"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

const start = policy.Time(1_800_000_000_000)

// Ten at once, and one in six seconds after that. A clock that is set back lets no more through.
func TestBound_LetsTenThroughAndCountsTheOthers(t *testing.T) {
	t.Parallel()
	var b Bound
	take := func(at policy.Time, want bool, wantLeftOut uint64) {
		t.Helper()
		if leftOut, ok := b.take(at); ok != want || leftOut != wantLeftOut {
			t.Errorf("at %d: %v with %d left out, want %v with %d", at-start, ok, leftOut, want, wantLeftOut)
		}
	}
	for range 10 {
		take(start, true, 0)
	}
	take(start, false, 0)
	take(start+5999, false, 0)
	take(start+6000, true, 2)
	take(start+6000, false, 0)
	take(start-60_000, false, 0)
	take(start+12_000, true, 2)
	for range 10 {
		take(start+600_000, true, 0)
	}
	take(start+600_000, false, 0)
}

// recorder is an Emitter that notes the events.
func recorder(wanted ...Name) (*Emitter, chan map[string]any) {
	got := make(chan map[string]any, 2*queueSize)
	return &Emitter{
		Emit: func(_ string, data map[string]any) { got <- data },
		Wants: func(name string) bool {
			for _, n := range wanted {
				if n.String() == name {
					return true
				}
			}
			return false
		},
		Logger: zap.NewNop(),
	}, got
}

func newQueue() *Queue { return NewQueue(func() policy.Time { return start }) }

func (q *Queue) lostOf(t *testing.T, name Name) float64 {
	t.Helper()
	metric := new(dto.Metric)
	if err := q.lost.WithLabelValues(name.String()).Write(metric); err != nil {
		t.Fatal(err)
	}
	return metric.GetCounter().GetValue()
}

// What does not fit into the queue is counted: in the metric, and in the next event.
func TestQueue_CountsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	q := newQueue()
	for range queueSize {
		q.Wait(t.Context(), Event{Name: KeyEnded})
	}
	var b Bound
	for range 3 {
		q.Offer(&b, Event{Name: Refused})
	}
	q.OfferJobOnGrace(Event{JobID: "a"})
	if lost, jobs := q.lostOf(t, Refused), q.lostOf(t, JobOnGrace); lost != 3 || jobs != 1 {
		t.Errorf("%v refusals and %v jobs are lost, want 3 and 1", lost, jobs)
	}
	e, got := recorder(KeyEnded, Refused, JobOnGrace)
	q.Use(e)
	for range queueSize {
		<-got
	}
	q.Offer(&b, Event{Name: Refused})
	if data := <-got; data["left_out"] != uint64(3) {
		t.Errorf("%v refusals are left out, want 3", data["left_out"])
	}
	q.OfferJobOnGrace(Event{JobID: "a"}) // the job was not told yet
	if data := <-got; data["job_id"] != "a" {
		t.Errorf("the event is %v", data)
	}
	q.Drop(t.Context(), e)
}

// An event that has no handler is not put into the queue.
func TestQueue_TakesWhatIsWanted(t *testing.T) {
	t.Parallel()
	q := newQueue()
	e, _ := recorder(KeyEnded)
	q.Use(e)
	var b Bound
	q.Offer(&b, Event{Name: Refused})
	q.OfferJobOnGrace(Event{JobID: "a"})
	if q.Wants(Refused) || !q.Wants(KeyEnded) || len(q.waiting) != 0 || b.next.Load() != 0 {
		t.Error("an event without a handler was taken")
	}
	q.Drop(t.Context(), e)
	if q.Wants(KeyEnded) {
		t.Error("events are wanted although no configuration runs")
	}
	if (*Queue)(nil).Wants(Refused) {
		t.Error("the nil Queue wants events")
	}
}

// A handler that hangs holds up neither the next configuration nor the end of the process, for long.
func TestQueue_SurvivesAHandlerThatHangs(t *testing.T) {
	t.Parallel()
	q := newQueue()
	release, hangs := make(chan struct{}), make(chan struct{}, 2)
	hanging := func() *Emitter {
		e, _ := recorder(KeyEnded)
		e.Emit = func(string, map[string]any) { hangs <- struct{}{}; <-release }
		return e
	}
	first := hanging()
	q.Use(first)
	for range 3 {
		q.Wait(t.Context(), Event{Name: KeyEnded})
	}
	<-hangs
	second, got := recorder(KeyEnded)
	q.Use(second)
	<-got
	<-got
	ended, end := context.WithCancel(t.Context())
	end()
	q.Drop(ended, first) // of the earlier configuration: another one is in use
	q.Wait(t.Context(), Event{Name: KeyEnded})
	<-got

	last := hanging()
	q.Use(last)
	for range 3 {
		q.Wait(t.Context(), Event{Name: KeyEnded})
	}
	<-hangs
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	q.Drop(ctx, last)
	if lost := q.lostOf(t, KeyEnded); lost != 2 {
		t.Errorf("%v events are lost, want 2", lost)
	}
	close(release)
	<-first.done
	<-last.done
}

// After the end of a configuration, Wait does not wait.
func TestQueue_WaitEndsWithTheConfiguration(t *testing.T) {
	t.Parallel()
	q := newQueue()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range queueSize + 1 {
		q.Wait(ctx, Event{Name: KeyEnded})
	}
	if lost := q.lostOf(t, KeyEnded); lost != 1 {
		t.Errorf("%v events are lost, want 1", lost)
	}
}

// An event that waits for room while the configuration is replaced is told by the next one.
func TestQueue_WaitOutlivesAReload(t *testing.T) {
	t.Parallel()
	q := newQueue()
	release, hangs := make(chan struct{}), make(chan struct{}, 1)
	first, _ := recorder(KeyEnded)
	first.Emit = func(string, map[string]any) { hangs <- struct{}{}; <-release }
	q.Use(first)
	for range queueSize + 1 {
		q.Wait(t.Context(), Event{Name: KeyEnded})
	}
	<-hangs
	for len(q.waiting) < queueSize {
		q.Wait(t.Context(), Event{Name: KeyEnded})
	}
	ctx, reload := context.WithCancel(t.Context())
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		for range 500 { // of one account, for example
			q.Wait(ctx, Event{Name: KeyEnded})
		}
	}()
	second, got := recorder(KeyEnded)
	read := make(chan struct{})
	second.Emit = func(string, map[string]any) { <-read; got <- nil }
	q.Use(second)
	reload()
	close(read)
	<-waited
	for range queueSize + 500 {
		<-got
	}
	if lost := q.lostOf(t, KeyEnded); lost != 0 {
		t.Errorf("%v events are lost", lost)
	}
	close(release)
	q.Drop(t.Context(), first)
	q.Drop(t.Context(), second)
}

// The end of a configuration waits for its handler that runs, which can need modules of this
// configuration.
func TestQueue_DropWaitsForTheHandlerThatRuns(t *testing.T) {
	t.Parallel()
	q := newQueue()
	release, runs := make(chan struct{}), make(chan struct{})
	ended := false
	first, _ := recorder(KeyEnded)
	first.Emit = func(string, map[string]any) { close(runs); <-release; ended = true }
	q.Use(first)
	q.Wait(t.Context(), Event{Name: KeyEnded})
	<-runs
	second, _ := recorder(KeyEnded)
	q.Use(second)
	close(release)
	q.Drop(t.Context(), first)
	if !ended {
		t.Error("the handler of the earlier configuration runs still")
	}
	q.Drop(t.Context(), second)
}

// A job is told once, until so many others were told that it is forgotten.
func TestJobMemory_TellsEachJobOnce(t *testing.T) {
	t.Parallel()
	var m jobMemory
	told := 0
	first := func(backend, job string) { m.first(backend, job, func() bool { told++; return true }) }
	for range 2 {
		first("a", "1")
		first("b", "1")
	}
	if told != 2 {
		t.Errorf("two jobs were told %d times", told)
	}
	for i := range jobsRemembered - 2 {
		first("a", fmt.Sprint("j", i))
	}
	told = 0
	if first("a", "1"); told != 0 {
		t.Error("a job was forgotten too early")
	}
	if first("a", "new"); told != 1 || len(m.known) != jobsRemembered {
		t.Errorf("one more job is told %d times, and %d are known", told, len(m.known))
	}
	if first("b", "1"); told != 1 {
		t.Error("the second job was forgotten before the first one")
	}
	if first("a", "1"); told != 2 {
		t.Error("the first job was not forgotten")
	}
}
