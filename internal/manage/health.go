package manage

import (
	"context"

	"github.com/speechgate/speechgate/keystore"
)

// StoreHealth says how the keystore is.
type StoreHealth struct {
	keystore.Stats

	ID string // of the keystore
}

// StoreHealth says how the keystore is. It is for the operator only.
func (m *Manager) StoreHealth(ctx context.Context) (StoreHealth, error) {
	if err := m.operatorOnly(); err != nil {
		return StoreHealth{}, err
	}
	id, err := m.Store.ID(ctx)
	return StoreHealth{m.Store.Stats(), id}, err
}
