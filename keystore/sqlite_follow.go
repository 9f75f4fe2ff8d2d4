package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
)

// pollLimit bounds one look at the change feed.
const pollLimit = 2 * time.Second

// poll looks once whether the file is still in its place and what other
// processes changed in it.
func (s *Store) poll(ctx context.Context) {
	st := s.state.Load()
	if st.fault != nil {
		s.reopen(ctx, st)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pollLimit)
	defer cancel()
	now := s.mono() // what is read from here on is at least as new
	switch err := s.follow(ctx, st.db); {
	case err == nil:
		st.db.freshUntil.Store(int64(now + s.cfg.MaxStaleness))
		s.noteFeed(nil)
	case errors.Is(err, errGone), errors.Is(err, errReplaced), errors.Is(err, errOverwritten), isPepper(err):
		s.takeDown(context.WithoutCancel(ctx), st, err)
	case ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded):
		s.noteFeed(err)
	}
}

// noteFeed logs when the feed becomes unreadable, and readable again.
func (s *Store) noteFeed(err error) {
	switch {
	case err != nil && !s.feedLost:
		s.log.Error("the keystore's change feed cannot be read; cached records are trusted a little longer",
			zap.Duration("max_staleness", s.cfg.MaxStaleness), zap.Error(err))
	case err == nil && s.feedLost:
		s.log.Info("the keystore's change feed can be read again")
	}
	s.feedLost = err != nil
}

// follow applies what other processes changed.
func (s *Store) follow(ctx context.Context, db *database) error {
	if err := db.checkPlace(); err != nil {
		return err
	}
	file, err := db.look(ctx)
	if err != nil {
		return err
	}
	if err := db.checkBytes(ctx, file); err != nil {
		return err
	}
	if file.version == db.version {
		return nil
	}
	changes, f, complete, err := readFeed(ctx, db.tail, db.seen)
	if err != nil {
		return err
	}
	if f.storeID != db.id {
		return errReplaced
	}
	if complete {
		db.apply(changes)
	} else {
		db.dropCaches()
	}
	if !complete || slices.ContainsFunc(changes, func(c change) bool { return c.kind == changedStore }) {
		if _, err := s.readPepper(ctx, db.tail); err != nil {
			return err
		}
	}
	db.version, db.seen = file.version, f.last
	return nil
}

func isPepper(err error) bool {
	return errors.Is(err, errPepperMissing) || errors.Is(err, errPepperWrong) || errors.Is(err, errPepperNew)
}

// takeDown makes the store unavailable, because its file is no longer the one
// that was opened.
func (s *Store) takeDown(ctx context.Context, st *state, why error) {
	next := &state{fault: fault(fmt.Errorf("keystore %s: %w", s.cfg.Path, why))}
	s.state.Store(next)
	st.db.dropCaches()
	s.log.Error("the keystore is unavailable", zap.String("store_id", st.db.id), zap.Error(why))
	s.lastID = st.db.id
	if errors.Is(why, errOverwritten) {
		s.ruined = st.db // kept open: closing it would write to the file
		return
	}
	st.db.retire(ctx)
}

// reopen tries whether there is a valid store again.
func (s *Store) reopen(ctx context.Context, st *state) {
	if s.ruined != nil {
		if s.ruined.checkPlace() == nil {
			return // the same file still, and of no use
		}
		s.ruined.removeAside()
		s.ruined = nil
	}
	db, err := s.openDatabase(ctx, false)
	if err != nil {
		if ctx.Err() == nil && err.Error() != st.fault.Error() {
			s.state.Store(&state{fault: err})
			s.log.Error("the keystore stays unavailable", zap.Error(err))
		}
		return
	}
	s.state.Store(&state{db: db})
	s.watchers.tellIf(nil) // of what was changed elsewhere
	s.log.Warn("the keystore is available again",
		zap.String("store_id", db.id), zap.Bool("same_store", db.id == s.lastID))
	if err := s.logOpening(ctx, db); err != nil {
		s.log.Error("the keystore's records cannot be counted", zap.Error(err))
	}
}

// retire closes a database whose file has left its place.
func (d *database) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pollLimit)
	defer cancel()
	// What stands in the -wal file goes home into the old file, wherever that
	// is now. Left behind, it would be taken for the new file's.
	_, _ = d.writer.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	_ = d.close() // nobody could do anything about it
	d.removeAside()
}

// removeAside removes SQLite's files beside the database that belong to this
// one, and would be taken for those of the next.
func (d *database) removeAside() {
	for _, suffix := range []string{"-wal", "-shm"} {
		fi, err := os.Stat(d.path + suffix)
		if err == nil && slices.ContainsFunc(d.aside, func(old os.FileInfo) bool { return os.SameFile(old, fi) }) {
			_ = os.Remove(d.path + suffix) // SQLite copes with an empty one
		}
	}
}
