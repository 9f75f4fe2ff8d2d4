package manage

import (
	"context"

	"github.com/speechgate/speechgate/keystore"
)

// SuspendedAccount is an account that was suspended or resumed.
type SuspendedAccount struct {
	Account

	Already bool `json:"-"` // the account was suspended, or not suspended, before the call
}

// SuspendAccount suspends an account: its keys and its service password are refused until
// [Manager.ResumeAccount]. The argument account is an ID or a name. The reason is for
// people: up to 200 bytes of printable text. It is for the operator only.
func (m *Manager) SuspendAccount(ctx context.Context, account, reason string) (SuspendedAccount, error) {
	id, err := m.operatorsAccount(ctx, account)
	if err != nil {
		return SuspendedAccount{}, err
	}
	if err := checkReason(reason); err != nil {
		return SuspendedAccount{}, err
	}
	before, err := m.account(ctx, id)
	if err != nil {
		return SuspendedAccount{}, err
	}
	a, err := m.Store.SuspendAccount(ctx, m.Now, m.Actor, id, reason)
	if err != nil {
		return SuspendedAccount{}, notFound(err, KindAccount)
	}
	return SuspendedAccount{Account: m.accountOf(a), Already: !before.SuspendedAt.IsZero()}, nil
}

// ResumeAccount ends the suspension of an account. Keys that have ended meanwhile stay
// ended, and keys that were suspended themselves stay suspended. It is for the operator
// only.
func (m *Manager) ResumeAccount(ctx context.Context, account string) (SuspendedAccount, error) {
	id, err := m.operatorsAccount(ctx, account)
	if err != nil {
		return SuspendedAccount{}, err
	}
	before, err := m.account(ctx, id)
	if err != nil {
		return SuspendedAccount{}, err
	}
	a, err := m.Store.ResumeAccount(ctx, m.Now, m.Actor, id)
	if err != nil {
		return SuspendedAccount{}, notFound(err, KindAccount)
	}
	return SuspendedAccount{Account: m.accountOf(a), Already: before.SuspendedAt.IsZero()}, nil
}

// operatorsAccount returns the ID of the account that has this ID or name. It refuses every
// actor except the operator.
func (m *Manager) operatorsAccount(ctx context.Context, account string) (string, error) {
	if err := m.operatorOnly(); err != nil {
		return "", err
	}
	return m.accountID(ctx, account)
}

// SuspendedKey is a key that was suspended or resumed.
type SuspendedKey struct {
	Key

	Already bool `json:"-"` // the key was suspended, or not suspended, before the call
}

// SuspendKey suspends a key: it is refused until [Manager.ResumeKey]. The keys that it has
// issued can still be used. The reason is for people: up to 200 bytes of printable text. It
// is for the operator only.
func (m *Manager) SuspendKey(ctx context.Context, id, reason string) (SuspendedKey, error) {
	if err := m.operatorsKey(id); err != nil {
		return SuspendedKey{}, err
	}
	if err := checkReason(reason); err != nil {
		return SuspendedKey{}, err
	}
	before, err := m.key(ctx, id)
	if err != nil {
		return SuspendedKey{}, err
	}
	k, err := m.Store.SuspendKey(ctx, m.Now, m.Actor, id, reason)
	if err != nil {
		return SuspendedKey{}, notFound(err, KindKey)
	}
	return SuspendedKey{Key: m.keyOf(k), Already: !before.SuspendedAt.IsZero()}, nil
}

// ResumeKey ends the suspension of a key. It is for the operator only.
func (m *Manager) ResumeKey(ctx context.Context, id string) (SuspendedKey, error) {
	if err := m.operatorsKey(id); err != nil {
		return SuspendedKey{}, err
	}
	before, err := m.key(ctx, id)
	if err != nil {
		return SuspendedKey{}, err
	}
	k, err := m.Store.ResumeKey(ctx, m.Now, m.Actor, id)
	if err != nil {
		return SuspendedKey{}, notFound(err, KindKey)
	}
	return SuspendedKey{Key: m.keyOf(k), Already: before.SuspendedAt.IsZero()}, nil
}

// operatorsKey refuses a text that is not a key ID, and every actor except the operator.
func (m *Manager) operatorsKey(id string) error {
	if err := m.operatorOnly(); err != nil {
		return err
	}
	return CheckID("key_id", KindKey, id)
}

// RenameAccount gives an account another name: 1 to 200 bytes of printable text. It is for the
// operator only.
func (m *Manager) RenameAccount(ctx context.Context, account, name string) (Account, error) {
	id, err := m.operatorsAccount(ctx, account)
	if err != nil {
		return Account{}, err
	}
	if err := checkName(name); err != nil {
		return Account{}, err
	}
	a, err := m.Store.RenameAccount(ctx, m.Now, m.Actor, id, name)
	if err != nil {
		return Account{}, notFound(err, KindAccount)
	}
	return m.accountOf(a), nil
}

// RenameKey gives a key another label: up to 200 bytes of printable text. An empty text
// removes the label.
func (m *Manager) RenameKey(ctx context.Context, id, label string) (Key, error) {
	if err := CheckID("key_id", KindKey, id); err != nil {
		return Key{}, err
	}
	if err := checkLabel(label); err != nil {
		return Key{}, err
	}
	k, err := m.Store.RenameKey(ctx, m.Now, m.Actor, id, label)
	if err != nil {
		return Key{}, notFound(err, KindKey)
	}
	return m.keyOf(k), nil
}

func checkLabel(label string) error {
	return inField("label", keystore.CheckText("the key's label", label))
}

func checkReason(reason string) error {
	return inField("reason", keystore.CheckText("the reason", reason))
}
