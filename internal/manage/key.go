package manage

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Key is an API key in a result.
type Key struct {
	ID         string    `json:"key_id"`
	Secret     ShownOnce `json:"key,omitzero"` // only of a new key
	AccountID  string    `json:"account_id"`
	Origin     string    `json:"origin"` // initial, console or api
	Label      string    `json:"label"`
	ExpiresAt  Expiry    `json:"expires_at"`
	Allow      []string  `json:"allow"`  // addresses, blocks and ranges; empty for any address
	Limits     []string  `json:"limits"` // such as requests=60/m; empty for no limits
	Issuable   bool      `json:"issuable"`
	Status     string    `json:"status"` // one of KeyStatuses
	CreatedAt  Time      `json:"created_at"`
	LastUsedAt Time      `json:"last_used_at"` // accurate to a minute
	RevokeFrom Time      `json:"revoke_from"`
	IssuerID   OrNull    `json:"issuer_id"`
	Prefix     string    `json:"prefix"`     // the first characters of the secret; empty if only a digest was imported
	RevokedAt  Time      `json:"revoked_at"` // null for a key that only its closed account has ended
	DeletedAt  Time      `json:"deleted_at"`
	// RevokeReason is the reason of a revocation, also of one in the future. People wrote
	// it.
	RevokeReason  OrNull `json:"revoke_reason"`
	SuspendedAt   Time   `json:"suspended_at"` // null for a key that only its account suspends
	SuspendReason OrNull `json:"suspend_reason"`
	// Repeated is true if an earlier request with the same idempotency key has issued the
	// key. The answer to that request had the secret, and this one has none.
	Repeated bool `json:"repeated,omitempty"`

	EndedAt          Time     `json:"-"` // when the key was revoked or deleted; zero if only its account was closed
	AccountOpen      bool     `json:"-"` // whether the key's account is open
	AccountSuspended bool     `json:"-"` // whether the key's account is suspended
	Warnings         []string `json:"-"` // about Allow: for example, a block holds every address
}

func (m *Manager) keyOf(k policy.Key) Key {
	result := Key{
		ID:         k.ID,
		AccountID:  k.AccountID,
		Origin:     k.Origin.String(),
		Label:      k.Label,
		ExpiresAt:  Expiry{k.Expires},
		Allow:      k.Allow.Entries(),
		Limits:     k.Limits.Words(),
		Issuable:   k.Issuable,
		Status:     k.Status(m.Now),
		CreatedAt:  Time{k.CreatedAt},
		LastUsedAt: Time{k.LastUsedAt},
		RevokeFrom: Time{k.RevokeFrom},
		IssuerID:   OrNull(k.IssuerID),

		Prefix:        k.Prefix,
		RevokedAt:     Time{k.RevokedSince(m.Now)},
		DeletedAt:     Time{k.DeletedAt},
		RevokeReason:  OrNull(k.RevokeReason),
		SuspendedAt:   Time{k.SuspendedAt},
		SuspendReason: OrNull(k.SuspendReason),

		EndedAt:          Time{k.RevokedSince(m.Now)},
		AccountOpen:      k.AccountOpen,
		AccountSuspended: k.AccountSuspended,
		Warnings:         k.Allow.Warnings(),
	}
	if result.EndedAt.IsZero() && k.AccountOpen {
		result.EndedAt = Time{k.DeletedAt}
	}
	return result
}

// NewKey is a request to issue a key. The expiry, the addresses, the limits and the issuance
// right of a key cannot be changed later.
type NewKey struct {
	// AccountID is the ID or the name of the account that the key is for. Required.
	AccountID string `json:"account_id"`
	// Label says what the key is for: up to 200 bytes of printable text.
	Label string `json:"label"`
	// Expires is a duration from now (30d), a date (the key expires at the end of that day
	// in UTC), an instant in RFC 3339, or [Never]. Required.
	Expires string `json:"expires"`
	// Allow has the addresses that the key may be used from: single addresses, CIDR blocks
	// and ranges. A text can have several, with commas between them. Default: any address.
	Allow []string `json:"allow"`
	// Limits are the limits of the key, as [policy.ParseLimits] reads them, such as
	// requests=60/m. A text can have several, with spaces or commas between them. Default: no
	// limits.
	Limits []string `json:"limits"`
	// Issuable lets the key issue keys through the issuance API.
	Issuable bool `json:"issuable"`
}

// Validate refuses a field that is wrong. It does not look at the keystore. Times are
// checked against now.
func (n *NewKey) Validate(now policy.Time) error {
	_, err := n.parse(now)
	return err
}

func (n *NewKey) parse(now policy.Time) (k keystore.NewKey, err error) {
	k = keystore.NewKey{AccountID: n.AccountID, Origin: policy.OriginConsole, Label: n.Label, Issuable: n.Issuable}
	if n.AccountID == "" {
		return k, wrong("account_id", " is missing: want the account's ID%s", list{KindAccount, ", as %s shows it"})
	}
	if err := CheckAccount("account_id", n.AccountID); err != nil {
		return k, err
	}
	if err := checkLabel(n.Label); err != nil {
		return k, err
	}
	if k.Expires, err = parseExpiry(n.Expires, now); err != nil {
		return k, err
	}
	if k.Allow, err = policy.ParseAddrSet(strings.Join(n.Allow, ",")); err != nil {
		return k, wrong("allow", ": %v", err)
	}
	if k.Allow.Any() && len(n.Allow) > 0 {
		return k, wrong("allow", " is empty: leave it out to allow any address")
	}
	if k.Limits, err = parseLimits(n.Limits); err != nil {
		return k, err
	}
	return k, nil
}

// IssueKey issues a key. The result has its secret.
func (m *Manager) IssueKey(ctx context.Context, n NewKey) (Key, error) {
	k, err := n.parse(m.Now)
	if err != nil {
		return Key{}, err
	}
	if k.AccountID, err = m.accountID(ctx, k.AccountID); err != nil {
		return Key{}, err
	}
	key, secret, err := m.Store.IssueKey(ctx, m.Now, m.Actor, k)
	if id, repeated := madeBefore(err); repeated {
		return m.issuedBefore(ctx, id, k.AccountID, &n)
	}
	if err != nil {
		return Key{}, notFound(err, KindAccount)
	}
	return m.newKey(key, secret), nil
}

func (m *Manager) newKey(k policy.Key, secret policy.Secret) Key {
	result := m.keyOf(k)
	result.Secret = ShownOnce{secret}
	return result
}

// Key returns a key.
func (m *Manager) Key(ctx context.Context, id string) (Key, error) {
	if err := CheckID("key_id", KindKey, id); err != nil {
		return Key{}, err
	}
	k, err := m.key(ctx, id)
	return m.keyOf(k), err
}

// KeyIDOf returns the ID of the key that has this secret. If there is no such key, the
// error does not show the secret.
func (m *Manager) KeyIDOf(ctx context.Context, secret policy.Secret) (string, error) {
	if malformed := policy.CheckSecret(secret); malformed != nil {
		return "", wrongIn("key", "the key %v", malformed)
	}
	record, err := m.Store.FindKey(ctx, secret)
	if err == nil {
		if id, account := record.IDs(); m.reaches(account) {
			return id, nil
		}
		err = keystore.ErrNotFound
	}
	if errors.Is(err, keystore.ErrNotFound) {
		return "", &NotFoundError{Kind: KindKey, err: phrase.Errorf("the keystore has no such key: it was never issued or imported here, or its record has been pruned since it ended")}
	}
	return "", err
}

// key returns the record of a key, if the actor reaches its account.
func (m *Manager) key(ctx context.Context, id string) (policy.Key, error) {
	k, err := m.Store.Key(ctx, id)
	if err == nil && !m.reaches(k.AccountID) {
		return policy.Key{}, absent(KindKey, id)
	}
	return k, notFound(err, KindKey)
}

// RotatedKey is a new key, with the key that it replaces.
type RotatedKey struct {
	Key

	Replaces Key `json:"replaces"`
}

// RotateKey issues a key with the rules of another key. The result has the secret of the
// new key. The other key is revoked after the overlap, which is a duration such as 24h;
// with 0 it is revoked at once. It is for the operator only.
func (m *Manager) RotateKey(ctx context.Context, id, overlap string) (RotatedKey, error) {
	if err := m.operatorOnly(); err != nil {
		return RotatedKey{}, err
	}
	if err := CheckID("key_id", KindKey, id); err != nil {
		return RotatedKey{}, err
	}
	span, err := parseOverlap(overlap)
	if err != nil {
		return RotatedKey{}, err
	}
	r, err := m.Store.RotateKey(ctx, m.Now, m.Actor, id, span)
	if successor, repeated := madeBefore(err); repeated {
		return m.rotatedBefore(ctx, id, successor, span)
	}
	if err != nil {
		return RotatedKey{}, notFound(err, KindKey)
	}
	return RotatedKey{Key: m.newKey(r.New, r.Secret), Replaces: m.keyOf(r.Old)}, nil
}

// CheckOverlap refuses a text that is not an overlap of [Manager.RotateKey].
func CheckOverlap(text string) error {
	_, err := parseOverlap(text)
	return err
}

func parseOverlap(text string) (time.Duration, error) {
	overlap, err := parseSpanOf("overlap", text)
	if err == nil && overlap > keystore.MaxOverlap {
		err = wrong("overlap", " %s: that is more than ten years: %s", words.Quote(text), wantDuration())
	}
	return overlap, err
}

// EndedKey is a key that was deleted or revoked.
type EndedKey struct {
	Key

	// Children is how many keys were revoked together with this key because it had issued
	// them. It is nil without [Revocation.WithChildren].
	Children *int `json:"children_revoked,omitempty"`

	At      Time `json:"-"` // when the key was deleted or revoked
	Already bool `json:"-"` // an earlier call has deleted or revoked the key
}

// DeleteKey deletes a key. The holder of the account may do this, too. It refuses keys that
// came with the account or from the issuance API.
func (m *Manager) DeleteKey(ctx context.Context, id string) (EndedKey, error) {
	if err := CheckID("key_id", KindKey, id); err != nil {
		return EndedKey{}, err
	}
	before, err := m.key(ctx, id)
	if err != nil { // also if the actor may not see the key
		return EndedKey{}, err
	}
	k, err := m.Store.DeleteKey(ctx, m.Now, m.Actor, id)
	if err != nil {
		return EndedKey{}, notFound(err, KindKey)
	}
	return EndedKey{Key: m.keyOf(k), At: Time{k.DeletedAt}, Already: !before.DeletedAt.IsZero()}, nil
}

// Revocation says how to revoke a key.
type Revocation struct {
	// Reason is written to the audit trail: up to 200 bytes of printable text.
	Reason string `json:"reason"`
	// If WithChildren is true, the keys that the key has issued are revoked too.
	WithChildren bool `json:"with_children"`
}

// RevokeKey revokes a key, no matter where it came from. It is for the operator only.
func (m *Manager) RevokeKey(ctx context.Context, id string, r Revocation) (EndedKey, error) {
	if err := m.operatorOnly(); err != nil {
		return EndedKey{}, err
	}
	if err := CheckID("key_id", KindKey, id); err != nil {
		return EndedKey{}, err
	}
	if err := checkReason(r.Reason); err != nil {
		return EndedKey{}, err
	}
	before, err := m.key(ctx, id)
	if err != nil {
		return EndedKey{}, err
	}
	var k policy.Key
	var children *int
	if r.WithChildren {
		children = new(int)
		k, *children, err = m.Store.RevokeTree(ctx, m.Now, m.Actor, id, r.Reason)
	} else {
		k, err = m.Store.RevokeKey(ctx, m.Now, m.Actor, id, r.Reason)
	}
	if err != nil {
		return EndedKey{}, notFound(err, KindKey)
	}
	return EndedKey{Key: m.keyOf(k), Children: children, At: Time{k.RevokedAt}, Already: !before.RevokedAt.IsZero()}, nil
}
