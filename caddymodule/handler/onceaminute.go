package handler

import (
	"sync/atomic"

	"github.com/speechgate/speechgate/policy"
)

// OnceAMinute spares a log what would repeat. The zero value is ready for use.
type OnceAMinute struct{ next atomic.Int64 }

const minute = policy.Time(60_000)

// Due reports whether a minute has passed since it last did so.
func (o *OnceAMinute) Due(now policy.Time) bool {
	next := o.next.Load()
	return int64(now) >= next && o.next.CompareAndSwap(next, int64(now+minute))
}
