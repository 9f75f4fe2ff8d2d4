package testutil

import (
	"fmt"
	"testing"
)

// outcome is what a test does whose end is recorded.
type outcome struct {
	testing.TB
	failed, skipped string
}

func (*outcome) Helper()                          {}
func (o *outcome) Fatalf(format string, a ...any) { o.failed = fmt.Sprintf(format, a...); panic(o) }

func (o *outcome) Skipf(format string, a ...any) { o.skipped = fmt.Sprintf(format, a...); panic(o) }

func TestNeeded_SkipsExceptInCI(t *testing.T) { //nolint:paralleltest // sets the environment
	for _, c := range []struct {
		ci   string
		want outcome
	}{
		{"", outcome{skipped: "there is no Chromium"}},
		{"1", outcome{failed: "there is no Chromium, and with CI set there must be"}},
		{"true", outcome{failed: "there is no Chromium, and with CI set there must be"}},
	} {
		t.Setenv("CI", c.ci)
		var got outcome
		func() {
			defer func() { _ = recover() }()
			Needed(&got, "Chromium")
		}()
		if got != c.want {
			t.Errorf("with CI=%q: %+v, want %+v", c.ci, got, c.want)
		}
	}
}
