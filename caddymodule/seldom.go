package caddymodule

import (
	"sync/atomic"

	"github.com/speechgate/speechgate/policy"
)

// onceAMinute spares a log what would repeat. The zero value is ready for use.
type onceAMinute struct{ next atomic.Int64 }

const minute = policy.Time(60_000)

// due reports whether a minute has passed since it last did so.
func (o *onceAMinute) due(now policy.Time) bool {
	next := o.next.Load()
	return int64(now) >= next && o.next.CompareAndSwap(next, int64(now+minute))
}
