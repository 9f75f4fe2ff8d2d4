package manage

import (
	"context"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Account is an account in a result.
type Account struct {
	ID              string    `json:"account_id"`
	Name            string    `json:"name"`
	ServiceID       string    `json:"service_id"`
	ServicePassword ShownOnce `json:"service_password,omitzero"` // only of a new or rotated account
	Status          string    `json:"status"`                    // open, suspended or closed
	CreatedAt       Time      `json:"created_at"`
	ClosedAt        Time      `json:"closed_at"`
	SuspendedAt     Time      `json:"suspended_at"`
	SuspendReason   OrNull    `json:"suspend_reason"`
	// PreviousServiceID is the service ID from before the last rotation. It works until
	// PreviousUntil, with the old service password. Then it is null.
	PreviousServiceID OrNull `json:"previous_service_id"`
	PreviousUntil     Time   `json:"previous_until"`
	// Limits are those of all keys of the account together, such as requests=600/m. They are
	// empty for no limits.
	Limits []string `json:"limits"`
	// Repeated is true if an earlier request with the same idempotency key has created or
	// rotated the account. The answer to that request had the service password, and this one
	// has none.
	Repeated bool `json:"repeated,omitempty"`
}

func (m *Manager) accountOf(a policy.Account) Account {
	result := Account{
		ID: a.ID, Name: a.Name, ServiceID: a.ServiceID, Status: a.Status(),
		CreatedAt: Time{a.CreatedAt}, ClosedAt: Time{a.ClosedAt},
		SuspendedAt: Time{a.SuspendedAt}, SuspendReason: OrNull(a.SuspendReason),
		Limits: a.Limits.Words(),
	}
	if m.Now < a.PreviousUntil {
		result.PreviousServiceID, result.PreviousUntil = OrNull(a.PreviousServiceID), Time{a.PreviousUntil}
	}
	return result
}

// Open reports whether the account is open.
func (a *Account) Open() bool { return a.ClosedAt.IsZero() }

// NewAccount is a request to create an account.
type NewAccount struct {
	// Name is the name of the customer, which people read: 1 to 200 bytes of printable text.
	// Required.
	Name string `json:"name"`
	// ServiceID is a service ID that the customer has elsewhere: 1 to 200 visible ASCII
	// characters. It needs a ServicePassword. Default: a new service ID, with a new
	// service password.
	ServiceID string `json:"service_id"`
	// ServicePassword is the password that belongs to ServiceID: 8 to 1024 bytes.
	ServicePassword policy.Secret `json:"-"`
}

// Validate refuses a name or a service ID that no account can have, and a service password
// without a service ID. It does not read the keystore.
func (n *NewAccount) Validate() error {
	if err := checkName(n.Name); err != nil {
		return err
	}
	if n.ServiceID == "" {
		if !n.ServicePassword.Empty() {
			return wrong("service_id", " is missing: a service password needs the service ID that it belongs to")
		}
		return nil
	}
	return inField("service_id", keystore.CheckServiceID(n.ServiceID))
}

// checkName refuses a text that cannot be the name of an account.
func checkName(name string) error {
	if name == "" {
		return wrong("name", ` is missing: want the customer's name, such as %s "Example Corp."`, field("name"))
	}
	if err := keystore.CheckText("the account's name", name); err != nil {
		return inField("name", err)
	}
	if found, ok := lookalike(name); ok {
		return wrong("name", " %s begins like %s: want another name, so that commands can find the account by it", words.QuoteArgument(name), found)
	}
	return nil
}

// CreateAccount creates an account. If the service password is a new one, the result has
// it. It is for the operator only.
func (m *Manager) CreateAccount(ctx context.Context, n NewAccount) (Account, error) {
	if err := m.operatorOnly(); err != nil {
		return Account{}, err
	}
	if err := n.Validate(); err != nil {
		return Account{}, err
	}
	if n.ServiceID != "" {
		if err := keystore.CheckServicePassword(n.ServicePassword); err != nil {
			return Account{}, inField("service_password", err)
		}
		a, err := m.Store.ImportAccount(ctx, m.Now, m.Actor, n.Name, n.ServiceID, n.ServicePassword)
		if id, repeated := madeBefore(err); repeated {
			return m.createdBefore(ctx, id, &n)
		}
		return m.accountOf(a), err
	}
	a, password, err := m.Store.CreateAccount(ctx, m.Now, m.Actor, n.Name)
	if id, repeated := madeBefore(err); repeated {
		return m.createdBefore(ctx, id, &n)
	}
	return m.withPassword(a, password), err
}

// RotateAccount gives an account a new service ID and a new service password. The argument
// account is an ID or a name. The result has the new ID and the new password. The old ones
// work until the end of the overlap, which is a duration such as 24h; with 0 they stop
// working at once. It is for the operator only.
func (m *Manager) RotateAccount(ctx context.Context, account, overlap string) (Account, error) {
	id, err := m.operatorsAccount(ctx, account)
	if err != nil {
		return Account{}, err
	}
	span, err := parseOverlap(overlap)
	if err != nil {
		return Account{}, err
	}
	a, password, err := m.Store.RotateAccount(ctx, m.Now, m.Actor, id, span)
	if rotated, repeated := madeBefore(err); repeated {
		return m.accountRotatedBefore(ctx, id, rotated, span)
	}
	return m.withPassword(a, password), notFound(err, KindAccount)
}

func (m *Manager) withPassword(a policy.Account, password policy.Secret) Account {
	result := m.accountOf(a)
	result.ServicePassword = ShownOnce{password}
	return result
}

// AccountStatuses returns the words for the status of an account.
func AccountStatuses() []string { return []string{"open", "suspended", "closed"} }

// AccountQuery selects accounts. An account must match all its fields. The zero value
// selects all accounts.
type AccountQuery struct {
	Page

	// Status selects the accounts of one of the [AccountStatuses].
	Status string `json:"status"`
	// Search selects the accounts whose name contains this text, and those whose ID or service
	// ID begins with it, in upper or lower case.
	Search string `json:"search"`
	// NewestFirst turns the order around.
	NewestFirst bool `json:"newest_first"`
}

// Validate refuses a query with a mistake in a field. It does not read the keystore.
func (q *AccountQuery) Validate() error {
	if q.Status != "" {
		if err := oneOf("status", q.Status, AccountStatuses()); err != nil {
			return err
		}
	}
	if err := checkSearch(q.Search, phrase.New("a part of the name of an account, or its ID or service ID")); err != nil {
		return err
	}
	return q.check()
}

// Accounts returns a part of the list of accounts, oldest first. It is for the operator
// only.
func (m *Manager) Accounts(ctx context.Context, q AccountQuery) (List[Account], error) {
	if err := m.operatorOnly(); err != nil {
		return List[Account]{}, err
	}
	if err := q.Validate(); err != nil {
		return List[Account]{}, err
	}
	records, next, err := m.Store.Accounts(ctx, keystore.AccountList{Status: q.Status, Search: q.Search, NewestFirst: q.NewestFirst, Limit: q.Limit, Cursor: q.Cursor})
	return listOf(records, next, err, m.accountOf)
}

// Account returns an account. The argument account is an ID or a name.
func (m *Manager) Account(ctx context.Context, account string) (Account, error) {
	id, err := m.accountID(ctx, account)
	if err != nil {
		return Account{}, err
	}
	a, err := m.account(ctx, id)
	return m.accountOf(a), err
}

// account returns the record of an account, if the actor reaches it.
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

	ActiveKeys int  `json:"-"` // how many active or suspended keys ended with the account
	Already    bool `json:"-"` // an earlier call has closed the account
}

// CloseAccount closes an account for good, which ends all its keys. Without
// confirmation it changes nothing, and the error says how many keys would end; its
// field is confirm. An account that is closed already needs no confirmation. It is for
// the operator only.
func (m *Manager) CloseAccount(ctx context.Context, account string, confirmed bool) (ClosedAccount, error) {
	id, err := m.operatorsAccount(ctx, account)
	if err != nil {
		return ClosedAccount{}, err
	}
	a, err := m.account(ctx, id)
	if err != nil {
		return ClosedAccount{}, err
	}
	if !a.Open() {
		return ClosedAccount{Account: m.accountOf(a), Already: true}, nil
	}
	active, err := m.Store.CountLiveKeys(ctx, id, m.Now)
	if err != nil {
		return ClosedAccount{}, err
	}
	if !confirmed {
		return ClosedAccount{}, wrongIn("confirm", "account %s (%q) is not closed yet: that would end its %s at once and for good, with their streams and grace windows; add %s to do it",
			a.ID, a.Name, phrase.Count(active, "%d active key", "%d active keys"), field("confirm"))
	}
	if a, err = m.Store.CloseAccount(ctx, m.Now, m.Actor, id); err != nil {
		return ClosedAccount{}, err
	}
	return ClosedAccount{Account: m.accountOf(a), ActiveKeys: active}, nil
}
