package stream

import (
	"sync"
	"time"
)

// commandClock strikes once each time it is set, unless it is stopped first.
type commandClock struct {
	mu    sync.Mutex
	timer *time.Timer
	on    bool
}

func (c *commandClock) set(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = true
	if c.timer == nil {
		c.timer = time.AfterFunc(d, f)
	} else {
		c.timer.Reset(d)
	}
}

// stop reports whether it was in time.
func (c *commandClock) stop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.on
	c.on = false
	if c.timer != nil {
		c.timer.Stop()
	}
	return was
}

// strike reports whether the clock still runs, and stops it.
func (c *commandClock) strike() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.on
	c.on = false
	return was
}
