package stream

import (
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// The words of the package comment's table.
var (
	stateNames = []string{"open", "finishing", "telling", "draining", "answering", "dismissing", "leaving", "closed"}
	eventNames = []string{"startClose", "close", "boundary", "sent", "sentClose", "failed", "peerClosed", "peerGone", "timeout", "overdue"}
	actions    = []string{
		"", "finish the backend's message", "send the final message", "drain until the peer closes", "send a Close frame",
		"wait for the peer's end", "close", "abort",
	}
)

func TestThePackageCommentHasTheTableOfTransitions(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for line := range strings.Lines(string(source)) {
		if row, ok := strings.CutPrefix(line, "//\t"); ok && strings.Contains(row, "  ") {
			told = append(told, strings.Join(strings.Fields(row), " "))
		}
	}
	want := []string{"state event next action"}
	for _, row := range transitions {
		want = append(want, strings.Join([]string{stateNames[row.state], eventNames[row.event], stateNames[row.next], actions[row.action]}, " "))
	}
	want = append(want, "any overdue closed abort")
	if !slices.Equal(told, want) {
		t.Errorf("the comment has\n%s\nand the code\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
	}
}

func TestEveryStateEndsInClosedAndClosedIsTheEnd(t *testing.T) {
	t.Parallel()
	for state := stateOpen; state <= stateClosed; state++ {
		for event := eventStartClose; event <= eventOverdue; event++ {
			to, action := next(state, event)
			switch {
			case state == stateClosed && (to != stateClosed || action != actionNone):
				t.Errorf("closed goes on to %s at %s", stateNames[to], eventNames[event])
			case to < state, to == state && action != actionNone:
				t.Errorf("%s goes to %s at %s: a stream could end in a loop", stateNames[state], stateNames[to], eventNames[event])
			case (action == actionClose || action == actionAbort) != (to == stateClosed && state != stateClosed):
				t.Errorf("%s goes to %s at %s, and the action is %q", stateNames[state], stateNames[to], eventNames[event], actions[action])
			}
		}
		if state == stateClosed {
			continue
		}
		if to, action := next(state, eventOverdue); to != stateClosed || action != actionAbort {
			t.Errorf("%s is not aborted when an action blocks", stateNames[state])
		}
	}
}

func TestOneCallerGetsTheActionOfATransition(t *testing.T) {
	t.Parallel()
	for range 100 {
		var c closing
		var all sync.WaitGroup
		var got atomic.Int32
		for _, event := range []closeEvent{eventStartClose, eventClose, eventStartClose, eventClose} {
			all.Go(func() {
				if c.on(event) != actionNone {
					got.Add(1)
				}
			})
		}
		all.Wait()
		if got.Load() != 1 || !c.started() {
			t.Fatalf("%d callers end the stream", got.Load())
		}
	}
}
