package testutil

import (
	"os"
	"testing"
)

// Needed fails a test that lacks something, such as a program, if CI is set. Otherwise it skips the test.
func Needed(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("there is no %s, and with CI set there must be", what)
	}
	t.Skipf("there is no %s", what)
}
