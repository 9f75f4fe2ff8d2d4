package share

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// A source is asked as long as it is there and the process shares its counts.
func TestASourceSharesWhileItIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		x, first := newSource(Requests)
		if first.shares() {
			t.Error("a source shares before the process does")
		}
		stop := x.Share(over, zap.NewNop())
		_, second := newSource(Requests)
		remove := x.Add(Requests, second)
		if !first.shares() || !second.shares() {
			t.Errorf("they share: %t and %t", first.shares(), second.shares())
		}
		over.post("another gateway", 1, entry{Requests, Change{ID: "key_1", Now: 2}})
		time.Sleep(quietTurn)
		for i, s := range []*source{first, second} {
			if now, _ := s.knows("key_1"); now != 2 {
				t.Errorf("source %d of two knows of %d requests of another gateway, want 2", i+1, now)
			}
		}

		remove()
		over.post("another gateway", 2, entry{Requests, Change{ID: "key_1", Now: 3}})
		time.Sleep(quietTurn)
		if now, _ := second.knows("key_1"); second.shares() || now != 2 {
			t.Errorf("a source that was removed shares: %t, and knows of %d requests", second.shares(), now)
		}
		if now, _ := first.knows("key_1"); !first.shares() || now != 3 {
			t.Errorf("the source beside a source that was removed shares: %t, and knows of %d requests, want 3", first.shares(), now)
		}
		stop()
		if first.shares() {
			t.Error("a source shares after the process does")
		}
	})
}

// A source of a kind that the process did not have learns what is counted at a time, as soon as it is said
// again.
func TestASourceOfANewKindLearnsTheNumbersAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		x, _ := newSource(Requests)
		defer x.Share(over, zap.NewNop())()
		over.post("another gateway", 1, entry{Streams, Change{ID: "key_1", Now: 2}})
		time.Sleep(quietTurn)
		_, streams := newSource(Streams)
		x.Add(Streams, streams)
		over.post("another gateway", 2, entry{Streams, Change{ID: "key_1", Now: 2}})
		time.Sleep(quietTurn)
		if now, _ := streams.knows("key_1"); now != 2 {
			t.Errorf("%d streams are known, want 2", now)
		}
	})
}

// When the process stops sharing, the others learn in a last turn what has ended, and what they had is
// forgotten here. If it shares again, no event counts twice.
func TestTheEndOfSharing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		x, mine := newSource(Streams)
		stop := x.Share(over, zap.NewNop())
		mine.count(func(tally *tally) { tally.set("key_1", 1) })
		over.post("another gateway", 1, entry{Streams, Change{ID: "key_1", Now: 2, Past: []Past{{start, 5}}}})
		time.Sleep(quietTurn)
		if now, events := mine.knows("key_1"); now != 2 || events != 5 {
			t.Errorf("%d streams and %d events are known, want 2 and 5", now, events)
		}

		mine.count(func(tally *tally) { tally.set("key_1", 0) })
		stop()
		stop() // does nothing
		if now, _ := mine.knows("key_1"); now != 0 {
			t.Errorf("%d streams are known after the end", now)
		}
		report := over.board.reports[len(over.board.reports)-1]
		entries, err := decode(report.Body, start)
		if err != nil || report.Gateway != x.gateway || len(entries) != 1 || entries[0].ID != "key_1" || entries[0].Now != 0 {
			t.Errorf("the last report says %+v, %v; want that key_1 has no stream", entries, err)
		}
		over.take()
		time.Sleep(time.Minute)
		if turns := over.take(); len(turns) > 0 {
			t.Errorf("%d turns after the end", len(turns))
		}

		over.post("another gateway", 2, entry{Streams, Change{ID: "key_1", Now: 2}})
		defer x.Share(over, zap.NewNop())()
		time.Sleep(quietTurn)
		if now, events := mine.knows("key_1"); now != 2 || events != 5 || !mine.shares() {
			t.Errorf("%d streams and %d events are known when it shares again, want 2 and 5", now, events)
		}
	})
}

// The transport that was given last is used. When its use ends, the one before is used again, and nothing is
// forgotten.
func TestTheNewestTransportIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		older, newer := newLine(), newLine()
		x, mine := newSource(Streams)
		stopOlder := x.Share(older, zap.NewNop())
		older.post("another gateway", 1, entry{Streams, Change{ID: "key_1", Now: 2}})
		time.Sleep(quietTurn)
		used := func(what string, yes, no *line) {
			t.Helper()
			yes.take()
			no.take()
			time.Sleep(quietTurn)
			if one, other := len(yes.take()), len(no.take()); one == 0 || other != 0 {
				t.Errorf("%s: %d turns, and %d over the other", what, one, other)
			}
			if now, _ := mine.knows("key_1"); now != 2 || !mine.shares() {
				t.Errorf("%s: %d streams are known, want 2; the source shares: %t", what, now, mine.shares())
			}
		}
		stopNewer := x.Share(newer, zap.NewNop())
		used("the newer transport", newer, older)
		stopNewer()
		used("the older transport again", older, newer)
		stopNewer = x.Share(newer, zap.NewNop())
		stopOlder()
		used("the newer transport alone", newer, older)
		stopNewer()
		if mine.shares() {
			t.Error("the source shares after the end of both")
		}
	})
}

// A database that is away at the end holds the end up no longer than a turn may take.
func TestTheEndOfSharingWaitsForATurnOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		over.hangs = true
		x, _ := newSource(Requests)
		stop := x.Share(over, zap.NewNop())
		time.Sleep(time.Second)
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > turnLimit {
			t.Errorf("the end takes %s", took)
		}
	})
}
