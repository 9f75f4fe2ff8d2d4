package events

import (
	"sync/atomic"

	"github.com/speechgate/speechgate/policy"
)

const (
	boundBurst = 10                  // events at once
	boundEvery = policy.Time(6_000)  // milliseconds between two events after that
	lostEvery  = policy.Time(60_000) // milliseconds between two log entries about lost events
)

// Bound limits how often an event is told that every request can cause: ten at once, and one in six
// seconds after that. It counts the events that are left out. The zero value is ready for use.
type Bound struct {
	next    atomic.Int64 // when all events that were told are made up for
	leftOut atomic.Uint64
}

// take reports whether an event may be told at now, and how many were left out since the last one.
func (b *Bound) take(now policy.Time) (leftOut uint64, ok bool) {
	if !due(&b.next, now, boundBurst, boundEvery) {
		b.leftOut.Add(1)
		return 0, false
	}
	return b.leftOut.Swap(0), true
}

// due reports whether one more may happen at now: burst at once, and one each time every after that.
// The argument next is the state, zero at the beginning.
func due(next *atomic.Int64, now policy.Time, burst, every policy.Time) bool {
	for {
		before := next.Load()
		from := max(before, int64(now))
		if from-int64(now) > int64((burst-1)*every) {
			return false
		}
		if next.CompareAndSwap(before, from+int64(every)) {
			return true
		}
	}
}
