package manage

import (
	"context"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// parseLimits reads the limits of a new key.
func parseLimits(texts []string) (policy.Limits, error) {
	l, err := policy.ParseLimits(strings.Join(texts, " "))
	switch {
	case err != nil:
		return l, wrong("limits", ": %v", err)
	case l.None() && len(texts) > 0:
		return l, wrong("limits", " is empty: leave it out for a key without limits")
	}
	return l, nil
}

// LimitedAccount is an account whose limits were changed.
type LimitedAccount struct {
	Account

	Already bool `json:"-"` // the account had these limits before the call
}

// LimitAccount changes the limits of an account, which count for all its keys together. The
// argument account is an ID or a name. Each text of changes sets a limit, such as
// requests=600/m, or removes one, such as requests=none; limits that are not named stay. The
// only text none removes all. It is for the operator only.
func (m *Manager) LimitAccount(ctx context.Context, account string, changes []string) (LimitedAccount, error) {
	id, err := m.operatorsAccount(ctx, account)
	if err != nil {
		return LimitedAccount{}, err
	}
	change, err := parseLimitChange(changes)
	if err != nil {
		return LimitedAccount{}, err
	}
	before, err := m.account(ctx, id)
	if err != nil {
		return LimitedAccount{}, err
	}
	a, err := m.Store.LimitAccount(ctx, m.Now, m.Actor, id, change)
	if err != nil {
		return LimitedAccount{}, notFound(err, KindAccount)
	}
	return LimitedAccount{Account: m.accountOf(a), Already: before.Limits == a.Limits}, nil
}

// CheckLimitChange refuses texts that are not changes of [Manager.LimitAccount].
func CheckLimitChange(changes []string) error {
	_, err := parseLimitChange(changes)
	return err
}

func parseLimitChange(changes []string) (policy.LimitChange, error) {
	if len(changes) == 0 {
		return policy.LimitChange{}, wrong("limits", " is missing: want a limit such as requests=600/m, requests=none to remove one, or none to remove all")
	}
	change, err := policy.ParseLimitChange(strings.Join(changes, " "))
	if err != nil {
		return change, wrong("limits", ": %v", err)
	}
	return change, nil
}
