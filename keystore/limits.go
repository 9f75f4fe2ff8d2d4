package keystore

import (
	"context"
	"database/sql"

	"github.com/speechgate/speechgate/policy"
)

// noLimits is the detail of an entry of the audit trail that says that an account has no
// limits any more.
const noLimits = "no limits"

// LimitAccount changes the limits of an account, which count for all its keys together, from
// now on. If the change changes nothing, nothing is written. Only the operator may call it.
// The error is ErrNotFound if there is no such account, and ErrAccountClosed if the account
// is closed.
func (s *Store) LimitAccount(ctx context.Context, now policy.Time, by Actor, id string, change policy.LimitChange) (policy.Account, error) {
	return s.changeAccount(ctx, now, by, id, "limiting an account", s.write, func(t *txn, a *policy.Account) bool {
		limits := change.Apply(a.Limits)
		if limits == a.Limits {
			return false
		}
		a.Limits = limits
		text := limitsText(limits)
		t.exec(`UPDATE accounts SET limits = $1 WHERE id = $2`, text, id)
		detail := noLimits
		if text.Valid {
			detail = text.V
		}
		t.audit(now, by, actionAccountLimit, id, id, detail)
		return true
	})
}

// limitsText returns limits as they are stored: NULL for no limits.
func limitsText(l policy.Limits) sql.Null[string] {
	text := l.String()
	return sql.Null[string]{V: text, Valid: text != ""}
}

// parseLimits parses the limits of the key and of its account.
func (raw *rawKey) parseLimits() (key, account policy.Limits, err error) {
	if raw.limits != "" {
		if key, err = policy.ParseLimits(raw.limits); err != nil {
			return key, account, err
		}
	}
	if raw.accountLimits != "" {
		account, err = policy.ParseLimits(raw.accountLimits)
	}
	return key, account, err
}
