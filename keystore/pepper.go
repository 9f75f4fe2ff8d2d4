package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"go.uber.org/zap"
)

var (
	errPepperMissing = errors.New("it has a pepper, and none is configured: configure the pepper that it was made with")
	errPepperWrong   = errors.New("its pepper is not the one that is configured: configure the pepper that it was made with")
)

// readPepper compares the store's check value with the pepper of this process.
func (s *Store) readPepper(ctx context.Context, q querier) (storeID string, err error) {
	return s.scanPepper(q.QueryRowContext(ctx, pepperState))
}

const pepperState = `SELECT
	(SELECT value FROM meta WHERE name = 'store_id'),
	(SELECT value FROM meta WHERE name = 'pepper_check')`

// scanPepper reads a row of pepperState, and does what readPepper does.
func (s *Store) scanPepper(row scanner) (storeID string, err error) {
	var check sql.Null[string]
	err = row.Scan(&storeID, &check)
	switch {
	case err != nil:
		return "", err
	case s.hash.accepts(check.V, storeID):
		return storeID, nil
	case check.V == "":
		return storeID, ErrNewPepper
	case !s.hash.peppered():
		return storeID, errPepperMissing
	}
	return storeID, errPepperWrong
}

// checkPepper returns an error if the pepper of store and process differ. Each write
// that stores a digest calls it: a digest with the wrong pepper would never be found.
func (s *Store) checkPepper(t *txn) (err error) {
	if !t.peppered {
		_, err = s.readPepper(t.ctx, t)
		t.peppered = err == nil
	}
	return err
}

// isPepper reports whether err says that the pepper of the store differs from the
// pepper of the process.
func isPepper(err error) bool {
	return errors.Is(err, errPepperMissing) || errors.Is(err, errPepperWrong) || errors.Is(err, ErrNewPepper)
}

// settlePepper adds the pepper of this process to a store that has none, if the
// configuration allows it. Any other difference is an error.
func (s *Store) settlePepper(ctx context.Context, db *database) error {
	if _, err := s.readPepper(ctx, db.reader); !errors.Is(err, ErrNewPepper) || s.cfg.KeepPepper {
		return err
	}
	if s.cfg.PepperFault != nil {
		return s.cfg.PepperFault
	}
	tx, err := db.Begin(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	t := &txn{Tx: tx, ctx: context.WithoutCancel(ctx), store: s, db: db}
	storeID, err := s.readPepper(ctx, t)
	if err == nil {
		return nil // another process was faster
	}
	if !errors.Is(err, ErrNewPepper) {
		return err
	}
	sealed, err := s.addPepper(ctx, t, storeID)
	if err != nil {
		return fmt.Errorf("adding the pepper: %w", err)
	}
	if err := t.commit(); err != nil {
		return err
	}
	if sealed > 0 {
		s.log.Warn("the configured pepper was added to the keystore, for good: without it all its keys are lost, so keep it where it is backed up",
			zap.String("store_id", storeID), zap.Int("digests", sealed))
	}
	return nil
}

// addPepper seals every digest in the store with the pepper, and returns their number.
func (s *Store) addPepper(ctx context.Context, t *txn, storeID string) (int, error) {
	if err := s.checkKnown(ctx, t); err != nil {
		return 0, err // a digest in a table that this program does not know would not be sealed
	}
	now, sealed := s.cfg.Clock(), 0
	for _, column := range []struct{ read, write string }{
		{`SELECT digest FROM api_keys`, `UPDATE api_keys SET digest = $1 WHERE digest = $2`},
		{`SELECT spw_digest FROM accounts`, `UPDATE accounts SET spw_digest = $1 WHERE spw_digest = $2`},
		{
			`SELECT previous_spw_digest FROM accounts WHERE previous_spw_digest IS NOT NULL`,
			`UPDATE accounts SET previous_spw_digest = $1 WHERE previous_spw_digest = $2`,
		},
		{`SELECT DISTINCT digest FROM tokens`, `UPDATE tokens SET digest = $1 WHERE digest = $2`},
		{`SELECT digest FROM dead_digests`, `UPDATE dead_digests SET digest = $1 WHERE digest = $2`},
		{`SELECT setup_digest FROM console_users WHERE setup_digest IS NOT NULL`, `UPDATE console_users SET setup_digest = $1 WHERE setup_digest = $2`},
		{`SELECT digest FROM console_recovery`, `UPDATE console_recovery SET digest = $1 WHERE digest = $2`},
		{`SELECT digest FROM console_sessions`, `UPDATE console_sessions SET digest = $1 WHERE digest = $2`},
	} {
		digests, err := queryRows(ctx, t, scanDigest, column.read)
		if err != nil {
			return 0, err
		}
		for _, d := range digests {
			with := s.hash.seal(d)
			t.exec(column.write, with[:], d[:])
		}
		sealed += len(digests)
	}
	if err := s.sealFingerprints(ctx, t); err != nil {
		return 0, err
	}
	if err := s.sealSeconds(ctx, t); err != nil {
		return 0, err
	}
	t.exec(`INSERT INTO meta (name, value) VALUES ('pepper_check', $1)`, s.hash.check(storeID))
	t.audit(now, Actor{Kind: ActorStore}, actionPepperAdd, "", storeID, fmt.Sprintf("%d digests", sealed))
	return sealed, t.changed(now, changedStore, []byte{})
}

func scanDigest(row scanner) (d digest, err error) {
	var b []byte
	if err := row.Scan(&b); err != nil {
		return d, err
	}
	return toDigest(b)
}

// toDigest returns a digest that the database has.
func toDigest(b []byte) (d digest, err error) {
	if len(b) != len(d) {
		return d, fmt.Errorf("damaged digest of %d bytes: want %d", len(b), len(d))
	}
	return digest(b), nil
}
