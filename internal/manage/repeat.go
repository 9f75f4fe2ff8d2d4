package manage

import (
	"context"
	"errors"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// ErrOtherRequest is the error of a request that has the idempotency key of another request:
// see [keystore.Actor]. Nothing was changed.
var ErrOtherRequest = errors.New("an earlier request with the same idempotency key asked for something else: want a new idempotency key for each request")

// madeBefore returns the ID of the record that an earlier request with the same idempotency
// key has made, if err says this.
func madeBefore(err error) (id string, repeated bool) {
	var before *keystore.RepeatedError
	if !errors.As(err, &before) {
		return "", false
	}
	return before.ID, true
}

// issuedBefore returns the key that an earlier request has issued, without its secret. The
// error is ErrOtherRequest if n asks for another key.
func (m *Manager) issuedBefore(ctx context.Context, id, accountID string, n *NewKey) (Key, error) {
	k, err := m.key(ctx, id)
	if err != nil {
		return Key{}, err
	}
	// The time of the earlier request: so a duration means the same instant in both.
	asked, err := n.parse(k.CreatedAt)
	if err != nil {
		return Key{}, ErrOtherRequest
	}
	asked.AccountID = accountID
	same := k.AccountID == asked.AccountID && k.IssuerID == asked.Issuer && k.Label == asked.Label &&
		k.Expires == asked.Expires && k.Allow == asked.Allow && k.Limits == asked.Limits && k.Issuable == asked.Issuable
	if !same {
		return Key{}, ErrOtherRequest
	}
	return m.repeated(k), nil
}

// repeated returns a key that an earlier request has issued.
func (m *Manager) repeated(k policy.Key) Key {
	result := m.keyOf(k)
	result.Repeated = true
	return result
}

// rotatedBefore returns the successor that an earlier request has given to a key. The error is
// ErrOtherRequest if that request had another overlap.
func (m *Manager) rotatedBefore(ctx context.Context, id, successor string, overlap time.Duration) (RotatedKey, error) {
	old, err := m.key(ctx, id)
	if err != nil {
		return RotatedKey{}, err
	}
	k, err := m.key(ctx, successor)
	if err != nil {
		return RotatedKey{}, err
	}
	ends := old.RevokeFrom
	if overlap == 0 {
		ends = old.RevokedAt
	}
	if old.RevokeReason != keystore.ReplacedBy(successor) || ends != k.CreatedAt.Add(overlap) {
		return RotatedKey{}, ErrOtherRequest
	}
	return RotatedKey{Key: m.repeated(k), Replaces: m.keyOf(old)}, nil
}

// createdBefore returns the account that an earlier request has created, without its service
// password.
func (m *Manager) createdBefore(ctx context.Context, id string, n *NewAccount) (Account, error) {
	a, err := m.account(ctx, id)
	if err != nil {
		return Account{}, err
	}
	if a.Name != n.Name || n.ServiceID != "" && a.ServiceID != n.ServiceID {
		return Account{}, ErrOtherRequest
	}
	if n.ServiceID != "" {
		_, err := m.Store.FindService(ctx, m.Now, n.ServiceID, n.ServicePassword)
		if errors.Is(err, keystore.ErrNotFound) {
			return Account{}, ErrOtherRequest
		}
		if err != nil {
			return Account{}, err
		}
	}
	result := m.accountOf(a)
	result.Repeated = true
	return result, nil
}

// accountRotatedBefore returns the account that an earlier request has rotated, without its
// service password. The error is ErrOtherRequest if that request was for another account, or if
// only one of the two requests has an overlap.
func (m *Manager) accountRotatedBefore(ctx context.Context, id, rotated string, overlap time.Duration) (Account, error) {
	if rotated != id {
		return Account{}, ErrOtherRequest
	}
	a, err := m.account(ctx, id)
	if err != nil {
		return Account{}, err
	}
	if a.PreviousUntil.IsZero() != (overlap == 0) {
		return Account{}, ErrOtherRequest
	}
	result := m.accountOf(a)
	result.Repeated = true
	return result, nil
}
