package keystore

import (
	"crypto/sha256"
	"database/sql"
	"errors"
	"math/rand/v2"

	"github.com/speechgate/speechgate/policy"
)

// RepeatedError says that an earlier call with the same [Actor.Request] has made a record, and
// that this call has changed nothing.
type RepeatedError struct {
	// ID is the ID of the key or the account that the earlier call made or rotated.
	ID string
}

// Error returns a sentence for people.
func (e *RepeatedError) Error() string {
	return "an earlier request with the same idempotency key has made " + e.ID
}

// newID returns the ID of a record that the actor makes. The ID is random. If the actor has a
// Request, the ID is derived from it: the keystore itself then finds the record of an earlier
// call, even after a crash, and needs no table of requests.
func (by *Actor) newID(prefix string) (string, error) {
	if by.Request == "" {
		return newID(prefix)
	}
	seed := sha256.Sum256([]byte("request\x00" + prefix + "\x00" + by.Request))
	text, err := policy.RandomText(20, rand.NewChaCha8(seed))
	return prefix + text, err
}

// The queries that find the record of an earlier call.
const (
	madeKey     = `SELECT id FROM api_keys WHERE id = $1`
	madeAccount = `SELECT id FROM accounts WHERE id = $1`
	// rotatedAccount finds an account by the service ID that an earlier call gave it.
	rotatedAccount = `SELECT id FROM accounts WHERE service_id = $1 OR previous_service_id = $1 LIMIT 1`
)

// refuseRepeated returns a RepeatedError if an earlier call with the request of the actor has
// made the record. The query is one of the above.
func (t *txn) refuseRepeated(by Actor, query, id string) error {
	if by.Request == "" {
		return nil
	}
	var made string
	err := t.queryRow(query, id).Scan(&made)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	repeated := &RepeatedError{ID: made}
	return refuse(repeated, "%v", repeated)
}
