package testutil

import (
	"testing"
	"time"
)

func TestEventually_WaitsUntilTheEffect(t *testing.T) {
	t.Parallel()
	looks := 0
	Eventually(t, "the third look", func() bool { looks++; return looks == 3 })
	if looks != 3 {
		t.Errorf("it looked %d times, want 3", looks)
	}
}

func TestEventually_FailsWithoutTheEffect(t *testing.T) {
	t.Parallel()
	var got outcome
	func() {
		defer func() { _ = recover() }()
		eventually(&got, "the sun rises in the west", 20*time.Millisecond, func() bool { return false })
	}()
	if got.failed != "still not after 20ms: the sun rises in the west" {
		t.Errorf("the test ends with %q", got.failed)
	}
}
