package keystore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

// txn is the transaction of a batch, as one of its writes sees it. After an error,
// exec, audit and changed do nothing. SQLite ends the whole transaction on some
// errors, and a statement after that would be committed by itself.
type txn struct {
	*sql.Tx

	ctx      context.Context // never ends, because a transaction is not interrupted
	store    *Store
	db       *database
	waiting  []engine.Statement // go with the next statements, in one exchange with the server
	ended    error              // why the transaction was rolled back while a write ran; nil if it was not
	changes  []change
	flushed  int        // how many changes flush has written
	head     *AuditHead // of the audit trail; nil until the first entry
	entries  []auditRow // of the audit trail, written by commit
	peppered bool       // the pepper has been checked
	point    savepoint
	parties  parties // the accounts and issuers that were read and have not changed since
	err      error
}

// savepoint is the state of the savepoint of a transaction.
type savepoint uint8

const (
	noPoint    savepoint = iota
	freshPoint           // nothing has been written since
	usedPoint
)

// save makes a savepoint, in one exchange with the next statements of send. It releases the one before.
func (t *txn) save() {
	if t.point == usedPoint {
		t.waiting = append(t.waiting, engine.Statement{Query: "RELEASE one"})
	}
	if t.point != freshPoint {
		t.waiting = append(t.waiting, engine.Statement{Query: "SAVEPOINT one"})
	}
	t.point = usedPoint
}

// send runs statements, after those that wait, in one exchange with the server.
func (t *txn) send(statements ...engine.Statement) {
	if t.err != nil {
		return
	}
	statements = append(t.waiting, statements...)
	t.waiting = nil
	if len(statements) > 0 {
		t.err = t.db.Send(t.ctx, t.Tx, statements)
	}
}

// sendWaiting runs the statements that wait, before a statement whose result is read. If one of them fails,
// the transaction ends, and with it all that follows fails.
func (t *txn) sendWaiting() {
	if len(t.waiting) == 0 {
		return
	}
	if t.send(); t.err != nil {
		t.ended = t.err
		_ = t.Rollback() // t.ended says more
	}
}

// ExecContext implements [engine.Conn].
func (t *txn) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	t.sendWaiting()
	return t.Tx.ExecContext(ctx, query, args...)
}

// QueryContext implements [engine.Querier].
func (t *txn) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	t.sendWaiting()
	return t.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext implements [engine.Querier].
func (t *txn) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	t.sendWaiting()
	return t.Tx.QueryRowContext(ctx, query, args...)
}

// attempt runs one write in a savepoint, so that the write fails alone. A fatal
// error ends the whole transaction.
func (t *txn) attempt(run func(*txn) error) (err, fatal error) {
	t.save()
	before, entries, head := len(t.changes), len(t.entries), t.head
	if err = run(t); err == nil {
		err = t.err
	}
	if t.ended != nil {
		return nil, t.ended
	}
	if t.store.engine.Unstorable(err) {
		err = refuse(ErrInvalid, "a text has a zero byte, or is not UTF-8: the database cannot store it")
	}
	if err = fault(err); err != nil {
		t.changes, t.entries, t.head, t.parties, t.err = t.changes[:before], t.entries[:entries], head, parties{}, nil
		// If SQLite has ended the transaction, there is no savepoint to return to:
		// that is a fatal error, and no earlier write may be kept.
		if len(t.waiting) == 0 { // otherwise nothing has come after the savepoint
			t.exec("ROLLBACK TO one")
		}
		t.point = freshPoint
	}
	return err, t.err
}

// exec runs a statement.
func (t *txn) exec(query string, args ...any) {
	if t.err == nil {
		_, err := t.ExecContext(t.ctx, query, args...)
		t.err = cmp.Or(t.err, err)
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
	t.changes = append(t.changes, change{now, kind, ref})
	return t.err
}

// commit writes the entries of the change feed and of the audit trail, and commits. After an error
// the transaction has ended. It releases the savepoint first, which fails if SQLite has ended the
// transaction: the entries would be committed by themselves.
func (t *txn) commit() error {
	if t.err != nil {
		_ = t.Rollback() // the error says more
		return t.err
	}
	last := t.waiting
	if t.point != noPoint {
		last = append(last, engine.Statement{Query: "RELEASE one"})
	}
	return t.db.Commit(t.ctx, t.Tx, append(last, t.records()...)...)
}

// records returns the statements that write the entries of the change feed and of the audit trail. They come
// last, many in one statement, because a database on another machine needs some time for each statement.
func (t *txn) records() []engine.Statement {
	entries := make([][]any, len(t.entries))
	for i := range t.entries {
		entries[i] = t.entries[i].values()
	}
	var changes [][]any
	for _, c := range t.changes[t.flushed:] {
		changes = append(changes, []any{c.at, c.kind, c.ref})
	}
	t.entries, t.flushed = nil, len(t.changes)
	return append(insertParts(insertAudit, entries, ""), insertParts(`INSERT INTO feed (at, kind, ref) VALUES `, changes, "")...)
}

// chunks splits rows into parts of few different sizes, so that there are few different statements.
func chunks[T any](rows []T) (parts [][]T) {
	for _, size := range []int{64, 16, 4, 1} {
		for len(rows) >= size {
			parts = append(parts, rows[:size])
			rows = rows[size:]
		}
	}
	return parts
}

// insertRows returns a statement that inserts rows with so many parameters each.
func insertRows(insert string, parameters, rows int) string {
	values := make([]string, rows)
	for i := range values {
		values[i] = "(" + numbered(1+i*parameters, parameters) + ")"
	}
	return insert + strings.Join(values, ", ")
}

// insertParts returns the statements that insert rows, with many rows in each.
func insertParts[R ~[]any](insert string, rows []R, end string) (statements []engine.Statement) {
	for _, part := range chunks(rows) {
		statements = append(statements, engine.Statement{Query: insertRows(insert, len(part[0]), len(part)) + end, Args: slices.Concat(part...)})
	}
	return statements
}

// insert inserts rows, many in one statement.
func (t *txn) insert(insert string, rows [][]any, end string) {
	if len(rows) > 0 {
		t.send(insertParts(insert, rows, end)...)
	}
}
