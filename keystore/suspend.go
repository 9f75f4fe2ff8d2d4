package keystore

import (
	"context"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/policy"
)

// SuspendAccount refuses all keys of an account, and its service password, from now on,
// until [Store.ResumeAccount]. The store keeps the reason, up to 200 bytes of printable
// UTF-8. If the account is suspended already, nothing changes. Only the operator may call
// it. The error is ErrNotFound if there is no such account, and ErrAccountClosed if the
// account is closed.
func (s *Store) SuspendAccount(ctx context.Context, now policy.Time, by Actor, id, reason string) (policy.Account, error) {
	if err := CheckText("the reason", reason); err != nil {
		return policy.Account{}, err
	}
	return s.changeAccount(ctx, now, by, id, "suspending an account", s.writeEnding, func(t *txn, a *policy.Account) bool {
		if !a.SuspendedAt.IsZero() {
			return false
		}
		a.SuspendedAt, a.SuspendReason = now, reason
		t.exec(`UPDATE accounts SET suspended_at = $1, suspend_reason = $2 WHERE id = $3`, now, reason, id)
		t.endSessions(ActorAccount, id, nil)
		t.audit(now, by, actionAccountSuspend, id, id, reason)
		return true
	})
}

// ResumeAccount ends the suspension of an account. Keys that were suspended themselves
// stay suspended. If the account is not suspended, nothing changes. Only the operator may
// call it. The error is ErrNotFound if there is no such account, and ErrAccountClosed if
// the account is closed.
func (s *Store) ResumeAccount(ctx context.Context, now policy.Time, by Actor, id string) (policy.Account, error) {
	return s.changeAccount(ctx, now, by, id, "resuming an account", s.write, func(t *txn, a *policy.Account) bool {
		if a.SuspendedAt.IsZero() {
			return false
		}
		a.SuspendedAt, a.SuspendReason = 0, ""
		t.exec(`UPDATE accounts SET suspended_at = NULL, suspend_reason = NULL WHERE id = $1`, id)
		t.audit(now, by, actionAccountResume, id, id, "")
		return true
	})
}

// changeAccount runs change on an open account, and announces that the account changed. The
// argument what says what the change is, for an actor that may not make it.
func (s *Store) changeAccount(ctx context.Context, now policy.Time, by Actor, id, what string, write func(context.Context, func(*txn) error) error, change func(*txn, *policy.Account) bool) (a policy.Account, err error) {
	if err := operatorOnly(by, what); err != nil {
		return policy.Account{}, err
	}
	err = write(ctx, func(t *txn) (err error) {
		if a, err = readAccount(t.ctx, t, id); err != nil {
			return err
		}
		if !a.Open() {
			return refuse(ErrAccountClosed, "account %s was closed at %s, which is for good", a.ID, a.ClosedAt)
		}
		if !change(t, &a) {
			return nil
		}
		return t.changed(now, changedAccount, []byte(id))
	})
	if err != nil {
		return policy.Account{}, err
	}
	return a, nil
}

// SuspendKey refuses a key from now on, until [Store.ResumeKey]. The keys that it issued
// go on. The store keeps the reason, up to 200 bytes of printable UTF-8. If the key is
// suspended already, nothing changes. Only the operator may call it. The error is
// ErrNotFound if there is no such key, and ErrInvalid if the key has ended.
func (s *Store) SuspendKey(ctx context.Context, now policy.Time, by Actor, id, reason string) (policy.Key, error) {
	if err := operatorOnly(by, "suspending a key"); err != nil {
		return policy.Key{}, err
	}
	if err := CheckText("the reason", reason); err != nil {
		return policy.Key{}, err
	}
	return s.endKey(ctx, now, by, id, func(t *txn, k *policy.Key) (changed bool, err error) {
		if k.Ended(now) {
			return false, refuse(ErrInvalid, "key %s cannot be suspended: it is %s already", id, phrase.Word(k.Status(now)))
		}
		if !k.SuspendedAt.IsZero() {
			return false, nil
		}
		k.SuspendedAt, k.SuspendReason = now, reason
		t.exec(`UPDATE api_keys SET suspended_at = $1, suspend_reason = $2 WHERE id = $3`, now, reason, id)
		t.audit(now, by, actionKeySuspend, k.AccountID, id, reason)
		return true, nil
	})
}

// ResumeKey ends the suspension of a key. If the key is not suspended, nothing changes.
// Only the operator may call it. The error is ErrNotFound if there is no such key, and
// ErrInvalid if the key has ended.
func (s *Store) ResumeKey(ctx context.Context, now policy.Time, by Actor, id string) (policy.Key, error) {
	if err := operatorOnly(by, "resuming a key"); err != nil {
		return policy.Key{}, err
	}
	return s.changeKey(ctx, now, by, id, s.write, func(t *txn, k *policy.Key) (changed bool, err error) {
		if k.Ended(now) {
			return false, refuse(ErrInvalid, "key %s cannot be resumed: it is %s, which is for good", id, phrase.Word(k.Status(now)))
		}
		if k.SuspendedAt.IsZero() {
			return false, nil
		}
		k.SuspendedAt, k.SuspendReason = 0, ""
		t.exec(`UPDATE api_keys SET suspended_at = NULL, suspend_reason = NULL WHERE id = $1`, id)
		t.audit(now, by, actionKeyResume, k.AccountID, id, "")
		return true, nil
	})
}
