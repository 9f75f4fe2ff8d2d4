package keystore

import (
	"context"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// If the connection breaks between a commit and its answer, nobody knows whether the counters are in the
// database. Written again, they would count twice; forgotten, not at all. So the transaction has a name, by
// which the database is asked before anything else is written. After a promotion that has lost transactions,
// the name can be another one's: counters of a few seconds can then be lost with the rest.

// unsureUsage are counters in a transaction that may have been committed.
type unsureUsage struct {
	taken []takenUsage
	name  string // of the transaction; empty: there are none
}

// write writes counters, which run does in a transaction. unsure reports, if there is an error, that the
// counters may be in the database nevertheless: then settle finds out.
func (u *usageRecorder) write(ctx context.Context, write func(context.Context, func(*txn) error) error, taken []takenUsage, run func(*txn) error) (unsure bool, err error) {
	var name string // while the transaction can be committed
	err = write(ctx, func(t *txn) error {
		if mark, _ := t.db.Mark(); mark != "" {
			t.send(engine.Statement{Query: mark, Read: func(row engine.Row) error { return row.Scan(&name) }})
		}
		if t.err != nil {
			return t.err
		}
		err := run(t)
		if err != nil {
			name = ""
		}
		return err
	})
	if err == nil || name == "" {
		return false, err
	}
	u.unsure = unsureUsage{taken, name}
	return true, err
}

// settle finds out whether the unsure counters were written, and counts them again if they were not. It
// reports whether nothing is unsure any more. settle asks in a transaction that has the lock of writes, which the unsure
// transaction had too: so that one has ended, and cannot be in progress. Usage must not be written beside others.
func (u *usageRecorder) settle(ctx context.Context) bool {
	if u.unsure.name == "" {
		return true
	}
	var committed bool
	err := u.store.write(ctx, func(t *txn) error {
		_, query := t.db.Mark()
		return t.queryRow(query, u.unsure.name).Scan(&committed)
	})
	if err != nil {
		return false
	}
	if !committed {
		u.giveBack(u.unsure.taken)
	}
	u.unsure = unsureUsage{}
	return true
}

// leftOf returns the counters from an index on, after an error of those up to end: without them, if they are
// unsure.
func leftOf(taken []takenUsage, from, end int, unsure bool) []takenUsage {
	if unsure {
		return taken[end:]
	}
	return taken[from:]
}
