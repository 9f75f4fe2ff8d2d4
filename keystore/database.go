package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

// database is an open database.
type database struct {
	engine.Database

	reader *sql.DB             // its Reader
	lists  *sql.DB             // its Lists
	text   func(string) string // the engine's Text
	id     string              // the store's own ID
	older  bool                // it is the store that takeDown closed, and lacks changes of it
}

// state is the open database, or the reason why no database is open.
type state struct {
	db    *database
	fault error
}

// database returns the open database, for reads that bypass the caches.
func (s *Store) database() (*database, error) {
	st := s.state.Load()
	return st.db, st.fault
}

// openDatabase opens the database. If create is set, it creates a database that does not
// exist. While another process creates the database, or holds its lock, openDatabase
// tries again, up to lockWait.
func (s *Store) openDatabase(ctx context.Context, create bool) (*database, error) {
	for deadline := s.mono() + lockWait; ; {
		db, err := s.tryOpen(ctx, create)
		if err == nil {
			return db, nil
		}
		if s.engine.Full(err) && s.room.give() {
			continue
		}
		if again := s.engine.Busy(err) || errors.Is(err, engine.ErrReplaced); !again || s.mono() > deadline {
			if s.engine.Unreachable(err) {
				err = &unreachableError{err}
			}
			return nil, fault(s.explain(err))
		}
		select {
		case <-ctx.Done():
			return nil, fault(fmt.Errorf("keystore %s: opening: %w", s.cfg.name, ctx.Err()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// unreachableError is the error of a database that cannot be reached.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

func (s *Store) tryOpen(ctx context.Context, create bool) (*database, error) {
	db := new(database)
	var now time.Duration // when the position of the feed was read
	var clock policy.Time // the same instant
	var at feedPosition
	var mark feedRow // the row with the number of the last change
	f := s.feed
	opened, err := s.engine.Open(ctx, engine.Setup{
		Create: create,
		Migrated: func(ctx context.Context, conn engine.Conn, version int64) error {
			if version != chainVersion {
				return nil
			}
			return s.chainAudit(ctx, conn)
		},
		Prepare: func(ctx context.Context, opened engine.Database) error {
			db.Database, db.reader, db.lists, db.text = opened, opened.Reader(), opened.Lists(), s.engine.Text
			if err := s.settlePepper(ctx, db); err != nil {
				return err
			}
			if !s.cfg.CommandLine {
				// Another gateway that has the lock shows that the database can be written. It can have fallen silent.
				if err := s.tryWrite(ctx, db); err != nil && (s.cfg.Postgres == nil || !s.engine.Busy(err)) {
					return err
				}
			}
			// Note the position of the feed before anything is cached.
			now, clock = s.mono(), s.cfg.Clock()
			var err error
			if at, err = readFeedPosition(ctx, db.reader, f.seq); err != nil {
				return err
			}
			mark, err = readFeedRow(ctx, db.reader, at.last)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	db.Database, db.id = opened, at.storeID
	db.older = db.id == f.lostID && at.lacks(f.seq, f.mark)
	f.seq, f.mark = at.last, mark
	if !s.cfg.CommandLine {
		f.trust(now, clock)
	}
	return db, nil
}

// checkKnown returns an error if the tables are newer than this program. It is for what must not miss
// a table or a column.
func (s *Store) checkKnown(ctx context.Context, q querier) error {
	schema, err := s.engine.Schema(ctx, q)
	if err != nil {
		return err
	}
	return schema.CheckKnown()
}

// takeDown makes the store unavailable, because its database is lost, or is not
// for this program.
func (f *feedFollower) takeDown(ctx context.Context, st *state, why error) {
	s := f.store
	s.state.Store(&state{fault: fault(fmt.Errorf("keystore %s: %w", s.cfg.name, why))})
	f.stale.Store(true)
	s.dropAll()
	s.log.Error("the keystore is unavailable", zap.String("store_id", st.db.id), zap.Error(why))
	f.lostID = st.db.id
	st.db.Retire(ctx, why)
}

// reopen tries whether there is a valid database again.
func (f *feedFollower) reopen(ctx context.Context, st *state) {
	s := f.store
	db, err := s.openDatabase(ctx, false)
	if err != nil {
		if ctx.Err() == nil && err.Error() != st.fault.Error() {
			s.state.Store(&state{fault: err})
			s.log.Error("the keystore stays unavailable", zap.Error(err))
		}
		if disowns(err) {
			s.replica.distrust()
		}
		f.expire()
		f.noteStale() // a store that began with its replica has not been silent before
		return
	}
	s.replica.reopened(db)
	f.answered() // the failures were those of the database before
	s.outbox.belongs(db.id)
	s.state.Store(&state{db: db})
	s.watchers.notifyAll() // another process may have changed any record
	s.log.Warn("the keystore is available again",
		zap.String("store_id", db.id), zap.Bool("same_store", db.id == f.lostID))
	if db.older {
		f.warnOlder(db)
	}
	if err := s.logOpening(ctx, db, mostCounted); err != nil {
		s.log.Error("the keystore's records cannot be counted", zap.Error(err))
	}
}

// explain returns err with the path of the keystore in front, and with what an operator
// can do about it, if that is known. It returns an ErrUnavailable unchanged.
func (s *Store) explain(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err // it does so already
	}
	return fmt.Errorf("keystore %s: %w", s.cfg.name, s.engine.Advise(err))
}
