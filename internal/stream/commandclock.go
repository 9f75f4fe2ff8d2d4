package stream

import (
	"sync"
	"time"
)

// commandClock limits how long a message may take to come whole. It calls its function
// once each time it is set, unless it is stopped first.
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

// stop reports whether the clock was still running. If not, the function has been
// called, or is just about to be.
func (c *commandClock) stop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	return c.end()
}

// strike is called by the clock's function, and reports whether the clock is still
// running: stop may have been called at the same time.
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
