package handler

import (
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestR18_AnErrorOfEveryRequestIsLoggedOnceAMinute(t *testing.T) {
	var a OnceAMinute
	start := policy.Time(1_800_000_000_000)
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{
		{0, true},
		{0, false},
		{time.Second, false},
		{time.Minute - time.Millisecond, false},
		{time.Minute, true},
		{time.Minute, false},
		{time.Hour, true},
		{time.Hour + time.Minute, true},
	} {
		if got := a.Due(start.Add(c.after)); got != c.want {
			t.Errorf("after %s: %t, want %t", c.after, got, c.want)
		}
	}
}
