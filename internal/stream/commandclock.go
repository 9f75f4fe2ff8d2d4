package stream

import (
	"sync"
	"time"
)

// commandClock limits the time in which a message must arrive whole. Each time that it is
// set, it calls a function when the time is over, unless it is stopped before.
type commandClock struct {
	mu      sync.Mutex
	timer   *time.Timer
	running bool
}

func (c *commandClock) set(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = true
	if c.timer == nil {
		c.timer = time.AfterFunc(d, f)
	} else {
		c.timer.Reset(d)
	}
}

// stop stops the clock, and reports whether it was running. If it returns false for a clock
// that was set, the function has been called, or will be called in a moment.
func (c *commandClock) stop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	return c.end()
}

// strike must be the first call in the function of the clock. It reports whether the clock
// was still running. If not, stop was called in time, and the function must do nothing.
func (c *commandClock) strike() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end()
}

func (c *commandClock) end() bool {
	was := c.running
	c.running = false
	return was
}
