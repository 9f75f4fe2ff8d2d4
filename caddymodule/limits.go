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
	a.heads = memoryBudget{memory: unjudged, most: a.MaxHeads}
	if a.heads.most == 0 {
		a.heads.most = defaultMaxHeads
	}
	switch {
	case a.heads.most < minMaxHeads || a.heads.most > maxMaxHeads:
		return fmt.Errorf("max_heads %d: want a size from 1MiB to 64GiB", a.MaxHeads)
	case a.drain.size < minMaxDrainSize || a.drain.size > maxMaxDrainSize:
		return fmt.Errorf("max_drain_size %d: want a size from 1MiB to 1TiB", a.MaxDrainSize)
	case a.drain.number < 0:
		return fmt.Errorf("max_drains %d: want a number above zero", a.MaxDrains)
	}
	return nil
}
