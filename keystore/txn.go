package keystore

import (
	"context"
	"database/sql"

	"github.com/speechgate/speechgate/policy"
)

// txn is the transaction of a batch, as one of its writes sees it. After an error,
// exec, audit and changed do nothing. SQLite ends the whole transaction on some
// errors, and a statement after that would be committed by itself.
type txn struct {
	*sql.Tx

	ctx      context.Context // never ends, because a transaction is not interrupted
	store    *Store
	changes  []change
	head     *AuditHead // of the audit trail; nil until the first entry
	peppered bool       // the pepper has been checked
	parties  parties    // the accounts and issuers that were read and have not changed since
	err      error
}

// attempt runs one write in a savepoint, so that the write fails alone. A fatal
// error ends the whole transaction.
func (t *txn) attempt(run func(*txn) error) (err, fatal error) {
	if t.exec("SAVEPOINT one"); t.err != nil {
		return nil, t.err
	}
	before, head := len(t.changes), t.head
	if err = run(t); err == nil {
		err = t.err
	}
	if err = fault(err); err != nil {
		t.changes, t.head, t.parties, t.err = t.changes[:before], head, parties{}, nil
		// If SQLite has ended the transaction, there is no savepoint to return to:
		// that is a fatal error, and no earlier write may be kept.
		t.exec("ROLLBACK TO one")
	}
	t.exec("RELEASE one")
	return err, t.err
}

// exec runs a statement.
func (t *txn) exec(query string, args ...any) {
	if t.err == nil {
		_, t.err = t.ExecContext(t.ctx, query, args...)
	}
}

// count does what exec does, and returns the number of rows that the statement has
// changed.
func (t *txn) count(query string, args ...any) (int64, error) {
	if t.err != nil {
		return 0, t.err
	}
	res, err := t.ExecContext(t.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (t *txn) queryRow(query string, args ...any) *sql.Row {
	return t.QueryRowContext(t.ctx, query, args...)
}

// changed appends to the change feed. Call it last in a write: it returns the first
// error of the write.
func (t *txn) changed(now policy.Time, kind string, ref []byte) error {
	t.parties = parties{}
	return t.announce(now, kind, ref)
}

// announce does what changed does, for a new record. A new record does not change any
// record that the transaction has read.
func (t *txn) announce(now policy.Time, kind string, ref []byte) error {
	t.changes = append(t.changes, change{kind, ref})
	t.exec(`INSERT INTO feed (at, kind, ref) VALUES ($1, $2, $3)`, now, kind, ref)
	return t.err
}
