package caddymodule

import "fmt"

// provisionLimits resolves what bounds the requests of clients that have shown no valid
// key, for the process as a whole.
func (a *App) provisionLimits() error {
	a.drain = drainLimits{size: a.MaxDrainSize, number: a.MaxDrains}
	if a.drain.size == 0 {
		a.drain.size = defaultMaxDrainSize
	}
	if a.drain.number == 0 {
		a.drain.number = defaultMaxDrains
	}
	switch {
	case a.drain.size < minMaxDrainSize || a.drain.size > maxMaxDrainSize:
		return fmt.Errorf("max_drain_size %d: want a size from 1MiB to 1TiB", a.MaxDrainSize)
	case a.drain.number < 0:
		return fmt.Errorf("max_drains %d: want a number above zero", a.MaxDrains)
	}
	return nil
}
