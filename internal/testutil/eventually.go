package testutil

import (
	"testing"
	"time"
)

// soon is how long an effect may take that comes within a second on a machine with nothing else to do.
const soon = 20 * time.Second

// Eventually waits for an effect that reports no event, such as that of a change by another process. It
// looks every 5 ms, and fails the test if ok does not return true within 20 seconds.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	eventually(t, what, soon, ok)
}

func eventually(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(limit); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still not after %s: %s", limit, what)
		}
	}
}
