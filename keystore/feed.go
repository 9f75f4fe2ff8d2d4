package keystore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

const (
	pollEvery = 100 * time.Millisecond // a change of another process must count within 250 ms
	pollLimit = 2 * time.Second        // the longest that one poll may take
	maxBehind = 10_000                 // a process that is behind by more changes drops all its cached records
)

// feedFollower applies to this process what other processes change. Its
// goroutine polls the database: it checks that the database is still the one
// that was opened, and reads the new entries of the change feed. It also takes
// the store down if the database is gone, and opens the database that takes its
// place.
type feedFollower struct {
	store *Store

	// until is when the cached records stop being trusted, on the monotonic clock.
	// Each poll that succeeds moves it on by Config.MaxStaleness.
	until atomic.Int64

	// Only the goroutine that polls uses these, and Open before it starts:
	seq    int64  // number of the last change that was applied
	failed bool   // the last poll failed, and the log says so
	lostID string // ID of the store that takeDown closed
}

// fresh reports whether cached records may be trusted at now.
func (f *feedFollower) fresh(now time.Duration) bool { return int64(now) < f.until.Load() }

// trust says that the cached records were up to date at now.
func (f *feedFollower) trust(now time.Duration) {
	f.until.Store(int64(now + f.store.cfg.MaxStaleness))
}

// poll checks the database, and applies the new changes of the feed.
func (f *feedFollower) poll(ctx context.Context) {
	s := f.store
	st := s.state.Load()
	if st.fault != nil {
		f.reopen(ctx, st)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pollLimit)
	defer cancel()
	now := s.mono() // before the read: what is read is at least as new
	switch err := st.db.Follow(ctx, func(q querier) error { return f.apply(ctx, st.db, q) }); {
	case err == nil:
		f.trust(now)
		f.log(nil)
	case engine.IsLost(err), isPepper(err):
		f.takeDown(context.WithoutCancel(ctx), st, err)
	case ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded):
		f.log(err)
	}
}

// log says when the feed becomes unreadable, and when it is readable again.
func (f *feedFollower) log(err error) {
	switch {
	case err != nil && !f.failed:
		f.store.log.Error("the keystore's change feed cannot be read; cached records are trusted a little longer",
			zap.Duration("max_staleness", f.store.cfg.MaxStaleness), zap.Error(err))
	case err == nil && f.failed:
		f.store.log.Info("the keystore's change feed can be read again")
	}
	f.failed = err != nil
}

// apply applies the changes that q has and this process has not seen.
func (f *feedFollower) apply(ctx context.Context, db *database, q querier) error {
	s := f.store
	changes, at, complete, err := readFeed(ctx, q, f.seq)
	if err != nil {
		return err
	}
	if at.storeID != db.id {
		return engine.ErrReplaced
	}
	if complete {
		s.apply(changes)
	} else {
		s.dropAll()
	}
	if !complete || slices.ContainsFunc(changes, func(c change) bool { return c.kind == changedStore }) {
		if _, err := s.readPepper(ctx, q); err != nil {
			return err
		}
	}
	f.seq = at.last
	return nil
}

// feedPosition is the state of a change feed.
type feedPosition struct {
	storeID string
	pruned  int64 // number of the last change that was pruned
	last    int64 // number of the last change
}

func readFeedPosition(ctx context.Context, q querier) (p feedPosition, err error) {
	var pruned string
	err = q.QueryRowContext(ctx, `SELECT
		(SELECT value FROM meta WHERE name = 'store_id'),
		(SELECT value FROM meta WHERE name = 'feed_pruned'),
		(SELECT COALESCE(MAX(seq), 0) FROM feed)`).Scan(&p.storeID, &pruned, &p.last)
	if err != nil {
		return p, err
	}
	if p.pruned, err = strconv.ParseInt(pruned, 10, 64); err != nil {
		return p, err
	}
	p.last = max(p.last, p.pruned)
	return p, nil
}

// readFeed returns the changes after number seq, and the position to continue from.
// complete is false if some of these changes were pruned, or there are more than
// maxBehind: then any record may have changed.
func readFeed(ctx context.Context, q querier, seq int64) (changes []change, p feedPosition, complete bool, err error) {
	if p, err = readFeedPosition(ctx, q); err != nil {
		return nil, p, false, err
	}
	switch {
	case seq == p.last:
		return nil, p, true, nil
	case seq < p.pruned, seq > p.last, p.last-seq > maxBehind:
		return nil, p, false, nil
	}
	changes, err = queryRows(ctx, q, func(row scanner) (c change, err error) {
		err = row.Scan(&c.kind, &c.ref)
		return c, err
	}, `SELECT kind, ref FROM feed WHERE seq > $1 AND seq <= $2 ORDER BY seq`, seq, p.last)
	return changes, p, true, err
}
