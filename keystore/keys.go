package keystore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

// NewKey says what key to issue.
type NewKey struct {
	AccountID string
	Origin    policy.Origin
	Label     string // for people: up to 200 bytes of printable UTF-8
	Expires   policy.Expiry
	Allow     policy.AddrSet
	Limits    policy.Limits
	Issuable  bool   // the key may issue keys: see policy.CheckIssue
	Issuer    string // ID of the key that issues this key; empty if no key does
	ServiceID string // the service ID with which the account asked; empty if it did not
	// OutlivesIssuer frees the key from the scheduled end of its issuer. Without it, the
	// key ends with its issuer when [Store.RotateKey] schedules the issuer's revocation,
	// also if the rotation comes after the issuing.
	OutlivesIssuer bool
}

// prefixLen is how many bytes of a secret are kept, so that people can recognize it.
const prefixLen = len(policy.KeyPrefix) + 4

// IssueKey makes a key, and returns the key and its secret; no other call returns the
// secret. The errors say why in one sentence:
//
//   - ErrNotFound: there is no such account or issuer.
//   - ErrAccountClosed: the account is closed.
//   - ErrAccountSuspended: the account is suspended.
//   - ErrInvalid: the expiry is not after now, the origin cannot carry the issuance
//     right, the label is too long or cannot be printed, or the issuer is a key of
//     another account or may not issue keys at now.
//   - RepeatedError: the request of the actor was made before.
func (s *Store) IssueKey(ctx context.Context, now policy.Time, by Actor, k NewKey) (policy.Key, policy.Secret, error) {
	none := func(err error) (policy.Key, policy.Secret, error) { return policy.Key{}, policy.Secret{}, err }
	if err := k.check(now); err != nil {
		return none(err)
	}
	secret, err := policy.GenerateSecret(policy.KeyPrefix, rand.Reader)
	if err != nil {
		return none(err)
	}
	id, err := by.newID("key_")
	if err != nil {
		return none(err)
	}
	n := newKey{now, by, k, k.key(now, id, secret.Reveal()[:prefixLen]), s.hash.secret(secret)}
	if err := s.writeKey(ctx, &n); err != nil {
		return none(err)
	}
	return n.key, secret, nil
}

func (k *NewKey) key(now policy.Time, id, prefix string) policy.Key {
	return policy.Key{
		ID: id, AccountID: k.AccountID, AccountOpen: true, Origin: k.Origin, Label: k.Label,
		Prefix: prefix, Allow: k.Allow, Limits: k.Limits, Issuable: k.Issuable, IssuerID: k.Issuer,
		CreatedAt: now, Expires: k.Expires,
	}
}

// addKey writes a new key. The caller announces it in the change feed.
func (t *txn) addKey(now policy.Time, by Actor, action string, key policy.Key, d digest, k NewKey) error {
	if err := t.insertKey(key, d, k.OutlivesIssuer); err != nil {
		return err
	}
	t.audit(now, by, action, key.AccountID, key.ID, k.detail(by))
	return t.err
}

// check refuses a new key that breaks a rule. It needs no read of the store.
func (k *NewKey) check(now policy.Time) error {
	if _, err := policy.ParseOrigin(k.Origin.String()); err != nil {
		return refuse(ErrInvalid, "%v", err)
	}
	if err := policy.CheckIssue(k.Origin, k.Issuable); err != nil {
		return refuse(ErrInvalid, "%v", err)
	}
	if k.Expires.Passed(now) {
		return refuse(ErrInvalid, "the key would expire at %s, which is not after now (%s)", k.Expires, now)
	}
	return CheckText("the key's label", k.Label)
}

// detail describes the key in the audit trail. It leaves out an issuer that is the
// actor, because the entry names the actor.
func (k *NewKey) detail(by Actor) string {
	d := fmt.Sprintf("origin %s, expires %s, from %s", k.Origin, k.Expires, k.Allow)
	if k.Issuable {
		d += ", may issue keys"
	}
	if !k.Limits.None() {
		d += ", limits " + k.Limits.String()
	}
	if k.Issuer != "" && (by.Kind != ActorKey || by.ID != k.Issuer) {
		d += ", issued by " + k.Issuer
	}
	return d
}

// checkIssue checks the account and the issuer in the transaction. They may have changed
// since the caller read them.
func (t *txn) checkIssue(now policy.Time, by Actor, k NewKey) error {
	if by.Kind == ActorAccount && by.ID != k.AccountID {
		return notFound("account", k.AccountID)
	}
	if err := t.parties.check(t, now, k.AccountID, k.ServiceID); err != nil {
		return err
	}
	if k.Issuer == "" {
		return nil
	}
	issuer, err := t.parties.issuer(t, k.Issuer)
	switch {
	case err != nil:
		return err
	case issuer.AccountID != k.AccountID:
		return refuse(ErrInvalid, "key %s is not of account %s, and cannot issue keys for it", issuer.ID, k.AccountID)
	case !issuer.Issuable || issuer.Status(now) != "active":
		return refuse(ErrInvalid, "key %s cannot issue keys: it has no issuance right, or is no longer active", issuer.ID)
	}
	return nil
}

// parties caches the accounts and issuers for which a transaction issues keys. Many
// keys of a batch have the same.
type parties struct {
	open    map[string]policy.Account // by account ID
	issuers map[string]policy.Key     // by key ID
}

// noteAccount reads a row of accountByID, and notes the account if it is open.
func (p *parties) noteAccount(row engine.Row) error {
	a, err := scanAccount(row)
	if err == nil && checkOpen(&a) == nil {
		p.noteOpen(&a)
	}
	return err
}

// noteIssuer reads a row of keyByID, and notes the key.
func (p *parties) noteIssuer(row engine.Row) error {
	var stored []byte
	k, err := scanKey(row, &stored)
	if err == nil {
		p.noteKey(&k)
	}
	return err
}

func (p *parties) noteOpen(a *policy.Account) {
	if p.open == nil {
		p.open = make(map[string]policy.Account)
	}
	p.open[a.ID] = *a
}

func (p *parties) noteKey(k *policy.Key) {
	if p.issuers == nil {
		p.issuers = make(map[string]policy.Key)
	}
	p.issuers[k.ID] = *k
}

// check refuses an account that is closed or suspended, or that does not have the service
// ID with which it asked any more. An empty serviceID matches every account.
func (p *parties) check(t *txn, now policy.Time, accountID, serviceID string) error {
	a, known := p.open[accountID]
	if !known {
		var err error
		if a, err = openAccount(t.ctx, t, accountID); err != nil {
			return err
		}
		p.noteOpen(&a)
	}
	if serviceID != "" && !a.HasServiceID(serviceID, now) {
		return refuse(ErrInvalid, "account %s has another service ID now: no key can be issued by the one before", accountID)
	}
	return nil
}

func (p *parties) issuer(t *txn, id string) (policy.Key, error) {
	if k, ok := p.issuers[id]; ok {
		return k, nil
	}
	k, _, err := t.key(Actor{}, id)
	if err != nil {
		return policy.Key{}, err
	}
	p.noteKey(&k)
	return k, nil
}

// openAccount refuses an account that does not exist, or is closed or suspended.
func openAccount(ctx context.Context, q querier, accountID string) (policy.Account, error) {
	a, err := readAccount(ctx, q, accountID)
	if err == nil {
		err = checkOpen(&a)
	}
	return a, err
}

// checkOpen refuses an account that is closed or suspended.
func checkOpen(a *policy.Account) error {
	switch {
	case !a.Open():
		return refuse(ErrAccountClosed, "account %s was closed at %s: no key can be issued for it", a.ID, a.ClosedAt)
	case !a.SuspendedAt.IsZero():
		return refuse(ErrAccountSuspended, "account %s was suspended at %s: no key can be issued for it until it is resumed", a.ID, a.SuspendedAt)
	}
	return nil
}

// isPruned reports whether d is the digest of a key whose row was pruned.
func (s *Store) isPruned(ctx context.Context, q querier, d digest) (dead bool, err error) {
	err = q.QueryRowContext(ctx, s.engine.Text(`SELECT EXISTS (SELECT 1 FROM dead_digests WHERE digest = (SELECT $1))`), d[:]).Scan(&dead)
	return dead, err
}

// DeleteKey ends a key of origin console at once, for the account holder. Keys of other
// origins cannot be deleted: the error is ErrInvalid and says why. If the key is
// deleted already, nothing changes. The error is ErrNotFound if there is no such key.
func (s *Store) DeleteKey(ctx context.Context, now policy.Time, by Actor, id string) (policy.Key, error) {
	return s.endKey(ctx, now, by, id, func(t *txn, k *policy.Key) (changed bool, err error) {
		if err := policy.CheckDelete(k.Origin); err != nil {
			return false, refuse(ErrInvalid, "key %s cannot be deleted: %v", id, err)
		}
		if !k.DeletedAt.IsZero() {
			return false, nil
		}
		k.DeletedAt = now
		t.exec(`UPDATE api_keys SET deleted_at = $1 WHERE id = $2`, now, id)
		t.audit(now, by, actionKeyDelete, k.AccountID, id, "")
		return true, nil
	})
}

// RevokeKey ends any key at once, for the operator. The store keeps the reason, up to
// 200 bytes of printable UTF-8 without a secret. The error is ErrInvalid if the reason
// breaks this rule. If the key is revoked already, nothing changes. The error is
// ErrNotFound if there is no such key.
func (s *Store) RevokeKey(ctx context.Context, now policy.Time, by Actor, id, reason string) (policy.Key, error) {
	if err := CheckText("the reason", reason); err != nil {
		return policy.Key{}, err
	}
	return s.endKey(ctx, now, by, id, func(t *txn, k *policy.Key) (changed bool, err error) {
		if !k.RevokedAt.IsZero() {
			return false, nil
		}
		t.revoke(now, by, k, reason)
		return true, nil
	})
}

// revoke ends a key that is not revoked.
func (t *txn) revoke(now policy.Time, by Actor, k *policy.Key, reason string) {
	k.RevokedAt = now
	k.RevokeReason = reason
	t.exec(`UPDATE api_keys SET revoked_at = $1, revoked_reason = $2 WHERE id = $3`, now, reason, k.ID)
	t.audit(now, by, actionKeyRevoke, k.AccountID, k.ID, reason)
}

// endKey is changeKey for a change that ends a key or suspends it, and that must succeed
// on a full disk too.
func (s *Store) endKey(ctx context.Context, now policy.Time, by Actor, id string, end func(*txn, *policy.Key) (changed bool, err error)) (policy.Key, error) {
	return s.changeKey(ctx, now, by, id, s.writeEnding, end)
}

// changeKey runs change on a key, and announces in the change feed that the key has changed.
func (s *Store) changeKey(ctx context.Context, now policy.Time, by Actor, id string, write func(context.Context, func(*txn) error) error, change func(*txn, *policy.Key) (changed bool, err error)) (key policy.Key, err error) {
	err = write(ctx, func(t *txn) error {
		k, stored, err := t.key(by, id)
		if err != nil {
			return err
		}
		changed, err := change(t, &k)
		if err == nil && changed {
			err = t.changed(now, changedKey, stored)
		}
		key = k
		return err
	})
	if err != nil {
		return policy.Key{}, err
	}
	return key, nil
}

// Key returns a key by its ID. The error is ErrNotFound if there is no such key.
func (s *Store) Key(ctx context.Context, id string) (policy.Key, error) {
	all, err := query(ctx, s, scanKeyOnly, `SELECT `+keyColumns+` FROM `+keyTables+` WHERE k.id = $1`, id)
	return one(all, err, "key", id)
}

// LiveKeys counts the account's keys from the issuance API that have not ended at now.
// It counts up to most keys, so its time does not grow with the number of keys.
func (s *Store) LiveKeys(ctx context.Context, accountID string, now policy.Time, most int) (int, error) {
	return queryCount(ctx, s, liveKeys, accountID, policy.OriginAPI.String(), now, most)
}

const liveKeys = `SELECT COUNT(*) FROM (SELECT 1 FROM api_keys WHERE account_id = $1 AND origin = $2 AND ` + firstEnd + ` > $3 LIMIT $4) AS live`

const keyByID = `SELECT ` + keyColumns + `, k.digest FROM ` + keyTables + ` WHERE k.id = $1`

// key reads a key and its stored digest. Other accounts' keys are not found for an
// actor that is an account.
func (t *txn) key(by Actor, id string) (k policy.Key, stored []byte, err error) {
	k, err = scanKey(t.queryRow(keyByID, id), &stored)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && by.Kind == ActorAccount && by.ID != k.AccountID) {
		return policy.Key{}, nil, notFound("key", id)
	}
	return k, stored, err
}
