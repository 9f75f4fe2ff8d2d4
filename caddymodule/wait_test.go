package caddymodule_test

import (
	"testing"
	"time"
)

// soon is the limit for an effect that comes within a second if the machine has nothing else to do.
const soon = 20 * time.Second

// eventually waits for an effect, such as that of a change by another process.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	holdsSoon(t, "the condition", ok)
}

// holdsSoon is eventually for an effect with a name.
func holdsSoon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not after %s: %s", soon, what)
		}
	}
}
