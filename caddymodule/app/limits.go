package app

import (
	"fmt"

	"github.com/speechgate/speechgate/internal/drain"
	"github.com/speechgate/speechgate/internal/headbudget"
)

// provisionLimits resolves what bounds the requests of clients that have shown no valid
// key, for the process as a whole.
func (a *App) provisionLimits() error {
	a.drain = drain.Limits{MaxSize: a.MaxDrainSize, MaxNumber: a.MaxDrains}
	if a.drain.MaxSize == 0 {
		a.drain.MaxSize = drain.DefaultMaxSize
	}
	if a.drain.MaxNumber == 0 {
		a.drain.MaxNumber = drain.DefaultMaxNumber
	}
	a.heads = headbudget.Budget{Memory: a.process.heads, Max: a.MaxHeads}
	if a.heads.Max == 0 {
		a.heads.Max = headbudget.DefaultLimit
	}
	switch {
	case a.heads.Max < headbudget.MinLimit || a.heads.Max > headbudget.MaxLimit:
		return fmt.Errorf("max_heads %d: want a size from 1MiB to 64GiB", a.MaxHeads)
	case a.drain.MaxSize < drain.LeastMaxSize || a.drain.MaxSize > drain.MostMaxSize:
		return fmt.Errorf("max_drain_size %d: want a size from 1MiB to 1TiB", a.MaxDrainSize)
	case a.drain.MaxNumber < 0:
		return fmt.Errorf("max_drains %d: want a number above zero", a.MaxDrains)
	}
	return nil
}
