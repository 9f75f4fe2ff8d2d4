package keystore

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/speechgate/speechgate/policy"
)

const (
	// i is the issuer. Its end can end the key too. The last use comes last: SQLite does not look
	// it up for a key that a condition on the others drops.
	keyTables = `api_keys k ` + keyJoins
	keyJoins  = `JOIN accounts a ON a.id = k.account_id LEFT JOIN api_keys i ON i.id = k.issuer_id
		LEFT JOIN last_uses u ON u.digest = k.digest`
	// revocation is the time of the first revocation, of the key itself or of all keys
	// of its issuer; 0 if both are not revoked.
	revocation = `CASE WHEN i.children_revoked_at < k.revoked_at THEN i.children_revoked_at
		ELSE COALESCE(k.revoked_at, i.children_revoked_at, 0) END`
	// scheduledEnd is the time of the first scheduled revocation, of the key itself or
	// of the issuer to which it is bound; 0 without a schedule.
	scheduledEnd = `CASE WHEN NOT k.outlives_issuer AND i.revoke_from < COALESCE(k.revoke_from, i.revoke_from + 1)
		THEN i.revoke_from ELSE COALESCE(k.revoke_from, 0) END`

	keyColumns = `k.id, k.account_id, COALESCE(a.closed_at, 0), k.origin, k.label, k.prefix, k.allow, k.issuable,
		k.created_at, k.expires_at, COALESCE(k.deleted_at, 0), ` + revocation + `, ` + scheduledEnd + `,
		COALESCE(u.at, 0), COALESCE(k.issuer_id, ''), COALESCE(a.suspended_at, 0), COALESCE(k.suspended_at, 0),
		COALESCE(k.revoked_reason, ''), COALESCE(k.suspend_reason, ''), ` + limitColumns
	limitColumns = `COALESCE(k.limits, ''), COALESCE(a.limits, '')`
)

func scanKeyOnly(row scanner) (policy.Key, error) { return scanKey(row) }

// scanKey reads keyColumns, and the columns after them into more.
func scanKey(row scanner, more ...any) (k policy.Key, err error) {
	var raw rawKey
	dest := append([]any{
		&k.ID, &k.AccountID, &raw.closed, &raw.origin, &k.Label, &k.Prefix, &raw.allow, &k.Issuable,
		&k.CreatedAt, &raw.expires, &k.DeletedAt, &k.RevokedAt, &k.RevokeFrom, &k.LastUsedAt, &k.IssuerID,
		&raw.suspended, &k.SuspendedAt, &k.RevokeReason, &k.SuspendReason, &raw.limits, &raw.accountLimits,
	}, more...)
	if err := row.Scan(dest...); err != nil {
		return policy.Key{}, err
	}
	return raw.complete(k)
}

// rawKey has the columns of a key that must be parsed.
type rawKey struct {
	closed, suspended policy.Time // of the account
	origin, allow     string
	expires           sql.Null[int64]

	limits, accountLimits string
}

// complete parses the columns and sets the rest of k. If it cannot parse a column, it
// returns an error, and never a key with fewer restrictions.
func (raw *rawKey) complete(k policy.Key) (policy.Key, error) {
	var err error
	k.AccountOpen, k.AccountSuspended = raw.closed.IsZero(), !raw.suspended.IsZero()
	k.Expires = policy.Never()
	if raw.expires.Valid {
		k.Expires = policy.ExpiresAt(policy.Time(raw.expires.V))
	}
	if k.Origin, err = policy.ParseOrigin(raw.origin); err == nil {
		k.Allow, err = scanAllow(raw.allow)
	}
	if err == nil {
		k.Limits, k.AccountLimits, err = raw.parseLimits()
	}
	if err != nil {
		return policy.Key{}, fmt.Errorf("the record of key %s is damaged: %w", k.ID, err)
	}
	return k, nil
}

func scanAllow(text string) (policy.AddrSet, error) {
	if text == "[]" {
		return policy.AddrSet{}, nil
	}
	var entries []string
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return policy.AddrSet{}, fmt.Errorf("its allowed addresses: %w", err)
	}
	if entries == nil { // JSON's null, which is not the empty list
		return policy.AddrSet{}, errors.New("its allowed addresses are missing")
	}
	return policy.NewAddrSet(entries)
}
