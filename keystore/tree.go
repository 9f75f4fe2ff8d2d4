package keystore

import (
	"context"
	"fmt"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// treeBatch is how many children are ended in one transaction, so that no
// request's write waits long behind it.
const treeBatch = 500

// uploadTime is the longest that a job can be on its way: a key that expired
// within it may yet turn out to have created one.
const uploadTime = 24 * time.Hour

// RevokeTree revokes a key, as RevokeKey does, the keys whose place it took, and
// every key that any of these issued, all as of the same instant. It returns how
// many issued keys it ended: also those that have expired and may still read
// their jobs, but not those that can do nothing any more.
//
// From the first moment on nothing can be issued in the tree. Should it fail on
// the way, with an error, some keys go on, and it is to be called again.
func (s *Store) RevokeTree(ctx context.Context, now policy.Time, by Actor, id, reason string) (key policy.Key, children int, err error) {
	if err := checkText("the reason", reason); err != nil {
		return policy.Key{}, 0, err
	}
	var issuers []string
	err = s.write(ctx, func(t *txn) (err error) {
		key, issuers, err = t.revokeIssuers(now, by, id, reason)
		return err
	})
	if err != nil {
		return policy.Key{}, 0, err
	}
	why := "issued by " + id
	if reason != "" {
		why += ": " + reason
	}
	for _, issuer := range issuers {
		for more := true; more; {
			var n int
			err := s.write(ctx, func(t *txn) (err error) {
				n, err = t.revokeChildren(now, by, key.AccountID, issuer, why)
				return err
			})
			if err != nil {
				return policy.Key{}, 0, fmt.Errorf("key %s and %d keys that it issued are revoked, others are not: do it again: %w", id, children, err)
			}
			children += n
			more = n == treeBatch
		}
	}
	return key, children, nil
}

// revokeIssuers ends a key, and those whose place it took, one after the other.
func (t *txn) revokeIssuers(now policy.Time, by Actor, id, reason string) (key policy.Key, issuers []string, err error) {
	if key, _, err = t.key(by, id); err != nil {
		return policy.Key{}, nil, err
	}
	issuers, err = queryRows(t.ctx, t, scanText, `WITH RECURSIVE issuers (id) AS (VALUES ($1) UNION
		SELECT k.replaces FROM api_keys k JOIN issuers ON k.id = issuers.id WHERE k.replaces IS NOT NULL)
		SELECT id FROM issuers WHERE id IN (SELECT id FROM api_keys)`, id)
	if err != nil {
		return policy.Key{}, nil, err
	}
	for _, issuer := range issuers {
		k, stored, err := t.key(Actor{}, issuer)
		if err != nil {
			return policy.Key{}, nil, err
		}
		if k.RevokedAt.IsZero() {
			t.revoke(now, by, &k, reason)
			if err := t.changed(now, changedKey, stored); err != nil {
				return policy.Key{}, nil, err
			}
		}
		// Also for a restore, of a key that was issued and is not here now.
		t.audit(now, by, actionTreeRevoke, k.AccountID, issuer, reason)
		if issuer == id {
			key = k
		}
	}
	return key, issuers, t.err
}

// revokeChildren ends some of the keys that an issuer has issued.
func (t *txn) revokeChildren(now policy.Time, by Actor, accountID, issuer, why string) (int, error) {
	ids, err := queryRows(t.ctx, t, scanText, `UPDATE api_keys SET revoked_at = $1, revoked_reason = $2 WHERE id IN
		(SELECT k.id FROM api_keys k WHERE k.issuer_id = $3 AND k.revoked_at IS NULL AND k.deleted_at IS NULL
			AND (k.expires_at IS NULL OR k.expires_at > $4 OR EXISTS (SELECT 1 FROM jobs WHERE jobs.key_id = k.id)) LIMIT $5)
		RETURNING id`, now, why, issuer, now.Add(-uploadTime), treeBatch)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	for _, child := range ids {
		t.audit(now, by, actionKeyRevoke, accountID, child, why)
	}
	return len(ids), t.changed(now, changedChildren, []byte(issuer))
}
