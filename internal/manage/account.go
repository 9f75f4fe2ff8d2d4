package manage

import (
	"context"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Account is an account in a result.
type Account struct {
	ID              string    `json:"account_id"`
	Name            string    `json:"name"`
	ServiceID       string    `json:"service_id"`
	ServicePassword ShownOnce `json:"service_password,omitzero"` // of a new or rotated account
	Status          string    `json:"status"`                    // open or closed
	CreatedAt       Time      `json:"created_at"`

	ClosedAt Time `json:"-"` // zero if the account is open
}

func accountOf(a policy.Account) Account {
	status := "open"
	if !a.Open() {
		status = "closed"
	}
	return Account{
		ID: a.ID, Name: a.Name, ServiceID: a.ServiceID, Status: status,
		CreatedAt: Time{a.CreatedAt}, ClosedAt: Time{a.ClosedAt},
	}
}

// Open reports whether the account is open.
func (a *Account) Open() bool { return a.ClosedAt.IsZero() }

// NewAccount asks for an account.
type NewAccount struct {
	// Name is the customer's name, for people: 1 to 200 bytes, printable. Required.
	Name string `json:"name"`
	// ServiceID is a service ID that the customer has elsewhere: 1 to 200 visible ASCII
	// characters. It needs a ServicePassword. Default: a new service ID, with a new
	// service password.
	ServiceID string `json:"service_id"`
	// ServicePassword belongs to the ServiceID: 8 to 1024 bytes.
	ServicePassword policy.Secret `json:"-"`
}

// Validate refuses what is wrong without a look at the keystore.
func (n *NewAccount) Validate() error {
	if n.Name == "" {
		return wrong("name", ` is missing: want the customer's name, such as %s "Example Corp."`, field("name"))
	}
	return nil
}

// CreateAccount creates an account. The result has the service password, if it is a new
// one. It is for the operator only.
func (m *Manager) CreateAccount(ctx context.Context, n NewAccount) (Account, error) {
	if err := m.operatorOnly(); err != nil {
		return Account{}, err
	}
	if err := n.Validate(); err != nil {
		return Account{}, err
	}
	if n.ServiceID != "" {
		a, err := m.Store.ImportAccount(ctx, m.Now, m.Actor, n.Name, n.ServiceID, n.ServicePassword)
		return accountOf(a), err
	}
	a, password, err := m.Store.CreateAccount(ctx, m.Now, m.Actor, n.Name)
	return withPassword(a, password), err
}

// RotateAccount gives an account a new service ID and a new service password. The
// result has both; the old ones end at once. It is for the operator only.
func (m *Manager) RotateAccount(ctx context.Context, id string) (Account, error) {
	if err := m.operatorOnly(); err != nil {
		return Account{}, err
	}
	if err := CheckID("account_id", KindAccount, id); err != nil {
		return Account{}, err
	}
	a, password, err := m.Store.RotateAccount(ctx, m.Now, m.Actor, id, 0)
	return withPassword(a, password), notFound(err, KindAccount)
}

func withPassword(a policy.Account, password policy.Secret) Account {
	result := accountOf(a)
	result.ServicePassword = ShownOnce{password}
	return result
}

// Accounts returns a part of the list of accounts, oldest first. It is for the operator
// only.
func (m *Manager) Accounts(ctx context.Context, page Page) (List[Account], error) {
	if err := m.operatorOnly(); err != nil {
		return List[Account]{}, err
	}
	if err := page.check(); err != nil {
		return List[Account]{}, err
	}
	records, next, err := m.Store.Accounts(ctx, keystore.AccountList{Limit: page.Limit, Cursor: page.Cursor})
	return listOf(records, next, err, accountOf)
}

// Account returns an account.
func (m *Manager) Account(ctx context.Context, id string) (Account, error) {
	if err := CheckID("account_id", KindAccount, id); err != nil {
		return Account{}, err
	}
	a, err := m.account(ctx, id)
	return accountOf(a), err
}

// account returns the record of an account that the actor reaches.
func (m *Manager) account(ctx context.Context, id string) (policy.Account, error) {
	if !m.reaches(id) {
		return policy.Account{}, absent(KindAccount, id)
	}
	a, err := m.Store.Account(ctx, id)
	return a, notFound(err, KindAccount)
}

// ClosedAccount is an account that was closed.
type ClosedAccount struct {
	Account

	ActiveKeys int  `json:"-"` // how many active keys ended with the account
	Already    bool `json:"-"` // an earlier call has closed the account
}

// CloseAccount closes an account for good, which ends all its keys. Without
// confirmation it changes nothing, and the error says how many keys would end; its
// field is confirm. An account that is closed already needs no confirmation. It is for
// the operator only.
func (m *Manager) CloseAccount(ctx context.Context, id string, confirmed bool) (ClosedAccount, error) {
	if err := m.operatorOnly(); err != nil {
		return ClosedAccount{}, err
	}
	if err := CheckID("account_id", KindAccount, id); err != nil {
		return ClosedAccount{}, err
	}
	a, err := m.account(ctx, id)
	if err != nil {
		return ClosedAccount{}, err
	}
	if !a.Open() {
		return ClosedAccount{Account: accountOf(a), Already: true}, nil
	}
	active, err := m.activeKeys(ctx, id)
	if err != nil {
		return ClosedAccount{}, err
	}
	if !confirmed {
		return ClosedAccount{}, wrongIn("confirm", "account %s (%q) is not closed yet: that would end its %s at once and for good, with their streams and grace windows; add %s to do it",
			a.ID, a.Name, words.Count(active, "active key"), field("confirm"))
	}
	if a, err = m.Store.CloseAccount(ctx, m.Now, m.Actor, id); err != nil {
		return ClosedAccount{}, err
	}
	return ClosedAccount{Account: accountOf(a), ActiveKeys: active}, nil
}

// activeKeys counts an account's active keys.
func (m *Manager) activeKeys(ctx context.Context, accountID string) (int, error) {
	active, err := All(func(page Page) (List[Key], error) {
		return m.Keys(ctx, KeyQuery{AccountID: accountID, Status: StatusActive, Page: page})
	})
	return len(active), err
}
