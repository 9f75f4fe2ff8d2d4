package app

import (
	"cmp"
	"fmt"
	"time"

	"github.com/speechgate/speechgate/internal/drain"
	"github.com/speechgate/speechgate/internal/headbudget"
	"github.com/speechgate/speechgate/keystore"
)

// Limits of the options of the app.
const (
	leastStaleness = time.Second
	mostStaleness  = 24 * time.Hour
	leastRetention = time.Hour
	mostRetention  = 36500 * 24 * time.Hour
	mostDrains     = 1_000_000

	// defaultStreamStaleness is longer than most failovers of a database take.
	defaultStreamStaleness = time.Minute
)

// staleness returns max_staleness, or its default.
func (a *App) staleness() time.Duration {
	return cmp.Or(time.Duration(a.MaxStaleness), keystore.DefaultMaxStaleness)
}

// StreamStaleness returns how long a live stream goes on while the keystore cannot be read.
func (a *App) StreamStaleness() time.Duration {
	return cmp.Or(time.Duration(a.MaxStreamStaleness), max(defaultStreamStaleness, a.staleness()))
}

// validateStreamStaleness checks max_stream_staleness.
func (a *App) validateStreamStaleness() error {
	longest := time.Duration(a.MaxStreamStaleness)
	if longest != 0 && (longest < a.staleness() || longest > mostStaleness) {
		return fmt.Errorf("max_stream_staleness %s: want a duration such as 1m, from max_staleness, which is %s, to 24h", longest, a.staleness())
	}
	return nil
}

// provisionLimits sets and checks the limits of the whole process on requests without a
// valid key: how much of refused uploads is read, and the memory of heads.
func (a *App) provisionLimits() error {
	a.drains = drain.Limits{MaxSize: a.MaxDrainSize, MaxNumber: a.MaxDrains}
	if a.drains.MaxSize == 0 {
		a.drains.MaxSize = drain.DefaultMaxSize
	}
	if a.drains.MaxNumber == 0 {
		a.drains.MaxNumber = drain.DefaultMaxNumber
	}
	a.heads = headbudget.Budget{Memory: a.process.heads, Max: a.MaxHeads}
	if a.heads.Max == 0 {
		a.heads.Max = headbudget.DefaultLimit
	}
	switch {
	case a.heads.Max < headbudget.MinLimit || a.heads.Max > headbudget.MaxLimit:
		return fmt.Errorf("max_heads %d: want a size from 1MiB to 64GiB", a.MaxHeads)
	case a.drains.MaxSize < drain.MinMaxSize || a.drains.MaxSize > drain.MaxMaxSize:
		return fmt.Errorf("max_drain_size %d: want a size from 1MiB to 1TiB", a.MaxDrainSize)
	case a.drains.MaxNumber < 0 || a.drains.MaxNumber > mostDrains:
		return fmt.Errorf("max_drains %d: want a number from 1 to %d", a.MaxDrains, mostDrains)
	}
	return nil
}
