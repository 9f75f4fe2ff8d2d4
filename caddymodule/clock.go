package caddymodule

import (
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// clock is the process's time. It does not run backwards: a key that has been
// refused as expired is not accepted again because the system's clock was set
// back.
var clock = struct {
	wall   func() time.Time
	latest atomic.Int64
}{wall: time.Now}

// now is the current instant.
func now() policy.Time {
	wall := int64(policy.At(clock.wall()))
	for {
		latest := clock.latest.Load()
		if wall <= latest {
			return policy.Time(latest)
		}
		if clock.latest.CompareAndSwap(latest, wall) {
			return policy.Time(wall)
		}
	}
}
