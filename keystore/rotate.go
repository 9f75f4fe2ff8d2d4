package keystore

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/policy"
)

// Rotation is a key and its successor.
type Rotation struct {
	Old, New policy.Key
	Secret   policy.Secret // of the new key; no other call returns it
}

// MaxOverlap is the longest overlap, ten years.
const MaxOverlap = 10 * 8766 * time.Hour

// RotateKey issues a key with the rules of the old key, and schedules the revocation
// of the old key for the end of the overlap. The keys that the old key has issued end
// at that instant too, except those issued with OutlivesIssuer. An overlap of zero
// revokes the old key at once, as [Store.RevokeKey] does, and does not end the keys
// that it has issued. The new key has the origin console. The old key keeps its
// expiry. Both keys belong to one tree: see [Store.RevokeTree].
//
// Only the operator may call it. The error is ErrInvalid for an overlap below zero or
// above ten years, for a key that is not active, and for a key whose revocation is
// scheduled already. It is a RepeatedError if the request of the actor was made before.
func (s *Store) RotateKey(ctx context.Context, now policy.Time, by Actor, id string, overlap time.Duration) (r Rotation, err error) {
	if err := operatorOnly(by, "rotating a key"); err != nil {
		return Rotation{}, err
	}
	if err := checkOverlap(overlap); err != nil {
		return Rotation{}, err
	}
	secret, err := policy.GenerateSecret(policy.KeyPrefix, rand.Reader)
	if err != nil {
		return Rotation{}, err
	}
	newKeyID, err := by.newID("key_")
	if err != nil {
		return Rotation{}, err
	}
	d := s.hash.secret(secret)
	err = s.write(ctx, func(t *txn) error {
		if err := s.checkPepper(t); err != nil {
			return err
		}
		if err := t.refuseRepeated(by, madeKey, newKeyID); err != nil {
			return err
		}
		old, stored, err := t.key(by, id)
		if err != nil {
			return err
		}
		if err := checkRotate(now, &old); err != nil {
			return err
		}
		k := NewKey{
			AccountID: old.AccountID, Origin: policy.OriginConsole, Label: old.Label,
			Expires: old.Expires, Allow: old.Allow, Limits: old.Limits, Issuable: old.Issuable, Issuer: old.IssuerID,
		}
		if err := t.queryRow(`SELECT outlives_issuer FROM api_keys WHERE id = $1`, old.ID).Scan(&k.OutlivesIssuer); err != nil {
			return err
		}
		key := k.key(now, newKeyID, secret.Reveal()[:prefixLen])
		t.retire(now, by, &old, key.ID, overlap)
		if err := t.changed(now, changedKey, stored); err != nil {
			return err
		}
		if old.Issuable { // its children end with it
			if err := t.changed(now, changedChildren, []byte(old.ID)); err != nil {
				return err
			}
		}
		r = Rotation{Old: old, New: key, Secret: secret}
		if err := t.addKey(now, by, actionKeyIssue, key, d, k); err != nil {
			return err
		}
		t.exec(`UPDATE api_keys SET replaces = $1 WHERE id = $2`, old.ID, key.ID)
		return t.announce(now, changedKey, d[:])
	})
	if err != nil {
		return Rotation{}, err
	}
	return r, nil
}

func checkOverlap(overlap time.Duration) error {
	if overlap < 0 || overlap > MaxOverlap {
		return refuse(ErrInvalid, "an overlap of %s: want one from zero to ten years", overlap)
	}
	return nil
}

func checkRotate(now policy.Time, k *policy.Key) error {
	switch status := k.Status(now); {
	case !k.AccountOpen:
		return refuse(ErrAccountClosed, "key %s cannot be rotated: its account, %s, is closed", k.ID, k.AccountID)
	case status == "suspended":
		return refuse(ErrInvalid, "key %s cannot be rotated: it or its account is suspended; resume it first", k.ID)
	case status != "active":
		return refuse(ErrInvalid, "key %s cannot be rotated: it is %s; issue a new key instead", k.ID, phrase.Word(status))
	case !k.RevokeFrom.IsZero():
		return refuse(ErrInvalid, "key %s cannot be rotated: it is revoked from %s on already, since it or the key that issued it was rotated; rotate its successor, or issue a new key", k.ID, k.RevokeFrom)
	}
	return nil
}

// ReplacedBy returns the reason of the revocation of a key that was rotated. The key successor
// has replaced it.
func ReplacedBy(successor string) string { return "replaced by " + successor }

// retire schedules the revocation of a key. The key successor replaces it.
func (t *txn) retire(now policy.Time, by Actor, k *policy.Key, successor string, overlap time.Duration) {
	reason := ReplacedBy(successor)
	k.RevokeReason = reason
	if overlap == 0 {
		k.RevokedAt = now
		t.exec(`UPDATE api_keys SET revoked_at = $1, revoked_reason = $2 WHERE id = $3`, now, reason, k.ID)
		t.audit(now, by, actionKeyRotate, k.AccountID, k.ID, reason+", revoked at once")
		return
	}
	k.RevokeFrom = now.Add(overlap)
	t.exec(`UPDATE api_keys SET revoke_from = $1, revoked_reason = $2 WHERE id = $3`, k.RevokeFrom, reason, k.ID)
	t.audit(now, by, actionKeyRotate, k.AccountID, k.ID, reason+", revoked from "+k.RevokeFrom.String()+" on")
}

// operatorOnly refuses every actor except the operator.
func operatorOnly(by Actor, what string) error {
	if by.Kind != ActorOperator {
		return refuse(ErrInvalid, "%s is for the operator only", what)
	}
	return nil
}
