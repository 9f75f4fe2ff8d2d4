package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// A flood of unknown keys costs the store no write, and the good keys nothing.
func TestGate_UnknownKeysWriteNothingAndThrottleNobody(t *testing.T) {
	g := newGateway(t, "")
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("job", key, now())
	if got := g.poll("job", secret); got.status != http.StatusOK {
		t.Fatalf("a good key: %d", got.status)
	}
	time.Sleep(50 * time.Millisecond) // what that has left to write is written seconds later
	written := func() string {
		var state strings.Builder
		for _, suffix := range []string{"", "-wal"} {
			fi, err := os.Stat(g.path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&state, fi.Size(), fi.ModTime())
		}
		return state.String()
	}
	before := written()
	for n := range 500 {
		unknown := fmt.Sprintf("unknown-key-%d", n%250) // each twice
		if got := g.poll("job", unknown); got.status != http.StatusUnauthorized {
			t.Fatalf("unknown key %d: %d", n, got.status)
		}
	}
	if after := written(); after != before {
		t.Errorf("unknown keys were written about: %s, before %s", after, before)
	}
	for range 5 {
		if got := g.poll("job", secret); got.status != http.StatusOK {
			t.Errorf("after the flood a good key from the same address gets %d", got.status)
		}
	}
	if entries, err := g.keys.Audit(t.Context(), "", 0, 100); err != nil || len(entries) != 2 {
		t.Errorf("audit entries %v, %v", entries, err)
	}
}
