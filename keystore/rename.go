package keystore

import (
	"context"

	"github.com/speechgate/speechgate/policy"
)

// RenameAccount gives an account another name. Only the operator may call it. The error
// is ErrNotFound if there is no such account, and ErrInvalid for a name that
// [Store.CreateAccount] refuses.
func (s *Store) RenameAccount(ctx context.Context, now policy.Time, by Actor, id, name string) (a policy.Account, err error) {
	if err := operatorOnly(by, "renaming an account"); err != nil {
		return policy.Account{}, err
	}
	if err := checkAccountName(name); err != nil {
		return policy.Account{}, err
	}
	err = s.write(ctx, func(t *txn) (err error) {
		if a, err = readAccount(t.ctx, t, id); err != nil || a.Name == name {
			return err
		}
		a.Name = name
		t.exec(`UPDATE accounts SET name = $1 WHERE id = $2`, name, id)
		t.audit(now, by, actionAccountRename, id, id, name)
		return t.err // no cached record has the name
	})
	if err != nil {
		return policy.Account{}, err
	}
	return a, nil
}

// RenameKey gives a key another label, up to 200 bytes of printable UTF-8. ErrInvalid if
// it is not. ErrNotFound if there is no such key.
func (s *Store) RenameKey(ctx context.Context, now policy.Time, by Actor, id, label string) (key policy.Key, err error) {
	if err := CheckText("the key's label", label); err != nil {
		return policy.Key{}, err
	}
	err = s.write(ctx, func(t *txn) (err error) {
		if key, _, err = t.key(by, id); err != nil || key.Label == label {
			return err
		}
		key.Label = label
		t.exec(`UPDATE api_keys SET label = $1 WHERE id = $2`, label, id)
		t.audit(now, by, actionKeyRename, key.AccountID, id, label)
		return t.err // no cached record has the label
	})
	if err != nil {
		return policy.Key{}, err
	}
	return key, nil
}
