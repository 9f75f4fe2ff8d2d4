package keystore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Import says which keys, issued elsewhere, an account takes over. They become
// keys of origin initial, all with the same rules.
type Import struct {
	AccountID string
	Label     string // for people: up to 200 bytes, printable
	Expires   policy.Expiry
	Allow     policy.AddrSet
	Secrets   []policy.Secret
	// Digests says that Secrets are the SHA-256 of secrets, in hexadecimal.
	Digests bool
	// DryRun writes nothing.
	DryRun bool
}

// ImportResult is what became of one secret of an import.
type ImportResult uint8

// The results. Only those of ImportNew and ImportKnown can be used.
const (
	_               ImportResult = iota
	ImportNew                    // it is a key now
	ImportKnown                  // it was one of this account already, and is active
	ImportDead                   // it was a key that ended, which never comes back
	ImportTaken                  // it is a key of another account
	ImportMalformed              // it can be no key
)

// Imported is what became of one secret of an import.
type Imported struct {
	Result ImportResult
	// Key is the key of an ImportNew, without an ID if that was a dry run, or
	// the one that an ImportKnown was before.
	Key policy.Key
	// Why says of the others why they were not taken, without the secret.
	Why string
}

// importBatch is how many secrets go in one transaction, so that no request's
// write waits long behind it.
const importBatch = 200

// ImportKeys imports keys, and says in order what became of each secret. The
// rules of a key that is known stay as they are, so that an import can be
// repeated. If it fails on the way, with an error, the results are those of the
// secrets before.
//
// It refuses what IssueKey does, and everybody but the operator.
func (s *Store) ImportKeys(ctx context.Context, now policy.Time, by Actor, im Import) ([]Imported, error) {
	k := NewKey{AccountID: im.AccountID, Origin: policy.OriginInitial, Label: im.Label, Expires: im.Expires, Allow: im.Allow}
	if err := operatorOnly(by, "importing keys"); err != nil {
		return nil, err
	}
	if err := k.check(now); err != nil {
		return nil, err
	}
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	if _, err := openAccount(ctx, db.reader, k.AccountID); err != nil {
		return nil, fault(err) // also where there is nothing to import
	}
	run := &importRun{Store: s, im: im, key: k, now: now, by: by, made: map[digest]policy.Key{}}
	results := make([]Imported, 0, len(im.Secrets))
	for len(results) < len(im.Secrets) {
		batch := im.Secrets[len(results):min(len(results)+importBatch, len(im.Secrets))]
		var done []Imported
		if im.DryRun {
			done, err = run.look(ctx, db.reader, batch)
			err = fault(err)
		} else {
			err = s.write(ctx, func(t *txn) (err error) {
				done, err = run.batch(t, batch)
				return err
			})
		}
		if err != nil {
			return results, err
		}
		results = append(results, done...)
	}
	return results, nil
}

// importRun is an import on its way.
type importRun struct {
	*Store

	im   Import
	key  NewKey
	now  policy.Time
	by   Actor
	made map[digest]policy.Key // by this run, which may get a secret twice
}

// batch imports some secrets in one transaction.
func (run *importRun) batch(t *txn, secrets []policy.Secret) ([]Imported, error) {
	if err := run.checkPepper(t); err != nil {
		return nil, err
	}
	if _, err := openAccount(t.ctx, t, run.key.AccountID); err != nil {
		return nil, err
	}
	done := make([]Imported, len(secrets))
	for i, secret := range secrets {
		d, result, err := run.one(t.ctx, t, secret)
		if err != nil {
			return nil, err
		}
		if result.Result == ImportNew {
			if result.Key.ID, err = newID("key_"); err != nil {
				return nil, err
			}
			if err := t.addKey(run.now, run.by, actionKeyImport, result.Key, d, run.key); err != nil {
				return nil, err
			}
			run.made[d] = result.Key
		}
		done[i] = result
	}
	return done, nil
}

// look says what batch would do.
func (run *importRun) look(ctx context.Context, q querier, secrets []policy.Secret) ([]Imported, error) {
	done := make([]Imported, len(secrets))
	for i, secret := range secrets {
		d, result, err := run.one(ctx, q, secret)
		if err != nil {
			return nil, err
		}
		if result.Result == ImportNew {
			run.made[d] = result.Key
		}
		done[i] = result
	}
	return done, nil
}

// one says what is to become of a secret, and what its digest is.
func (run *importRun) one(ctx context.Context, q querier, secret policy.Secret) (digest, Imported, error) {
	d, prefix, why := run.digest(secret)
	if why != "" {
		return d, Imported{Result: ImportMalformed, Why: why}, nil
	}
	if key, again := run.made[d]; again {
		return d, Imported{Result: ImportKnown, Key: key}, nil
	}
	key, err := scanKey(q.QueryRowContext(ctx, `SELECT `+keyColumns+` FROM `+keyTables+` WHERE k.digest = $1`, d[:]))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		pruned, err := isPruned(ctx, q, d)
		if pruned {
			return d, Imported{Result: ImportDead, Why: "it was a key whose record has been pruned since it ended, and which never comes back"}, err
		}
		return d, Imported{Result: ImportNew, Key: run.key.key(run.now, "", prefix)}, err
	case err != nil:
		return d, Imported{}, err
	case key.Status(run.now) != "active":
		why := fmt.Sprintf("it is key %s of account %s, which is %s and never comes back", key.ID, key.AccountID, key.Status(run.now))
		return d, Imported{Result: ImportDead, Why: why}, nil
	case key.AccountID != run.key.AccountID:
		return d, Imported{Result: ImportTaken, Why: fmt.Sprintf("it is key %s of account %s", key.ID, key.AccountID)}, nil
	}
	return d, Imported{Result: ImportKnown, Key: key}, nil
}

// digest returns what is to be stored of a secret, or why it can be no key.
func (run *importRun) digest(secret policy.Secret) (d digest, prefix, why string) {
	text := secret.Reveal()
	if run.im.Digests {
		sum, err := hex.DecodeString(text)
		if err != nil || len(sum) != len(d) {
			return d, "", "it is not a SHA-256 digest: want 64 hexadecimal digits"
		}
		return run.hash.seal(digest(sum)), "", ""
	}
	switch err := policy.CheckSecret(secret); {
	case err != nil:
		return d, "", "it " + err.Error()
	case secret.Empty():
		return d, "", "it is empty"
	case strings.HasPrefix(text, policy.ServicePasswordPrefix):
		return d, "", "it is a service password, and not a key"
	}
	// A foreign key may be short: most of it must stay unknown.
	return run.hash.secret(secret), text[:min(prefixLen, len(text)/4)], ""
}
