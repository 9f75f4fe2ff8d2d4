package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

// begin lets a store begin with its replica if opening the database has failed with err. It returns err if
// the store cannot.
func (r *replica) begin(ctx context.Context, err error) error {
	var away *unreachableError
	if r != nil && disowns(err) {
		r.discard(ctx)
	}
	if r == nil || !errors.As(err, &away) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit) // the database can have used up all the time
	defer cancel()
	if why := r.start(ctx); why != nil {
		return fmt.Errorf("%w; and the replica in %s cannot be used: %w", err, r.store.cfg.Postgres.Replica, why)
	}
	c := r.copied.Load()
	r.store.state.Store(&state{fault: err})
	r.store.outbox.belongs(c.storeID)
	r.store.feed.lostID = c.storeID
	r.store.feed.trust(c.at, c.clock) // the store falls silent like one that was at the database then
	r.serves(c, err)
	return nil
}

// resume lets lookups read the file as it is, if it is a copy of the database that was opened: the database can
// go away before the file has followed.
func (r *replica) resume(ctx context.Context, db *database) {
	if r != nil && r.start(ctx) == nil && !r.copied.Load().of(db) {
		r.discard(ctx)
	}
}

// reopened notes that a database was opened in the place of the one before, or of none.
func (r *replica) reopened(db *database) {
	if r == nil {
		return
	}
	if c := r.copied.Load(); c != nil && !c.of(db) {
		r.distrust()
	}
}

// of reports whether the copy is one of the database.
func (c *replicaCopy) of(db *database) bool { return c.storeID == db.id && c.timeline == db.Timeline() }

// disowns reports whether err says that the database has answered, and is not the store any more, or is not for this
// program.
func disowns(err error) bool { return engine.IsLost(err) || isPepper(err) }

// discard marks the file: no store begins with it until it is filled again. Another process can use the file for the
// right database at the same time. When that process writes its position, the mark is gone.
func (r *replica) discard(ctx context.Context) {
	r.copied.Store(nil)
	r.at.phase, r.at.timeline = fillAccounts, ""
	file := r.file.Load()
	if file == nil {
		return
	}
	tx, err := file.Begin(ctx, true)
	if err == nil {
		defer func() { _ = tx.Rollback() }() // does nothing after the commit
		_, err = tx.ExecContext(ctx, `UPDATE position SET phase = $1, timeline = ''`, fillAccounts)
	}
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		r.store.log.Error("the replica cannot be discarded: remove its directory", zap.String("replica", r.store.cfg.Postgres.Replica), zap.Error(file.Advise(err)))
	}
}

// note notes changes that were applied to the cache, and returns their number.
func (r *replica) note(changes []change) replicaNewsNote {
	if r == nil || len(changes) == 0 {
		return 0
	}
	return r.news.add(changes)
}

// distrust notes that any record may have changed. Until the file has followed, nothing is read from it.
func (r *replica) distrust() {
	if r == nil {
		return
	}
	r.news.add(nil)
	r.rouse()
}

// lastNews returns the number of the last changes that were noted.
func (r *replica) lastNews() replicaNewsNote {
	if r == nil {
		return 0
	}
	return r.news.last()
}

// key looks a key up that the database could not be asked for, because of err. It returns err if the file
// cannot say: a key that it lacks may be a new one.
func (r *replica) key(ctx context.Context, d digest, err error) (Record, error) {
	return fromReplica(r, d, err, func(db *database) (Record, Record, error) {
		record, err := readRecord(context.WithoutCancel(ctx), db, d)
		return record, record, err
	})
}

// token does what key does, for a token.
func (r *replica) token(ctx context.Context, d digest, backend string, err error) (foundToken, error) {
	packed, err := fromReplica(r, d, err, func(db *database) (packedToken, Record, error) {
		packed, err := readToken(context.WithoutCancel(ctx), db, d, backend)
		return packed, Record{}, err
	})
	if err != nil {
		return foundToken{}, err
	}
	return packed.token(), nil
}

// job does what key does, for a job.
func (r *replica) job(ctx context.Context, d digest, accountID, backend, id string, err error) (policy.Job, error) {
	return fromReplica(r, d, err, func(db *database) (policy.Job, Record, error) {
		j, err := scanFoundJob(db.reader.QueryRowContext(context.WithoutCancel(ctx), jobByName, backend, id))
		if err == nil && accountID != "" && j.AccountID != accountID {
			err = ErrNotFound
		}
		return j, Record{}, err
	})
}

// fromReplica reads what the file has of the digest d, in the place of the database, which could not be asked because
// of err. read also returns the record of a key, if it has read one. fromReplica returns err if the file cannot say. It
// reads again if news were forgotten meanwhile: what was read can be older than these.
func fromReplica[V any](r *replica, d digest, err error, read func(*database) (V, Record, error)) (V, error) {
	var none V
	for range lookupTries {
		db, c := r.insteadOf(err)
		if db == nil {
			return none, err
		}
		generation := r.news.generation()
		v, record, failed := read(db)
		if r.store.loaded != nil {
			r.store.loaded()
		}
		concerned := r.news.concern(d, &record)
		if r.news.generation() != generation {
			continue
		}
		if failed != nil || concerned {
			return none, err
		}
		r.serves(c, err)
		return v, nil
	}
	return none, err
}

// insteadOf returns the file as a database, if it may be read because the database could not be asked.
func (r *replica) insteadOf(err error) (*database, *replicaCopy) {
	if r == nil || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrClosed) || r.store.engine.Refused(err) {
		return nil, nil
	}
	return r.readable()
}

// serves notes that a record came from the file, and logs the first one.
func (r *replica) serves(c *replicaCopy, why error) {
	if !r.serving() && r.served.CompareAndSwap(0, int64(r.store.mono())+1) {
		r.store.log.Warn("the database cannot be asked: records come from the replica",
			zap.Stringer("copy_of", c.clock), zap.Stringer("until", c.clock.Add(r.store.cfg.MaxStaleness)), zap.String("store_id", c.storeID), zap.Error(why))
	}
}

// serving reports whether lookups read the file.
func (r *replica) serving() bool { return r.served.Load() > 0 }

// ended notes that the database was asked at an instant of the monotonic clock, and has answered. An answer from
// before the lookups began to read the file says nothing.
func (r *replica) ended(asked time.Duration) {
	if since := r.served.Load(); since > 0 && int64(asked) >= since && r.served.CompareAndSwap(since, 0) {
		r.store.log.Warn("the database can be asked again: no records come from the replica any more")
	}
}

// readsReplica reports whether records can be read from the replica while the database is away: the replica is
// complete, not older than Config.MaxStaleness, and lacks no change that concerns all records.
func (s *Store) readsReplica() bool {
	db, _ := s.replica.readable()
	return db != nil && !s.replica.news.concernsAll()
}

// ServesFromReplica reports whether records come from the replica, because the database is away: see
// [Postgres.Replica].
func (s *Store) ServesFromReplica() bool {
	return s.readsReplica() && s.replica.serving()
}

// cannotBeAsked reports whether err comes from a database that does not answer. A database that refuses something
// does answer.
func (s *Store) cannotBeAsked(err error) bool {
	if s.feed.refused.Load() || s.engine.Refused(err) {
		return false
	}
	var away *unreachableError
	return s.away() != nil || errors.As(err, &away) || s.engine.Unreachable(err)
}

// storeID returns the ID of the store whose copy the file is, if the file may be read in the place of the
// database, which could not be asked because of err. Otherwise it returns err.
func (r *replica) storeID(err error) (string, error) {
	db, c := r.insteadOf(err)
	if db == nil || !r.store.cannotBeAsked(err) || r.news.concernsAll() {
		return "", err
	}
	return c.storeID, nil
}
