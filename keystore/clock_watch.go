package keystore

import (
	"context"
	"database/sql"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

const (
	// clockLeap is the shortest leap of the clock that notifies watchers.
	clockLeap = 50 * time.Millisecond

	clockEvery = 100 * time.Millisecond // between two checks
	// clockSlack is how much two clocks may differ before the log warns the operator.
	// The clocks of two machines that share a disk always differ a little.
	clockSlack = 2 * time.Second
)

// Behind returns how far the clock was behind the newest time in the store when
// the store was opened. It returns zero if the clock was not behind. Keys that were
// issued at a later time count as unknown until the clock reaches that time.
func (s *Store) Behind() time.Duration { return s.behind }

// checkClock compares the clock with the newest time in the store. If the clock is
// behind by more than clockSlack, checkClock sets s.behind and warns in the log.
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

// newestTime returns the newest time at which anything was written. It uses indexes.
// Every change except a new job is in the audit trail or the feed.
func newestTime(ctx context.Context, db *sql.DB) (newest policy.Time, err error) {
	var audit, job, feed policy.Time
	err = db.QueryRowContext(ctx, `SELECT
		COALESCE((SELECT at FROM audit ORDER BY seq DESC LIMIT 1), 0),
		COALESCE((SELECT MAX(created_at) FROM jobs), 0),
		COALESCE((SELECT at FROM feed ORDER BY seq DESC LIMIT 1), 0)`).Scan(&audit, &job, &feed)
	return max(audit, job, feed), err
}

// clockWatch finds leaps of the process's clock. Only the goroutine that calls check uses
// its state.
type clockWatch struct {
	clock func() policy.Time
	ahead func() time.Duration // of the wall clock; may be nil
	mono  func() time.Duration
	log   *zap.Logger
	leapt func() // called when the clock has leapt forward

	checked bool          // check has run before
	offset  time.Duration // the clock minus the monotonic clock, at the last check
	isAhead bool          // the log says that the process is ahead of the wall clock
}

// check finds out whether the clock has leapt forward, because the wall clock was set or
// the machine was suspended. Timers do not leap, so a goroutine that waits for an instant
// must read the clock again. check also tells the operator when the process is ahead of
// the wall clock.
func (w *clockWatch) check() {
	now := w.clock()
	offset := time.Duration(now)*time.Millisecond - w.mono()
	if w.checked && offset > w.offset+clockLeap {
		w.log.Info("the clock leapt forward", zap.Stringer("now", now), zap.Duration("by", offset-w.offset))
		w.leapt()
	}
	w.offset, w.checked = offset, true
	if w.ahead == nil {
		return
	}
	switch by := w.ahead(); {
	case by > clockSlack && !w.isAhead:
		w.isAhead = true
		w.log.Warn("the wall clock was set back: this process goes on from where it was, so that no expired key is good again; "+
			"if the wall clock is right now, restart the process to go by it",
			zap.Stringer("now", now), zap.Stringer("wall_clock", now.Add(-by)), zap.Duration("ahead", by))
	case by <= clockSlack && w.isAhead:
		w.isAhead = false
		w.log.Info("the wall clock has caught up with this process", zap.Stringer("now", now))
	}
}
