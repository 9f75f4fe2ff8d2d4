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
//   - It never goes slower than the monotonic clock, which nobody can set, and
//     which counts the time that the machine is suspended.
//   - It is never behind the wall clock. A wall clock that is set forward takes it
//     along: keys expire as the wall clock says.
//   - A wall clock that is set back is not followed. The process stays ahead of it
//     until the wall clock has caught up or the process ends. So an instant that
//     has passed in this process stays passed: nothing that has expired becomes
//     valid again, and no key lives longer than it was issued for.
//
// A Clock may be used concurrently.
type Clock struct {
	read func() (wall, mono int64)
	// slept is how long the machine was suspended, where the monotonic clock does
	// not count it and the system tells. Nil: each leap of the wall clock may have
	// been a suspension, and takes the process along.
	slept func() int64

	// All in microseconds.
	lead atomic.Int64 // the process's time less the monotonic clock's
	seen atomic.Int64 // the wall clock less the monotonic clock, when look saw it last

	mu    sync.Mutex
	sleep int64 // how long the machine was suspended, as far as it counts
	base  int64 // the most that the wall clock has been before mono and sleep together
}

// In microseconds.
const (
	// clockJitter is what two readings of the system's clocks may differ by because
	// the process was interrupted in between.
	clockJitter = 5000
	// shortestSleep is the shortest suspension that counts as one.
	shortestSleep = 1000
)

// SystemClock returns a clock that goes by the system's.
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
		lead = c.look(offset)
	}
	return instant(mono + lead)
}

// look takes in that the wall clock has moved against the monotonic one: it was
// set, or the machine was suspended.
func (c *Clock) look(offset int64) (lead int64) {
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

// Ahead is how far this process is ahead of the wall clock, because that was set
// back.
func (c *Clock) Ahead() time.Duration {
	now := c.Now()
	wall, _ := c.read()
	return max(time.Duration(now-instant(wall))*time.Millisecond, 0)
}

// instant is the millisecond that so many microseconds since 1970 fall into.
func instant(micros int64) policy.Time {
	ms := micros / 1000
	if micros%1000 < 0 {
		ms--
	}
	return policy.Time(ms)
}
