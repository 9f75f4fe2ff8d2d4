package keystore

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/speechgate/speechgate/policy"
)

// FindService returns the account that has this service ID and service password at now.
// They can also be the ones before the last rotation, during its overlap. The account may
// be closed or suspended. The error is ErrNotFound if no account has both. Any other error
// is an ErrUnavailable.
//
// The query searches by the digest of the password. So a wrong password takes the same
// time whether or not the service ID exists.
func (s *Store) FindService(ctx context.Context, now policy.Time, serviceID string, password policy.Secret) (policy.Account, error) {
	db, err := s.database()
	if err != nil {
		return policy.Account{}, err
	}
	d := s.hash.secret(password)
	var stored []byte
	find := func() (policy.Account, error) {
		return scanAccount(appending{db.reader.QueryRowContext(ctx, findService, d[:], serviceID, now), []any{&stored}})
	}
	a, err := find()
	for tries := 1; s.engine.Broken(err) && tries < lookupTries; tries++ {
		a, err = find()
	}
	switch {
	case errors.Is(err, sql.ErrNoRows), s.engine.Unstorable(err):
		return policy.Account{}, ErrNotFound
	case err != nil:
		return policy.Account{}, fault(err)
	case subtle.ConstantTimeCompare(stored, d[:]) != 1:
		return policy.Account{}, ErrNotFound
	}
	return a, nil
}

// findService searches by the digest of the password. The concatenation keeps the
// database from using the index of service IDs.
const findService = `SELECT ` + accountColumns + `, spw_digest FROM accounts
	WHERE spw_digest = $1 AND service_id || '' = $2
	UNION ALL SELECT ` + accountColumns + `, previous_spw_digest FROM accounts
	WHERE previous_spw_digest = $1 AND previous_service_id || '' = $2 AND previous_until > $3`

// Limits of an imported service ID and service password, in bytes.
const (
	maxServiceID   = 200
	minServicePass = 8 // a shorter password can be guessed
)

// CheckServiceID refuses a service ID that an imported account cannot have. The error is
// ErrInvalid.
func CheckServiceID(id string) error {
	switch {
	case id == "" || len(id) > maxServiceID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }):
		return refuse(ErrInvalid, "service ID %q: want 1 to %d visible ASCII characters", id, maxServiceID)
	case policy.HoldsSecret(id):
		return refuse(ErrInvalid, "the service ID has a key or service password in it: want the ID, which is no secret")
	}
	return nil
}

// CheckServicePassword refuses a service password that an imported account cannot have. The
// error is ErrInvalid, and does not show the password.
func CheckServicePassword(password policy.Secret) error {
	text := password.Reveal()
	switch {
	case len(text) < minServicePass || len(text) > policy.MaxSecretLen:
		return refuse(ErrInvalid, "the service password has %d bytes: want %d to %d", len(text), minServicePass, policy.MaxSecretLen)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return refuse(ErrInvalid, "the service password has control characters, or is not UTF-8: want it as its owner types it, in one line")
	}
	return nil
}

// newService generates a service ID and a service password.
func newService(by Actor) (id string, password policy.Secret, err error) {
	if id, err = by.newID("svc_"); err != nil {
		return "", policy.Secret{}, err
	}
	password, err = policy.GenerateSecret(policy.ServicePasswordPrefix, rand.Reader)
	return id, password, err
}

// checkServiceID refuses a service ID that an account has at now.
func (t *txn) checkServiceID(id string, now policy.Time) error {
	var taken string
	err := t.queryRow(`SELECT id FROM accounts WHERE service_id = $1 OR previous_service_id = $1 AND previous_until > $2 LIMIT 1`, id, now).Scan(&taken)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return refuse(ErrInvalid, "service ID %q is that of account %s already", id, taken)
}
