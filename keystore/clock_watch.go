package keystore

import (
	"context"
	"database/sql"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

const (
	// clockLeap is how far the clock has to leap before those who wait for an
	// instant are told.
	clockLeap = 50 * time.Millisecond
	// clockSlack is by how much clocks may differ before the operator is told:
	// those of two machines that share a disk do, a little.
	clockSlack = 2 * time.Second
)

// Behind returns by how much the clock was behind the newest time in the store
// when the store was opened; zero where it was not. What was written at a later
// time does not count yet: such keys are unknown until the clock gets there.
func (s *Store) Behind() time.Duration { return s.behind }

// checkClock compares the clock with what was written in the past.
func (s *Store) checkClock(ctx context.Context, db *database) {
	now := s.cfg.Clock()
	newest, err := newestTime(ctx, db.reader)
	if err != nil {
		s.log.Warn("the clock cannot be compared with the keystore's newest time", zap.Error(err))
		return
	}
	behind := time.Duration(newest-now) * time.Millisecond
	if behind <= clockSlack {
		return
	}
	s.behind = behind
	s.log.Warn("this machine's clock is behind the keystore: keys that were issued at a later time count as unknown until then; set the clock",
		zap.Stringer("clock", now), zap.Stringer("newest_in_keystore", newest), zap.Duration("behind", behind))
}

// newestTime finds by an index when something was written last: every change
// except a new job is in the audit trail or the feed.
func newestTime(ctx context.Context, db *sql.DB) (newest policy.Time, err error) {
	err = db.QueryRowContext(ctx, `SELECT MAX(
		COALESCE((SELECT at FROM audit ORDER BY seq DESC LIMIT 1), 0),
		COALESCE((SELECT MAX(created_at) FROM jobs), 0),
		COALESCE((SELECT at FROM feed ORDER BY seq DESC LIMIT 1), 0))`).Scan(&newest)
	return newest, err
}

// clockWatch is what watchClock saw last.
type clockWatch struct {
	lead  time.Duration // of the clock, before the monotonic one; what watchClock saw last
	known bool
	ahead bool // of the wall clock
}

// watchClock looks whether the clock has leapt, because the wall clock was set
// forward or the machine was suspended: timers have not, and whoever waits for an
// instant has to look again. It tells the operator when the process is ahead of
// the wall clock.
func (s *Store) watchClock(context.Context) {
	w := &s.clock
	now := s.cfg.Clock()
	lead := time.Duration(now)*time.Millisecond - s.mono()
	if w.known && lead > w.lead+clockLeap {
		s.log.Info("the clock leapt forward", zap.Stringer("now", now), zap.Duration("by", lead-w.lead))
		s.watchers.tellIf(nil)
	}
	w.lead, w.known = lead, true
	if s.cfg.Ahead == nil {
		return
	}
	switch by := s.cfg.Ahead(); {
	case by > clockSlack && !w.ahead:
		w.ahead = true
		s.log.Warn("the wall clock was set back: this process goes on from where it was, so that no expired key is good again; "+
			"if the wall clock is right now, restart the process to go by it",
			zap.Stringer("now", now), zap.Stringer("wall_clock", now.Add(-by)), zap.Duration("ahead", by))
	case by <= clockSlack && w.ahead:
		w.ahead = false
		s.log.Info("the wall clock has caught up with this process", zap.Stringer("now", now))
	}
}
