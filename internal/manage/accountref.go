package manage

import (
	"context"
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// CheckAccount refuses a text that can be neither the ID nor the name of an account. The
// message does not show a secret. The argument name is the name of the request's field, in
// JSON.
func CheckAccount(name, text string) error {
	if _, isOther := lookalike(text); strings.HasPrefix(text, idForms[KindAccount].prefix) || text != "" && !isOther {
		return nil
	}
	return CheckID(name, KindAccount, text)
}

// checkAccountIfAny does what CheckAccount does for the field account_id, but accepts an empty
// text.
func checkAccountIfAny(text string) error {
	if text == "" {
		return nil
	}
	return CheckAccount("account_id", text)
}

// accountID returns the ID of the account that has this ID or name, if the actor reaches
// the account. If several accounts have the name, the error lists their IDs. Its
// errors are about the field account_id.
func (m *Manager) accountID(ctx context.Context, text string) (string, error) {
	if err := CheckAccount("account_id", text); err != nil {
		return "", err
	}
	if strings.HasPrefix(text, idForms[KindAccount].prefix) {
		a, err := m.account(ctx, text)
		return a.ID, err
	}
	named, err := m.accountsNamed(ctx, text)
	switch {
	case err != nil:
		return "", err
	case len(named) == 0:
		return "", &NotFoundError{Kind: KindAccount, err: phrase.Errorf("there is no account with the ID or name %s", words.QuoteArgument(text))}
	case len(named) > 1:
		ids := make([]phrase.Text, len(named))
		for i, a := range named {
			ids[i] = phrase.New("%s (%s)", a.ID, phrase.Word(a.Status()))
		}
		return "", wrongIn("account_id", "%d accounts have the name %q: choose one by its ID, of %s", len(named), named[0].Name, phrase.List(ids))
	}
	return named[0].ID, nil
}

// accountIDIfAny does what accountID does for the field account_id, and returns "" for an empty
// text.
func (m *Manager) accountIDIfAny(ctx context.Context, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	return m.accountID(ctx, text)
}

// accountsNamed returns the accounts that have this name and that the actor reaches.
func (m *Manager) accountsNamed(ctx context.Context, name string) (named []policy.Account, err error) {
	if m.Actor.Kind == keystore.ActorOperator {
		return m.Store.AccountsNamed(ctx, name)
	}
	if own, err := m.account(ctx, m.Actor.ID); err == nil && own.Name == name {
		named = append(named, own)
	}
	return named, nil
}
