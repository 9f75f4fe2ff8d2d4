package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

// treeBatch is how many children are marked in one transaction. It is small so that the
// writes of requests do not wait long.
const treeBatch = 500

// uploadTime is the longest time in which a request creates a job. A key that expired
// less than this ago may still get a job.
const uploadTime = 24 * time.Hour

// RevokeTree revokes a key, as RevokeKey does, its predecessors in rotations, and
// every key that any of these has issued, all as of the same instant. It returns how
// many issued keys it has ended. An expired key counts if it may still read its jobs;
// a key that cannot do anything any more does not count.
//
// All keys end in one transaction. It is as small as the revocation of one key, and
// works on a full disk. After it, each issued key is marked as revoked, with an entry
// in the audit trail. If the disk has no space for that, the keys have ended but are
// not marked. After any other error, call RevokeTree again.
func (s *Store) RevokeTree(ctx context.Context, now policy.Time, by Actor, id, reason string) (key policy.Key, children int, err error) {
	if err := CheckText("the reason", reason); err != nil {
		return policy.Key{}, 0, err
	}
	var issuers []string
	err = s.writeEnding(ctx, func(t *txn) (err error) {
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
		n, err := s.markChildren(ctx, now, by, key.AccountID, issuer, why)
		children += n
		if err != nil {
			return policy.Key{}, 0, fmt.Errorf("key %s and all keys that it issued are revoked, and %d of these are marked so, others are not: do it again: %w", id, children, err)
		}
	}
	return key, children, nil
}

// markChildren marks the keys that an issuer has issued, and that have ended with it.
// It returns their number, including those that the disk has no space to mark.
func (s *Store) markChildren(ctx context.Context, now policy.Time, by Actor, accountID, issuer, why string) (children int, err error) {
	for more := true; more; {
		var n int
		err := s.write(ctx, func(t *txn) (err error) {
			n, err = t.revokeChildren(now, by, accountID, issuer, why)
			return err
		})
		if errors.Is(err, errNoRoom) || s.engine.Full(err) {
			left, err := query(ctx, s, scanColumn[int], `SELECT COUNT(*) FROM api_keys k WHERE `+unmarked, issuer, now.Add(-uploadTime))
			if err != nil {
				return children, err
			}
			s.log.Warn("the disk is full: keys have ended with their issuer and are not marked so", zap.String("issuer_id", issuer), zap.Int("keys", left[0]))
			return children + left[0], nil
		}
		if err != nil {
			return children, err
		}
		children += n
		more = n == treeBatch
	}
	return children, nil
}

// revokeIssuers ends a key and its predecessors in rotations.
func (t *txn) revokeIssuers(now policy.Time, by Actor, id, reason string) (key policy.Key, issuers []string, err error) {
	if key, _, err = t.key(by, id); err != nil {
		return policy.Key{}, nil, err
	}
	issuers, err = queryRows(t.ctx, t, scanColumn[string], `WITH RECURSIVE issuers (id) AS (SELECT id FROM api_keys WHERE id = $1 UNION
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
		t.exec(`UPDATE api_keys SET children_revoked_at = $1 WHERE id = $2 AND children_revoked_at IS NULL`, now, issuer)
		if err := t.changed(now, changedChildren, []byte(issuer)); err != nil {
			return policy.Key{}, nil, err
		}
		// A restore reads this entry, for keys that were issued and are not here now.
		t.audit(now, by, actionTreeRevoke, k.AccountID, issuer, reason)
		if issuer == id {
			key = k
		}
	}
	return key, issuers, t.err
}

// unmarked is true for a key k of the issuer that could still be used, according to
// its own row.
const unmarked = `k.issuer_id = $1 AND k.revoked_at IS NULL AND k.deleted_at IS NULL
	AND (k.expires_at IS NULL OR k.expires_at > $2 OR EXISTS (SELECT 1 FROM jobs WHERE jobs.key_id = k.id))`

// revokeChildren marks up to treeBatch keys that an issuer has issued.
func (t *txn) revokeChildren(now policy.Time, by Actor, accountID, issuer, why string) (int, error) {
	ids, err := queryRows(t.ctx, t, scanColumn[string], `WITH children (id) AS (SELECT k.id FROM api_keys k WHERE `+unmarked+` LIMIT $3)
		UPDATE api_keys SET revoked_at = (SELECT CASE WHEN i.children_revoked_at < $4 THEN i.children_revoked_at ELSE $4 END
			FROM api_keys i WHERE i.id = $1), revoked_reason = $5
		WHERE id IN (SELECT id FROM children) RETURNING id`, issuer, now.Add(-uploadTime), treeBatch, now, why)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	for _, child := range ids {
		t.audit(now, by, actionKeyRevoke, accountID, child, why)
	}
	return len(ids), t.changed(now, changedChildren, []byte(issuer))
}
