package keystore

import (
	"database/sql"
	"encoding/json"
	"errors"

	"github.com/speechgate/speechgate/keystore/internal/engine"
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

// issue issues one key.
func (n *newKey) issue(t *txn) error {
	if err := t.store.checkPepper(t); err != nil {
		return err
	}
	if err := t.refuseRepeated(n.by, madeKey, n.key.ID); err != nil {
		return err
	}
	if err := t.checkIssue(n.now, n.by, n.wanted); err != nil {
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
		made, err := t.readForKeys(writes)
		if err != nil {
			return err
		}
		var issued []*newKey
		for _, w := range writes {
			if n := w.key; t.peppered && !made[n.key.ID] && t.checkIssue(n.now, n.by, n.wanted) == nil {
				made[n.key.ID] = true
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

// readForKeys reads what the keys of a batch need, in one exchange with the server: whether the store has the
// pepper of this process, the end of the audit trail, the accounts and the issuers. It returns the IDs of the
// keys that were made before. What it does not find is looked for again, and refused, where it is needed.
func (t *txn) readForKeys(writes []*write) (made map[string]bool, err error) {
	made = make(map[string]bool)
	reads := []engine.Statement{
		{Query: pepperState, Read: func(row engine.Row) error {
			_, err := t.store.scanPepper(row)
			t.peppered = err == nil
			return nil // a pepper that differs refuses each key
		}},
		{Query: auditHead, Read: func(row engine.Row) error {
			head, err := scanHead(row)
			if err == nil && t.peppered && t.head == nil {
				t.head = &head
			}
			return err
		}},
	}
	asked := make(map[string]bool)
	ask := func(id, query string, read func(engine.Row) error) {
		if id != "" && !asked[id] {
			asked[id] = true
			reads = append(reads, engine.Statement{Query: query, Args: []any{id}, Read: read})
		}
	}
	for _, w := range writes {
		n := w.key
		ask(n.wanted.AccountID, accountByID, t.parties.noteAccount)
		ask(n.wanted.Issuer, keyByID, t.parties.noteIssuer)
		if n.by.Request != "" {
			ask(n.key.ID, madeKey, func(engine.Row) error {
				made[n.key.ID] = true
				return nil
			})
		}
	}
	t.send(reads...)
	return made, t.err
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
