package keystore

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

const accountColumns = `id, name, service_id, created_at, COALESCE(closed_at, 0), COALESCE(suspended_at, 0), COALESCE(suspend_reason, ''),
	COALESCE(previous_service_id, ''), COALESCE(previous_until, 0), COALESCE(limits, '')`

func scanAccount(row scanner) (a policy.Account, err error) {
	var limits string
	err = row.Scan(&a.ID, &a.Name, &a.ServiceID, &a.CreatedAt, &a.ClosedAt, &a.SuspendedAt, &a.SuspendReason, &a.PreviousServiceID, &a.PreviousUntil, &limits)
	if err == nil {
		if a.Limits, err = policy.ParseLimits(limits); err != nil {
			err = fmt.Errorf("the record of account %s is damaged: %w", a.ID, err)
		}
	}
	return a, err
}

// CreateAccount makes an account with a new service ID and a new service password. It
// returns the password; no other call does. The name is for people: 1 to 200 bytes of
// printable UTF-8. The error is ErrInvalid if the name is not, and a RepeatedError if the
// request of the actor was made before.
func (s *Store) CreateAccount(ctx context.Context, now policy.Time, by Actor, name string) (policy.Account, policy.Secret, error) {
	serviceID, password, err := newService(by)
	if err != nil {
		return policy.Account{}, policy.Secret{}, err
	}
	a, err := s.createAccount(ctx, now, by, name, serviceID, password)
	if err != nil {
		return policy.Account{}, policy.Secret{}, err
	}
	return a, password, nil
}

// ImportAccount makes an account that keeps the service ID and service password that it
// has at another gateway. Only the operator may call it. The ID is 1 to 200 visible
// ASCII characters, and the password is 8 to 1024 bytes. The error is ErrInvalid if one
// of them is not, or if another account has the service ID.
func (s *Store) ImportAccount(ctx context.Context, now policy.Time, by Actor, name, serviceID string, password policy.Secret) (policy.Account, error) {
	if err := operatorOnly(by, "importing an account"); err != nil {
		return policy.Account{}, err
	}
	if err := cmp.Or(CheckServiceID(serviceID), CheckServicePassword(password)); err != nil {
		return policy.Account{}, err
	}
	return s.createAccount(ctx, now, by, name, serviceID, password)
}

func (s *Store) createAccount(ctx context.Context, now policy.Time, by Actor, name, serviceID string, password policy.Secret) (policy.Account, error) {
	if err := checkAccountName(name); err != nil {
		return policy.Account{}, err
	}
	id, err := by.newID("acc_")
	if err != nil {
		return policy.Account{}, err
	}
	d := s.hash.secret(password)
	err = s.write(ctx, func(t *txn) error {
		if err := s.checkPepper(t); err != nil {
			return err
		}
		if err := t.refuseRepeated(by, madeAccount, id); err != nil {
			return err
		}
		if err := t.checkServiceID(serviceID, now); err != nil {
			return err
		}
		t.exec(`INSERT INTO accounts (id, name, service_id, spw_digest, created_at) VALUES ($1, $2, $3, $4, $5)`,
			id, name, serviceID, d[:], now)
		t.audit(now, by, actionAccountCreate, id, id, name)
		return t.changed(now, changedNewAccount, []byte(id))
	})
	if err != nil {
		return policy.Account{}, err
	}
	return policy.Account{ID: id, Name: name, ServiceID: serviceID, CreatedAt: now}, nil
}

func checkAccountName(name string) error {
	if name == "" {
		return refuse(ErrInvalid, "the account has no name: want 1 to %d bytes of printable UTF-8", maxText)
	}
	return CheckText("the account's name", name)
}

// RotateAccount gives an account a new service ID and a new service password. It returns
// the password; no other call does. The old ID and password work until the overlap ends.
// An overlap of zero ends them at once. What an earlier rotation left for its own overlap
// ends at once in every case. The error is ErrInvalid if the actor is not the operator, and
// for an overlap below zero or above ten years. The error is ErrAccountClosed if the account
// is closed, and a RepeatedError if the request of the actor was made before and the account
// still has the service ID from then.
func (s *Store) RotateAccount(ctx context.Context, now policy.Time, by Actor, id string, overlap time.Duration) (a policy.Account, password policy.Secret, err error) {
	none := func(err error) (policy.Account, policy.Secret, error) {
		return policy.Account{}, policy.Secret{}, err
	}
	if err := operatorOnly(by, "rotating service ID and service password"); err != nil {
		return none(err)
	}
	if err := checkOverlap(overlap); err != nil {
		return none(err)
	}
	serviceID, password, err := newService(by)
	if err != nil {
		return none(err)
	}
	d := s.hash.secret(password)
	err = s.write(ctx, func(t *txn) (err error) {
		if err := s.checkPepper(t); err != nil {
			return err
		}
		if err := t.refuseRepeated(by, rotatedAccount, serviceID); err != nil {
			return err
		}
		if a, err = readAccount(t.ctx, t, id); err != nil {
			return err
		}
		if !a.Open() {
			return refuse(ErrAccountClosed, "account %s was closed at %s: it needs no service password", a.ID, a.ClosedAt)
		}
		detail := "service ID " + serviceID + ", before " + a.ServiceID
		a.PreviousServiceID, a.PreviousUntil = "", 0
		if overlap > 0 {
			a.PreviousServiceID, a.PreviousUntil = a.ServiceID, now.Add(overlap)
			detail += ", which works until " + a.PreviousUntil.String()
		}
		a.ServiceID = serviceID
		t.exec(`UPDATE accounts SET service_id = $1, spw_digest = $2, previous_until = $3,
				previous_service_id = CASE WHEN CAST($3 AS BIGINT) IS NOT NULL THEN service_id END,
				previous_spw_digest = CASE WHEN CAST($3 AS BIGINT) IS NOT NULL THEN spw_digest END
			WHERE id = $4`, serviceID, d[:], nullTime(a.PreviousUntil), id)
		t.audit(now, by, actionAccountRotate, id, id, detail)
		return t.changed(now, changedAccount, []byte(id))
	})
	if err != nil {
		return none(err)
	}
	return a, password, nil
}

// CloseAccount closes an account for good, which ends all its keys. If the account is
// closed already, nothing changes. The error is ErrNotFound if there is no such
// account.
func (s *Store) CloseAccount(ctx context.Context, now policy.Time, by Actor, id string) (a policy.Account, err error) {
	err = s.writeEnding(ctx, func(t *txn) (err error) {
		if a, err = readAccount(t.ctx, t, id); err != nil || !a.Open() {
			return err
		}
		a.ClosedAt = now
		t.exec(`UPDATE accounts SET closed_at = $1 WHERE id = $2`, now, id)
		t.endSessions(ActorAccount, id, nil)
		t.audit(now, by, actionAccountClose, id, id, "")
		return t.changed(now, changedAccount, []byte(id))
	})
	if err != nil {
		return policy.Account{}, err
	}
	return a, nil
}

// Account returns an account. The error is ErrNotFound if there is no such account.
func (s *Store) Account(ctx context.Context, id string) (policy.Account, error) {
	all, err := query(ctx, s, scanAccount, accountByID, id)
	return one(all, err, "account", id)
}

// AccountsNamed returns the accounts with this name, oldest first.
func (s *Store) AccountsNamed(ctx context.Context, name string) ([]policy.Account, error) {
	return query(ctx, s, scanAccount, `SELECT `+accountColumns+` FROM accounts WHERE name = $1 ORDER BY created_at, id`, name)
}

const accountByID = `SELECT ` + accountColumns + ` FROM accounts WHERE id = $1`

func readAccount(ctx context.Context, q querier, id string) (policy.Account, error) {
	a, err := scanAccount(q.QueryRowContext(ctx, accountByID, id))
	if errors.Is(err, sql.ErrNoRows) {
		return a, notFound("account", id)
	}
	return a, err
}

func newID(prefix string) (string, error) {
	text, err := policy.RandomText(20, rand.Reader)
	return prefix + text, err
}

// newIDs returns n IDs that are neighbours in the order of texts: the first half of their
// characters is the same. Rows with such IDs change few pages of the database.
func newIDs(prefix string, n int) ([]string, error) {
	shared, err := policy.RandomText(10, rand.Reader)
	if err != nil {
		return nil, err
	}
	ids := make([]string, n)
	for i := range ids {
		own, err := policy.RandomText(10, rand.Reader)
		if err != nil {
			return nil, err
		}
		ids[i] = prefix + shared + own
	}
	return ids, nil
}

// scanner is a row to read columns from: *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// query returns the rows of a query on the read-only pool for lists.
func query[T any](ctx context.Context, s *Store, scan func(scanner) (T, error), text string, args ...any) ([]T, error) {
	all := []T{} // also for a text that the database cannot store
	err := s.readLists(func(lists *sql.DB) error {
		found, err := queryRows(ctx, lists, scan, text, args...)
		if err == nil {
			all = found
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// readLists runs a function that reads from the pool for lists. It runs the function again if the
// connection was broken.
func (s *Store) readLists(read func(lists *sql.DB) error) error {
	db, err := s.database()
	if err != nil {
		return err
	}
	err = read(db.lists)
	for tries := 1; s.engine.Broken(err) && tries < lookupTries; tries++ {
		err = read(db.lists)
	}
	if s.engine.Unstorable(err) {
		return nil // no row has such a text
	}
	return fault(err)
}

// snapshot are the options of a transaction whose queries all see the same state of the store. PostgreSQL needs the
// level: otherwise each query sees a state of its own.
var snapshot = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true} //nolint:gochecknoglobals // a constant

// readSnapshot does what readLists does. All queries of the function see the same state of the store,
// whatever others write meanwhile.
func (s *Store) readSnapshot(ctx context.Context, read func(querier) error) error {
	return s.readLists(func(lists *sql.DB) error {
		tx, err := lists.BeginTx(ctx, snapshot)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // it has read only
		return read(tx)
	})
}

// queryCount returns the number that a query of one row and one column returns.
func queryCount(ctx context.Context, s *Store, text string, args ...any) (int, error) {
	n, err := query(ctx, s, scanColumn[int], text, args...)
	if err != nil || len(n) == 0 {
		return 0, err
	}
	return n[0], nil
}

// querier reads from a pool, a connection or a transaction.
type querier = engine.Querier

func queryRows[T any](ctx context.Context, q querier, scan func(scanner) (T, error), text string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err returns the error
	all := []T{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// scanColumn reads a row of one column.
func scanColumn[T any](row scanner) (v T, err error) {
	err = row.Scan(&v)
	return v, err
}

// one returns the only row of a query by ID.
func one[T any](all []T, err error, what, id string) (T, error) {
	var zero T
	switch {
	case err != nil:
		return zero, err
	case len(all) == 0:
		return zero, notFound(what, id)
	}
	return all[0], nil
}

func notFound(what, id string) error {
	return refuse(ErrNotFound, "there is no %s %q", phrase.Word(what), id)
}
