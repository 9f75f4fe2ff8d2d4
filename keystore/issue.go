package keystore

import (
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/speechgate/speechgate/policy"
)

// newKey is a key that is issued.
type newKey struct {
	now    policy.Time
	by     Actor
	wanted NewKey
	key    policy.Key
	digest digest
}

// check refuses the key if it was made before, or if it may not be issued any more.
func (n *newKey) check(t *txn) error {
	if err := t.store.checkPepper(t); err != nil {
		return err
	}
	if err := t.refuseRepeated(n.by, madeKey, n.key.ID); err != nil {
		return err
	}
	return t.checkIssue(n.now, n.by, n.wanted)
}

// issue issues one key.
func (n *newKey) issue(t *txn) error {
	if err := n.check(t); err != nil {
		return err
	}
	if err := t.addKey(n.now, n.by, actionKeyIssue, n.key, n.digest, n.wanted); err != nil {
		return err
	}
	return t.announce(n.now, changedKey, n.digest[:])
}

// errNoneIssued rolls back to before the checks. A check that has failed in the database can have broken
// the transaction.
var errNoneIssued = errors.New("no key of the batch can be issued")

// issueKeys issues the keys of a batch, many in one statement, and returns the writes that are left:
// those that are refused, and all if one of them fails. They run one by one.
func (t *txn) issueKeys(writes []*write) (left []*write, fatal error) {
	err, fatal := t.attempt(func(t *txn) error {
		var issued []*newKey
		ids := make(map[string]bool)
		for _, w := range writes {
			if n := w.key; !ids[n.key.ID] && n.check(t) == nil {
				ids[n.key.ID] = true
				issued = append(issued, n)
			} else {
				left = append(left, w)
			}
		}
		if len(issued) == 0 {
			return errNoneIssued
		}
		return t.insertIssued(issued)
	})
	if err != nil {
		return writes, fatal
	}
	return left, fatal
}

// insertIssued writes keys that are issued, with their entries of the audit trail and of the feed.
func (t *txn) insertIssued(issued []*newKey) error {
	rows := make([][]any, len(issued))
	for i, n := range issued {
		var err error
		if rows[i], err = keyValues(n.key, n.digest, n.wanted.OutlivesIssuer); err != nil {
			return err
		}
	}
	t.insert(insertKeys, rows, "")
	for _, n := range issued {
		t.audit(n.now, n.by, actionKeyIssue, n.key.AccountID, n.key.ID, n.wanted.detail(n.by))
		if err := t.announce(n.now, changedKey, n.digest[:]); err != nil {
			return err
		}
	}
	return t.err
}

const insertKeys = `INSERT INTO api_keys (id, account_id, digest, prefix, origin, label, allow, issuable, issuer_id, outlives_issuer, created_at, expires_at, limits)
	VALUES `

// insertKey fails if a key has the digest already. It does not look for a pruned key
// with the digest: a secret that was generated here is new, and an import calls isPruned.
func (t *txn) insertKey(k policy.Key, d digest, outlivesIssuer bool) error {
	values, err := keyValues(k, d, outlivesIssuer)
	if err != nil {
		return err
	}
	t.insert(insertKeys, [][]any{values}, "")
	return t.err
}

// keyValues returns the values of insertKeys.
func keyValues(k policy.Key, d digest, outlivesIssuer bool) ([]any, error) {
	allow, err := json.Marshal(k.Allow.Entries())
	if err != nil {
		return nil, err
	}
	at, expires := k.Expires.Time()
	return []any{
		k.ID, k.AccountID, d[:], k.Prefix, k.Origin.String(), k.Label, string(allow), k.Issuable,
		sql.Null[string]{V: k.IssuerID, Valid: k.IssuerID != ""},
		outlivesIssuer, k.CreatedAt,
		sql.Null[int64]{V: int64(at), Valid: expires},
		limitsText(k.Limits),
	}, nil
}
