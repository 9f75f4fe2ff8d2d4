package keystore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// Clock is the time of this process. It starts with the time of the wall clock, and then
// follows these rules:
//
//   - It never goes slower than the monotonic clock, which no one can set, plus the
//     time in which the machine is suspended.
//   - It is never behind the wall clock. If the wall clock is set forward, the Clock
//     follows: keys expire as the wall clock says.
//   - If the wall clock is set back, the Clock does not follow. It stays ahead until the
//     wall clock has caught up, or the process ends. So an instant that has passed in
//     this process stays passed: no expired key becomes valid again, and no key lives
//     longer than its expiry allows.
//
// A Clock may be used concurrently.
type Clock struct {
	read func() (wall, mono int64)
	// split returns both times of a result of time.Now, as read does for the current instant.
	split func(time.Time) (wall, mono int64)
	// slept returns how long the machine was suspended, if the monotonic clock does
	// not count that time and the system tells it. If slept is nil, each leap of the
	// wall clock may have been a suspension, and the process follows it.
	slept func() int64

	// All in microseconds.
	offset     atomic.Int64 // this Clock minus the monotonic clock
	wallOffset atomic.Int64 // the wall clock minus the monotonic clock, at the last call of adjust

	mu    sync.Mutex
	sleep int64 // how long the machine was suspended; short suspensions are ignored
	base  int64 // the largest value of the wall clock minus the monotonic clock minus sleep
}

// In microseconds.
const (
	// clockJitter is the largest difference between two readings of the system's clocks
	// that is ignored. The process may be interrupted between the readings.
	clockJitter = 5000
	// shortestSleep is the shortest suspension that counts.
	shortestSleep = 1000
)

// SystemClock returns a Clock of the system's clocks.
func SystemClock() *Clock {
	start := time.Now()
	split := func(t time.Time) (wall, mono int64) { return t.UnixMicro(), t.Sub(start).Microseconds() }
	// time.Now reads both clocks, the wall clock first.
	c := newClock(func() (wall, mono int64) { return split(time.Now()) }, systemSleep())
	c.split = split
	return c
}

func newClock(read func() (wall, mono int64), slept func() int64) *Clock {
	c := &Clock{read: read, slept: slept}
	wall, mono := read()
	if slept != nil {
		c.sleep = slept()
	}
	c.base = wall - mono - c.sleep
	c.wallOffset.Store(wall - mono)
	c.offset.Store(wall - mono)
	return c
}

// Now returns the current time.
func (c *Clock) Now() policy.Time {
	wall, mono := c.read()
	return c.at(wall, mono)
}

// At returns the time at t, which time.Now has returned just before. A caller that needs t as
// well saves a reading of the system's clock.
func (c *Clock) At(t time.Time) policy.Time {
	wall, mono := c.split(t)
	return c.at(wall, mono)
}

func (c *Clock) at(wall, mono int64) policy.Time {
	wallOffset := wall - mono
	offset, moved := c.offset.Load(), wallOffset-c.wallOffset.Load()
	if wallOffset > offset || moved > clockJitter || moved < -clockJitter {
		offset = c.adjust(wallOffset)
	}
	return instant(mono + offset)
}

// adjust returns the new offset of the Clock. It is called when the wall clock has moved
// against the monotonic clock: it was set, or the machine was suspended.
func (c *Clock) adjust(wallOffset int64) (offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slept != nil {
		if slept := c.slept(); slept >= c.sleep+shortestSleep {
			c.sleep = slept
		}
	} else if leap := wallOffset - c.wallOffset.Load(); leap > clockJitter {
		c.sleep += leap
	}
	c.base = max(c.base, wallOffset-c.sleep)
	offset = max(c.offset.Load(), c.base+c.sleep)
	c.wallOffset.Store(wallOffset)
	c.offset.Store(offset)
	return offset
}

// Ahead returns how far the Clock is ahead of the wall clock. It is more than zero after
// the wall clock was set back.
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
