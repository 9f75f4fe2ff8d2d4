package handler

import (
	"sync/atomic"

	"github.com/speechgate/speechgate/policy"
)

// OnceAMinute limits how often a message is logged: once a minute, even if every request
// causes the message. The zero value is ready for use.
type OnceAMinute struct{ next atomic.Int64 }

const minute = policy.Time(60_000)

// Due returns true at its first call, and then once a minute.
func (o *OnceAMinute) Due(now policy.Time) bool {
	next := o.next.Load()
	return int64(now) >= next && o.next.CompareAndSwap(next, int64(now+minute))
}
