package keystore

import (
	"context"
	"database/sql"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/sqlite"
)

// replicaJobPage is how many jobs of the file are read again at a time.
const replicaJobPage = 256

// refill begins to fill the file from its first row on. The position of the feed is noted before any record is read. The jobs of
// the file stay, and are read again at the end: the database is not asked for all jobs.
func (r *replica) refill(ctx context.Context, file *sqlite.Replica, w *replicaWord) error {
	r.copied.Store(nil)
	now, clock := r.store.mono(), r.store.cfg.Clock()
	p, err := readFeedPosition(ctx, w.db.lists, r.at.seq)
	if err != nil {
		return err
	}
	mark, err := readFeedRow(ctx, w.db.lists, p.last)
	if err != nil {
		return err
	}
	if p.storeID != w.db.id {
		return engine.ErrReplaced
	}
	at := replicaPosition{storeID: p.storeID, place: r.store.cfg.name, compatible: p.compatible, timeline: w.timeline, seq: p.last, mark: mark, owner: r.owner}
	if r.store.hash.peppered() {
		at.pepper = r.store.hash.check(p.storeID)
	}
	r.setAge(&at, now, clock)
	switch {
	case r.at.storeID == "":
		r.store.log.Info("the replica is being filled", zap.String("store_id", p.storeID))
	case p.lacks(r.at.seq, r.at.mark):
		r.store.log.Warn("the replica is being filled again: the keystore lacks changes that the replica has, such as after an older state of the keystore was put back; keys that were revoked since that state are valid again: repeat the revocations", zap.String("store_id", p.storeID))
	default:
		r.store.log.Warn("the replica is being filled again: it has missed changes, or changes were undone", zap.String("store_id", p.storeID))
	}
	return r.inFile(ctx, file, false, &at, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM accounts; DELETE FROM api_keys; DELETE FROM tokens`)
		return err
	})
}

// fill copies the next page. After the last page, the file is the copy c.
func (r *replica) fill(ctx context.Context, file *sqlite.Replica, db *database, c replicaCopy) error {
	var err error
	switch r.at.phase {
	case fillAccounts:
		err = r.fillAccounts(ctx, file, db)
	case fillKeys:
		var last bool
		if last, err = r.fillKeys(ctx, file, db); err == nil && last {
			err = r.nextPhase(ctx, file)
		}
	case fillJobs:
		if err = r.fillJobs(ctx, file, db); err == nil && r.at.phase == filled {
			r.copied.Store(&c)
			err = r.count(ctx, file)
			r.store.log.Info("the replica is complete", zap.Int64("keys", r.keys.Load()))
		}
	}
	return err
}

func (r *replica) nextPhase(ctx context.Context, file *sqlite.Replica) error {
	at := r.at
	at.phase++
	return r.inFile(ctx, file, at.phase == filled, &at, func(*sql.Tx) error { return nil })
}

func (r *replica) fillAccounts(ctx context.Context, file *sqlite.Replica, db *database) error {
	accounts, err := queryRows(ctx, db.lists, rawScan(replicaAccountParameters), accountPage, r.at.account, replicaPage)
	if err != nil {
		return err
	}
	at := r.at
	if len(accounts) < replicaPage {
		at.phase = fillKeys
	}
	if len(accounts) > 0 {
		at.account = accounts[len(accounts)-1].text(0)
	}
	rows := replicaRows{accounts: accounts}
	return r.inFile(ctx, file, false, &at, func(tx *sql.Tx) error { return rows.write(ctx, tx) })
}

// fillKeys copies the next page of keys, and reports whether it is the last one.
func (r *replica) fillKeys(ctx context.Context, file *sqlite.Replica, db *database) (last bool, err error) {
	at := r.at
	var end, found int64
	if err := db.lists.QueryRowContext(ctx, keyWindow, at.keyRow, replicaPage).Scan(&end, &found); err != nil {
		return false, err
	}
	if found == 0 {
		return true, nil
	}
	keys, err := queryRows(ctx, db.lists, rawScan(replicaKeyParameters), keyPage, at.keyRow, end, r.store.cfg.Clock().Add(-endedKept))
	if err != nil {
		return false, err
	}
	at.keyRow = end
	rows := replicaRows{keys: keys}
	err = r.inFile(ctx, file, false, &at, func(tx *sql.Tx) error { return rows.write(ctx, tx) })
	return found < replicaPage, err
}

// fillTail copies the keys that were added since the last page, such as by an import.
func (r *replica) fillTail(ctx context.Context, file *sqlite.Replica, db *database) error {
	for {
		begun := time.Now()
		last, err := r.fillKeys(ctx, file, db)
		if err != nil || last {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Since(begun)):
		}
	}
}

// fillJobs reads the next page of the file's jobs again.
func (r *replica) fillJobs(ctx context.Context, file *sqlite.Replica, db *database) error {
	at := r.at
	var names []replicaJobName
	old, jobs, err := readJobsAgain(ctx, db, file, nil, func(q querier) (_ []replicaJobName, err error) {
		names, err = queryRows(ctx, q, scanReplicaJobName, `SELECT digest, id FROM jobs WHERE digest > $1 ORDER BY digest LIMIT $2`, notNil(at.jobDigest), replicaJobPage)
		return names, err
	})
	if err != nil {
		return err
	}
	if len(names) < replicaJobPage {
		at.phase = filled
	} else {
		at.jobDigest = names[len(names)-1].digest
	}
	rows := replicaRows{replacedJobs: old, jobs: jobs}
	return r.inFile(ctx, file, at.phase == filled, &at, func(tx *sql.Tx) error { return rows.write(ctx, tx) })
}
