package keystore

import (
	"context"

	"github.com/speechgate/speechgate/policy"
)

// SetUpConsoleIdentity binds an operator who has an open invitation to an identity at an OpenID
// Connect provider, and ends the invitation, the password, the second factor, the passkeys and
// the sessions of the operator. The error is ErrNotFound if the operator has no open invitation at now.
func (s *Store) SetUpConsoleIdentity(ctx context.Context, now policy.Time, from Actor, name string, identity Identity) (u ConsoleUser, err error) {
	err = s.write(ctx, func(t *txn) (err error) {
		if u, err = s.consoleUser(t.ctx, t, ActorOperator, name); err != nil {
			return err
		}
		if now >= u.SetupUntil || !u.Reached() {
			return refuse(ErrNotFound, "the operator %s has no open invitation", name)
		}
		u.PasswordHash, u.Identity, u.SetupUntil, u.SecondFactor, u.Passkeys = "", identity, 0, policy.Secret{}, 0
		t.exec(`UPDATE console_users SET issuer = $1, subject = $2, password = NULL, second = NULL, second_step = 0, setup_digest = NULL, setup_until = NULL
			WHERE kind = $3 AND id = $4`, identity.Issuer, identity.Subject, ActorOperator, name)
		t.exec(`DELETE FROM console_recovery WHERE kind = $1 AND id = $2`, ActorOperator, name)
		t.removePasskeys(ActorOperator, name)
		t.endSessions(ActorOperator, name, nil)
		t.auditUser(now, from, &u, actionConsoleSetup, "signs in at "+identity.Issuer+" from now on, as "+identity.Subject)
		return t.err
	})
	if err != nil {
		return ConsoleUser{}, err
	}
	return u, nil
}
