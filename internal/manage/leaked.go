package manage

import (
	"context"

	"github.com/speechgate/speechgate/policy"
)

// LeakedKey is a key that was found where it should not be.
type LeakedKey struct {
	Key

	AccountName string `json:"account_name"`
	// Children is how many keys the key has issued that have not ended, up to 1000.
	Children int `json:"children"`
	// ChildIDs are the IDs of the oldest 10 of them.
	ChildIDs []string `json:"child_ids"`
}

// Leaked says whose a key is that was found, and what it has issued. The secret is hashed to find
// the key, and is neither stored nor logged. [Manager.RevokeKey] with children ends the key and its
// children in one transaction. It is for the operator only.
func (m *Manager) Leaked(ctx context.Context, secret policy.Secret) (LeakedKey, error) {
	if err := m.operatorOnly(); err != nil {
		return LeakedKey{}, err
	}
	id, err := m.KeyIDOf(ctx, secret)
	if err != nil {
		return LeakedKey{}, err
	}
	key, err := m.Key(ctx, id)
	if err != nil {
		return LeakedKey{}, err
	}
	account, err := m.account(ctx, key.AccountID)
	if err != nil {
		return LeakedKey{}, err
	}
	children, err := m.Store.LiveChildren(ctx, id, m.Now, MostChildrenCounted)
	return LeakedKey{Key: key, AccountName: account.Name, Children: len(children), ChildIDs: children[:min(forecastIDs, len(children))]}, err
}
