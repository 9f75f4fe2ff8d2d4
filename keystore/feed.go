package keystore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

const (
	pollLimit  = 2 * time.Second        // the longest that one poll may take
	wakePause  = 25 * time.Millisecond  // the shortest time between two polls, however often the database wakes
	retryEvery = 100 * time.Millisecond // between two tries to read a feed that cannot be read, at first
	retryLimit = time.Second            // and at last
)

// maxBehind returns the number of changes by which a process may be behind. If it is behind by
// more, it drops all its cached records: to read them again from a file is as fast as to read the
// changes. A database on another machine would get too many queries at once.
func (s *Store) maxBehind() int64 {
	if s.cfg.Postgres != nil {
		return 1_000_000
	}
	return 10_000
}

// feedFollower applies to this process what other processes change. Its
// goroutine, run, polls the database: it checks that the database is still the one
// that was opened, and reads the new entries of the change feed. It also takes
// the store down if the database is gone, and opens the database that takes its
// place.
type feedFollower struct {
	store *Store

	// until is when the cached records stop being trusted, on the monotonic clock.
	// Each poll that succeeds moves it on by Config.MaxStaleness.
	until atomic.Int64
	// heard is the same instant as until, but on Config.Clock, and before Config.MaxStaleness: the monotonic clock stands
	// while the machine is suspended.
	heard atomic.Int64

	// Only the goroutine that polls uses these, and Open before it starts:
	seq    int64           // number of the last change that was applied
	mark   feedRow         // the row with this number
	noted  replicaNewsNote // what the replica noted of the changes of the last poll
	lostID string          // ID of the store that takeDown closed

	stale    atomic.Bool  // the watchers were notified that the cached records are not trusted
	failures atomic.Int32 // polls that have failed, since the last one that has not
	refused  atomic.Bool  // one of them was refused: see [engine.Engine.Refused]
}

// fresh reports whether cached records may be trusted at now.
func (f *feedFollower) fresh(now time.Duration) bool { return int64(now) < f.until.Load() }

// trust says that the cached records were up to date at now, which was clock on Config.Clock.
func (f *feedFollower) trust(now time.Duration, clock policy.Time) {
	f.heard.Store(int64(clock))
	f.until.Store(int64(now + f.store.cfg.MaxStaleness))
	f.expire()
}

// expire ends the trust in the cached records if Config.Clock says that they are too old. Their age is then the one
// by this clock.
func (f *feedFollower) expire() {
	s := f.store
	if age := elapsed(policy.Time(f.heard.Load()), s.cfg.Clock()); age >= s.cfg.MaxStaleness {
		f.until.Store(min(f.until.Load(), int64(s.mono()+s.cfg.MaxStaleness-age)))
	}
}

// run polls until ctx ends: in the period of the engine, and when the database wakes. While the
// polls fail, or the database is gone, it tries less and less often, at times of its own: the processes
// do not all come at once when the database is back.
func (f *feedFollower) run(ctx context.Context) {
	retry := retryEvery
	for {
		var wake <-chan struct{}
		st := f.store.state.Load()
		if st.fault == nil {
			wake = st.db.Wake()
		}
		wait := retry/2 + f.store.cfg.random(retry/2)
		if st.fault == nil && f.failures.Load() == 0 {
			wait, retry = st.db.Period(), retryEvery
		} else {
			retry = min(2*retry, retryLimit)
		}
		period := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			period.Stop()
			return
		case <-period.C:
		case <-wake:
			period.Stop()
			select {
			case <-ctx.Done():
				return
			case <-time.After(wakePause):
			}
		}
		f.poll(ctx)
	}
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
	f.expire()
	now, clock, news := s.mono(), s.cfg.Clock(), s.replica.lastNews() // before the read: what is read is at least as new
	f.noted = 0
	switch err := st.db.Follow(ctx, func(q querier, undone bool) error { return f.apply(ctx, st.db, q, undone) }); {
	case err == nil:
		f.trust(now, clock)
		f.noteFresh()
		f.log(nil)
		s.replica.hear(replicaWord{st.db, now, clock, f.seq, f.mark, st.db.Timeline(), news, f.noted})
	case disowns(err):
		f.takeDown(context.WithoutCancel(ctx), st, err)
	case ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded):
		f.log(err)
		f.noteStale()
	}
}

// noteStale notifies all watchers, once, when the cached records are not trusted any more: a key of theirs
// may have ended, and nobody would tell them.
func (f *feedFollower) noteStale() {
	if !f.fresh(f.store.mono()) && f.stale.CompareAndSwap(false, true) {
		f.store.watchers.notifyAll()
	}
}

// noteFresh notifies all watchers when the cached records are trusted again. A watcher that was notified of a
// change just before has found that they were not.
func (f *feedFollower) noteFresh() {
	if f.stale.CompareAndSwap(true, false) {
		f.store.watchers.notifyAll()
	}
}

// log says when the feed becomes unreadable, and when it is readable again.
func (f *feedFollower) log(err error) {
	switch {
	case err != nil && f.failures.Load() == 0:
		f.store.log.Error("the keystore's change feed cannot be read; cached records are trusted a little longer",
			zap.Duration("max_staleness", f.store.cfg.MaxStaleness), zap.Error(err))
	case err == nil && f.failures.Load() > 0:
		f.store.log.Info("the keystore's change feed can be read again")
	}
	if err == nil {
		f.answered()
		return
	}
	if f.store.engine.Refused(err) && !f.refused.Swap(true) && f.store.replica != nil {
		f.store.log.Error("the database refuses this gateway: no records come from the replica, and no jobs are recorded at this site, until the change feed can be read again", zap.Error(err))
	}
	f.failures.Add(1)
}

// answered notes that the database can be read.
func (f *feedFollower) answered() {
	f.failures.Store(0)
	f.refused.Store(false)
}

// apply applies the changes that q has and this process has not seen. If changes may have been undone,
// it drops all records: a record can be newer than the last change that was applied.
func (f *feedFollower) apply(ctx context.Context, db *database, q querier, undone bool) error {
	s := f.store
	changes, at, complete, err := readFeed(ctx, q, f.seq, f.mark, s.maxBehind())
	if err != nil {
		return err
	}
	if at.storeID != db.id {
		return engine.ErrReplaced
	}
	if err := engine.CheckCompatible(at.compatible); err != nil {
		return err
	}
	older := at.lacks(f.seq, f.mark)
	if undone {
		changes, complete = nil, false
	}
	if complete {
		f.noted = s.apply(changes)
	} else {
		s.dropAll()
	}
	if !complete || slices.ContainsFunc(changes, func(c change) bool { return c.kind == changedStore }) {
		if _, err := s.readPepper(ctx, q); err != nil {
			return err
		}
	}
	mark := f.mark
	if len(changes) > 0 {
		mark = changes[len(changes)-1].row()
	} else if !complete {
		if mark, err = readFeedRow(ctx, q, at.last); err != nil {
			return err
		}
	}
	f.seq, f.mark = at.last, mark
	switch {
	case older:
		f.warnOlder(db)
	case undone:
		s.log.Warn("the database has another history than before, such as after a promotion of a standby: cached records are dropped; if the promotion has lost changes, repeat the revocations of the last minutes",
			zap.String("store_id", db.id))
	}
	return nil
}

// warnOlder logs that db lacks changes that this process has seen.
func (f *feedFollower) warnOlder(db *database) {
	f.store.log.Warn("the keystore lacks changes that this gateway has seen, such as after an older state of it was put back: cached records are dropped; keys that were revoked since that state are valid again: repeat the revocations",
		zap.String("store_id", db.id))
}

// feedRow identifies a row of the feed among others with the same number. After a failover to a
// standby that lacks the last changes of the primary, a number is given out again.
type feedRow struct {
	at   policy.Time
	kind string
	ref  string
}

func (c change) row() feedRow { return feedRow{c.at, c.kind, string(c.ref)} }

// readFeedRow returns the row with a number; the zero value if the feed has no such row.
func readFeedRow(ctx context.Context, q querier, seq int64) (feedRow, error) {
	var c change
	err := q.QueryRowContext(ctx, `SELECT at, kind, ref FROM feed WHERE seq = $1`, seq).Scan(&c.at, &c.kind, &c.ref)
	if errors.Is(err, sql.ErrNoRows) {
		return feedRow{}, nil
	}
	return c.row(), err
}

// feedPosition is the state of a change feed.
type feedPosition struct {
	storeID    string
	compatible int64   // the oldest version of programs that work with the tables; 0 if the tables do not say
	pruned     int64   // number of the last change that was pruned
	last       int64   // number of the last change
	mark       feedRow // the row with the number that was asked for; the zero value if the feed has no such row
	numbers    []int64 // of the changes that were read
}

// readFeedPosition returns the state of the feed, and the row with number seq.
func readFeedPosition(ctx context.Context, q querier, seq int64) (p feedPosition, err error) {
	var pruned string
	var c change
	err = q.QueryRowContext(ctx, `SELECT
		(SELECT value FROM meta WHERE name = 'store_id'),
		(`+engine.ReadCompatible+`),
		(SELECT value FROM meta WHERE name = 'feed_pruned'),
		(SELECT COALESCE(MAX(seq), 0) FROM feed),
		COALESCE((SELECT at FROM feed WHERE seq = $1), 0),
		COALESCE((SELECT kind FROM feed WHERE seq = $1), ''),
		(SELECT ref FROM feed WHERE seq = $1)`, seq).Scan(&p.storeID, &p.compatible, &pruned, &p.last, &c.at, &c.kind, &c.ref)
	p.mark = c.row()
	if err != nil {
		return p, err
	}
	if p.pruned, err = strconv.ParseInt(pruned, 10, 64); err != nil {
		return p, err
	}
	p.last = max(p.last, p.pruned)
	return p, nil
}

// lacks reports whether the feed lacks the change that this process has seen with number seq, whose row was
// mark: it is that of an older state of the database. p was read with seq. That a change was pruned tells nothing.
func (p *feedPosition) lacks(seq int64, mark feedRow) bool {
	return seq > p.last || p.mark != mark && (seq > p.pruned || p.mark != feedRow{})
}

// readFeed returns the changes after number seq, and the position to continue from.
// complete is false if some of these changes were pruned, if there are more than most, or if
// the row with number seq is not mark: then any record may have changed.
func readFeed(ctx context.Context, q querier, seq int64, mark feedRow, most int64) (changes []change, p feedPosition, complete bool, err error) {
	if p, err = readFeedPosition(ctx, q, seq); err != nil {
		return nil, p, false, err
	}
	switch {
	case seq == p.last && seq == p.pruned: // no change since a version that has pruned all entries
		return nil, p, true, nil
	case seq < p.pruned, seq > p.last, p.last-seq > most, p.mark != mark:
		return nil, p, false, nil
	case seq == p.last:
		return nil, p, true, nil
	}
	// A pruning may come between the two queries. So the second one also reads what was pruned.
	var pruned string
	changes, err = queryRows(ctx, q, func(row scanner) (c change, err error) {
		var seq int64
		err = row.Scan(&seq, &c.at, &c.kind, &c.ref, &pruned)
		p.numbers = append(p.numbers, seq)
		return c, err
	}, `SELECT seq, at, kind, ref, (SELECT value FROM meta WHERE name = 'feed_pruned')
		FROM feed WHERE seq > $1 AND seq <= $2 ORDER BY seq`, seq, p.last)
	if err != nil || len(changes) == 0 {
		return nil, p, false, err
	}
	if p.pruned, err = strconv.ParseInt(pruned, 10, 64); err != nil || seq < p.pruned {
		return nil, p, false, err
	}
	return changes, p, true, nil
}
