package keystore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// Clock is the time of this process. It starts with the wall clock, and then
// follows these rules:
//
//   - It never goes slower than the monotonic clock, which no one can set, plus the
//     time in which the machine is suspended.
//   - It is never behind the wall clock. If the wall clock is set forward, it follows:
//     keys expire as the wall clock says.
//   - If the wall clock is set back, it does not follow. The process stays ahead until
//     the wall clock has caught up, or the process ends. So an instant that has passed
//     in this process stays passed: no expired key becomes valid again, and no key
//     lives longer than it was issued for.
//
// A Clock may be used concurrently.
type Clock struct {
	read func() (wall, mono int64)
	// slept returns how long the machine was suspended, if the monotonic clock does
	// not count that time and the system tells it. If slept is nil, each leap of the
	// wall clock may have been a suspension, and the process follows it.
	slept func() int64

	// All in microseconds.
	lead atomic.Int64 // the process's time minus the monotonic clock
	seen atomic.Int64 // the wall clock minus the monotonic clock, at the last call of adjust

	mu    sync.Mutex
	sleep int64 // how long the machine was suspended; short suspensions are ignored
	base  int64 // the largest value of the wall clock minus mono and sleep
}

// In microseconds.
const (
	// clockJitter is the largest difference between two readings of the system's clocks
	// that is ignored: the process may be interrupted between the readings.
	clockJitter = 5000
	// shortestSleep is the shortest suspension that counts.
	shortestSleep = 1000
)

// SystemClock returns a Clock of the system's clocks.
func SystemClock() *Clock {
	start := time.Now()
	return newClock(func() (wall, mono int64) {
		t := time.Now() // both clocks, the wall clock first
		return t.UnixMicro(), t.Sub(start).Microseconds()
	}, systemSleep())
}

func newClock(read func() (wall, mono int64), slept func() int64) *Clock {
	c := &Clock{read: read, slept: slept}
	wall, mono := read()
	if slept != nil {
		c.sleep = slept()
	}
	c.base = wall - mono - c.sleep
	c.seen.Store(wall - mono)
	c.lead.Store(wall - mono)
	return c
}

// Now is the current instant.
func (c *Clock) Now() policy.Time {
	wall, mono := c.read()
	offset := wall - mono
	lead, moved := c.lead.Load(), offset-c.seen.Load()
	if offset > lead || moved > clockJitter || moved < -clockJitter {
		lead = c.adjust(offset)
	}
	return instant(mono + lead)
}

// adjust is called when the wall clock has moved against the monotonic clock: it was
// set, or the machine was suspended.
func (c *Clock) adjust(offset int64) (lead int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slept != nil {
		if slept := c.slept(); slept >= c.sleep+shortestSleep {
			c.sleep = slept
		}
	} else if leap := offset - c.seen.Load(); leap > clockJitter {
		c.sleep += leap
	}
	c.base = max(c.base, offset-c.sleep)
	lead = max(c.lead.Load(), c.base+c.sleep)
	c.seen.Store(offset)
	c.lead.Store(lead)
	return lead
}

// Ahead returns how far this process is ahead of the wall clock; more than zero if the
// wall clock was set back.
func (c *Clock) Ahead() time.Duration {
	now := c.Now()
	wall, _ := c.read()
	return max(time.Duration(now-instant(wall))*time.Millisecond, 0)
}

// instant rounds microseconds since 1970 down to milliseconds.
func instant(micros int64) policy.Time {
	ms := micros / 1000
	if micros%1000 < 0 {
		ms--
	}
	return policy.Time(ms)
}
