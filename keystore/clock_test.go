package keystore

import (
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestR3_TimeDoesNotRunBackwards(t *testing.T) {
	at := time.Now()
	now := NewClock(func() time.Time { return at })
	first := now()
	if first != policy.At(at) {
		t.Errorf("the clock stands at %s, want %s", first, policy.At(at))
	}
	at = at.Add(-time.Hour)
	if got := now(); got != first {
		t.Errorf("the clock went from %s to %s", first, got)
	}
	at = at.Add(2 * time.Hour)
	if got := now(); got != policy.At(at) {
		t.Errorf("the clock stands at %s, want %s", got, policy.At(at))
	}
}
