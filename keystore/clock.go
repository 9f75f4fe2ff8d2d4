package keystore

import (
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// NewClock returns a clock that goes by wall and does not run backwards: it
// stands still while wall is behind what it said before. A key that has been
// refused as expired is not accepted again because the system's time was set
// back.
func NewClock(wall func() time.Time) func() policy.Time {
	var latest atomic.Int64
	return func() policy.Time {
		now := int64(policy.At(wall()))
		for {
			last := latest.Load()
			if now <= last {
				return policy.Time(last)
			}
			if latest.CompareAndSwap(last, now) {
				return policy.Time(now)
			}
		}
	}
}
