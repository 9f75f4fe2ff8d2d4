package keystore

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// Summary describes a store.
type Summary struct {
	ID       string // the store's own ID, which stays the same when the file is moved
	Accounts int    // number of accounts, with the closed ones
	Keys     int    // number of keys, with the ended ones
	Pepper   bool   // the store has a pepper
	Made     bool   // this process created the store
}

// Summary counts the records of the store, which takes some seconds if it has many millions. Any error
// is an ErrUnavailable.
func (s *Store) Summary(ctx context.Context) (Summary, error) {
	db, err := s.database()
	if err != nil {
		return Summary{}, err
	}
	sum := Summary{ID: db.id, Pepper: s.hash.peppered(), Made: db.Made()}
	err = db.lists.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM api_keys)`).
		Scan(&sum.Accounts, &sum.Keys)
	if err != nil {
		return Summary{}, fault(s.explain(fmt.Errorf("counting its records: %w", err)))
	}
	return sum, nil
}

// mostCounted is up to how many accounts and keys a server counts when it opens a store. It starts only
// afterwards, so this must not take longer with ten million keys.
const mostCounted = 100_000

const countRecords = `SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM accounts LIMIT $1) AS a), (SELECT COUNT(*) FROM (SELECT 1 FROM api_keys LIMIT $1) AS k)`

// idLimit is how long ID waits for the database of a store with a replica. Load balancers usually wait for a second.
const idLimit = 500 * time.Millisecond

// ID reads the store's own ID from the database, or from the replica if records come from there. It changes
// if another store was put in the place of this store. Any error is an ErrUnavailable.
func (s *Store) ID(ctx context.Context) (string, error) {
	db, err := s.database()
	if err == nil {
		err = s.away()
	}
	if err != nil {
		return s.replica.storeID(err)
	}
	if s.readsReplica() { // the caller can have the answer of the replica before it gives up
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, idLimit)
		defer cancel()
	}
	at, err := readFeedPosition(ctx, db.reader, 0)
	if err != nil {
		return s.replica.storeID(fault(s.explain(fmt.Errorf("reading its ID: %w", err))))
	}
	return at.storeID, nil
}

// logOpening logs which store was opened, with the numbers of its accounts and keys, each up to most. It
// warns the operator of problems. A command prints the same itself.
func (s *Store) logOpening(ctx context.Context, db *database, most int) error {
	if s.cfg.CommandLine {
		return nil
	}
	var accounts, keys int
	if err := db.reader.QueryRowContext(ctx, countRecords, most).Scan(&accounts, &keys); err != nil {
		return err
	}
	if db.Made() {
		s.log.Warn("there was no keystore here, and a new, empty one was made: no key is known to it", zap.String("store_id", db.id))
	}
	schema, err := s.engine.Schema(ctx, db.reader)
	if err != nil {
		return err
	}
	if schema.Version > engine.SchemaVersion {
		s.log.Warn("the schema of the keystore is newer than this program, which works with it: upgrade the program",
			zap.Int64("schema", schema.Version), zap.Int64("program", engine.SchemaVersion))
	}
	opened := []zap.Field{
		zap.String("store_id", db.id), zap.Int64("schema", schema.Version),
		zap.Int("accounts", accounts), zap.Int("keys", keys), zap.Bool("pepper", s.hash.peppered()),
	}
	if max(accounts, keys) == most {
		opened = append(opened, zap.Bool("or_more", true))
	}
	s.log.Info("the keystore is open", opened...)
	if s.cfg.PepperFault != nil {
		s.log.Warn("the keystore has this pepper already, and keeps it; no other keystore would take it", zap.NamedError("problem", s.cfg.PepperFault))
	}
	readable, _ := s.engine.CheckAccess() // Open has checked which users can write
	for _, name := range readable {
		s.log.Warn("users other than the owner can read a file of the keystore, which holds accounts, addresses and digests of keys: want mode 0600",
			zap.String("file", name), zap.String("remedy", "chmod 600 "+name))
	}
	return nil
}

// Check makes a durable write, and makes sure that other users cannot write the store. The
// error is one sentence for the operator: it names the file and the remedy. Open checks
// the same; Check is for a store that has been open for some time.
func (s *Store) Check(ctx context.Context) error {
	if err := s.write(ctx, func(t *txn) error { return t.tryWrite() }); err != nil {
		_, err = s.replica.storeID(err) // without the database, the store goes on with its replica
		return err
	}
	if _, err := s.engine.CheckAccess(); err != nil {
		return fault(fmt.Errorf("keystore %s: %w", s.cfg.name, err))
	}
	return nil
}

// tryWrite writes the row that shows whether the store can be written.
func (t *txn) tryWrite() error {
	t.exec(`INSERT INTO meta (name, value) VALUES ('written', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, strconv.FormatInt(int64(t.store.cfg.Clock()), 10))
	return t.err
}

// tryWrite makes sure that the database can be written. SQLite reports some problems,
// such as a full disk or an -shm file that belongs to another user, only when a
// transaction commits. The caller waits for locks of other processes.
func (s *Store) tryWrite(ctx context.Context, db *database) error {
	tx, err := db.Begin(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	t := &txn{Tx: tx, ctx: context.WithoutCancel(ctx), store: s, db: db}
	if err := t.tryWrite(); err != nil {
		return err
	}
	return t.commit()
}
