package keystore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/policy"
)

// Import describes keys that were issued elsewhere and become keys of an account.
// They get the origin initial and the same rules.
type Import struct {
	AccountID string
	Label     string // for people: up to 200 bytes of printable UTF-8
	Expires   policy.Expiry
	Allow     policy.AddrSet
	Limits    policy.Limits
	Secrets   []policy.Secret
	// Digests says that Secrets are SHA-256 digests of secrets, in hexadecimal.
	Digests bool
	// DryRun writes nothing.
	DryRun bool
}

// ImportResult says what an import did with one secret.
type ImportResult uint8

// The results. Only the keys of ImportNew and ImportKnown can be used.
const (
	_               ImportResult = iota
	ImportNew                    // the secret has become a key
	ImportKnown                  // an active key of this account has the secret already
	ImportDead                   // a key that has ended had the secret; it never comes back
	ImportTaken                  // a key of another account has the secret
	ImportMalformed              // the secret cannot be a key
)

// Imported is the result of one secret of an import.
type Imported struct {
	Result ImportResult
	// Key is the new key for ImportNew, and the existing key for ImportKnown. After a
	// dry run, a new key has no ID.
	Key policy.Key
	// Why says, for the other results, why the secret was not imported. It does not
	// contain the secret.
	Why string
}

// importBatch is how many secrets are imported in one transaction. It is small so that
// the writes of requests do not wait long.
const importBatch = 500

// ImportKeys imports keys. It returns a result for each secret, in the same order. A
// key that the account has already keeps its rules, so an import can be repeated.
// After an error, the secrets that were not reached have an empty result.
//
// Only the operator may import keys. The rules of IssueKey apply.
func (s *Store) ImportKeys(ctx context.Context, now policy.Time, by Actor, im Import) ([]Imported, error) {
	k := NewKey{AccountID: im.AccountID, Origin: policy.OriginInitial, Label: im.Label, Expires: im.Expires, Allow: im.Allow, Limits: im.Limits}
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
		return nil, fault(err) // also if there is nothing to import
	}
	run := &importRun{Store: s, im: im, key: k, now: now, by: by, made: map[digest]policy.Key{}}
	results := make([]Imported, len(im.Secrets))
	for batch := range slices.Chunk(run.sort(results), importBatch) {
		slices.SortFunc(batch, func(a, b candidate) int { return cmp.Compare(a.at, b.at) }) // for people who read the audit trail
		done := make([]Imported, len(batch))
		if im.DryRun {
			err = fault(run.preview(ctx, db.reader, batch, done))
		} else {
			err = s.write(ctx, func(t *txn) error { return run.batch(t, batch, done) })
		}
		if err != nil {
			return results, err
		}
		for i, c := range batch {
			results[c.at] = done[i]
			if !im.DryRun {
				s.cache.keys.Drop(c.digest) // its record can be that of an import that a lost primary took with it
			}
		}
	}
	return results, nil
}

// candidate is a secret of an import that can be a key.
type candidate struct {
	at     int // its place in the import
	digest digest
	prefix string
}

// sort returns the secrets that can be keys in the order of their digests, and sets the results of
// the others. In this order, the rows of a batch are neighbours in the index of digests, and the
// batch changes few pages of the database. The same secret again stays behind the first.
func (run *importRun) sort(results []Imported) []candidate {
	all := make([]candidate, 0, len(run.im.Secrets))
	for i, secret := range run.im.Secrets {
		d, prefix, why := run.digest(secret)
		if why != "" {
			results[i] = Imported{Result: ImportMalformed, Why: why}
			continue
		}
		all = append(all, candidate{i, d, prefix})
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	return all
}

// importRun is the state of one import.
type importRun struct {
	*Store

	im   Import
	key  NewKey
	now  policy.Time
	by   Actor
	made map[digest]policy.Key // keys that a dry run would have made; an import can name a secret twice
}

// batch imports some secrets in one transaction, and sets their results.
func (run *importRun) batch(t *txn, secrets []candidate, done []Imported) error {
	if err := run.checkPepper(t); err != nil {
		return err
	}
	if _, err := openAccount(t.ctx, t, run.key.AccountID); err != nil {
		return err
	}
	ids, err := newIDs("key_", len(secrets))
	if err != nil {
		return err
	}
	known, err := knownDigests(t, secrets)
	if err != nil {
		return err
	}
	added := false
	for i, c := range secrets {
		result := Imported{Result: ImportNew, Key: run.key.key(run.now, "", c.prefix)}
		if known[c.digest] {
			if result, err = run.one(t.ctx, t, c); err != nil {
				return err
			}
		}
		if result.Result == ImportNew {
			result.Key.ID = ids[i]
			if err := t.addKey(run.now, run.by, actionKeyImport, result.Key, c.digest, run.key); err != nil {
				return err
			}
			known[c.digest], added = true, true
		}
		done[i] = result
	}
	if !added {
		return nil
	}
	// One entry for all keys: the servers would read an entry for each key faster than they
	// answer requests.
	return t.announce(run.now, changedNewKeys, []byte{})
}

// digestsAtOnce is the number of digests in a query of knownDigests.
const digestsAtOnce = 100

var digestsOfKeys = func() string {
	// With a plain list of parameters, SQLite would prepare the statement again for every list, as
	// for keyByDigest.
	these := `(SELECT column1 FROM (VALUES (` + strings.ReplaceAll(numbered(1, digestsAtOnce), ", ", "), (") + `)) AS these)`
	return `SELECT digest FROM api_keys WHERE digest IN ` + these + ` UNION ALL SELECT digest FROM dead_digests WHERE digest IN ` + these
}()

// knownDigests returns the digests that belong to a key or to a pruned key.
func knownDigests(t *txn, secrets []candidate) (map[digest]bool, error) {
	known := make(map[digest]bool)
	args := make([]any, digestsAtOnce)
	for chunk := range slices.Chunk(secrets, digestsAtOnce) {
		for i := range args {
			args[i] = chunk[min(i, len(chunk)-1)].digest[:] // the last one again, up to the number of parameters
		}
		found, err := queryRows(t.ctx, t, scanDigest, t.store.engine.Text(digestsOfKeys), args...)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			known[d] = true
		}
	}
	return known, nil
}

// preview sets the results that batch would set.
func (run *importRun) preview(ctx context.Context, q querier, secrets []candidate, done []Imported) error {
	for i, c := range secrets {
		result, err := run.one(ctx, q, c)
		if err != nil {
			return err
		}
		if result.Result == ImportNew {
			run.made[c.digest] = result.Key
		}
		done[i] = result
	}
	return nil
}

// one returns the result of a secret.
func (run *importRun) one(ctx context.Context, q querier, c candidate) (Imported, error) {
	d, prefix := c.digest, c.prefix
	if key, again := run.made[d]; again {
		return Imported{Result: ImportKnown, Key: key}, nil
	}
	key, err := scanKey(q.QueryRowContext(ctx, run.engine.Text(`SELECT `+keyColumns+` FROM `+keyTables+` WHERE k.digest = (SELECT $1)`), d[:]))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		pruned, err := run.isPruned(ctx, q, d)
		if pruned {
			return Imported{Result: ImportDead, Why: "it was a key whose record has been pruned since it ended, and which never comes back"}, err
		}
		return Imported{Result: ImportNew, Key: run.key.key(run.now, "", prefix)}, err
	case err != nil:
		return Imported{}, err
	case key.Ended(run.now):
		why := fmt.Sprintf("it is key %s of account %s, which is %s and never comes back", key.ID, key.AccountID, key.Status(run.now))
		return Imported{Result: ImportDead, Why: why}, nil
	case key.AccountID != run.key.AccountID:
		return Imported{Result: ImportTaken, Why: fmt.Sprintf("it is key %s of account %s", key.ID, key.AccountID)}, nil
	}
	return Imported{Result: ImportKnown, Key: key}, nil
}

// digest returns the digest and the prefix to store for a secret, or why the secret
// cannot be a key.
func (run *importRun) digest(secret policy.Secret) (d digest, prefix, why string) {
	if why = run.im.Malformed(secret); why != "" {
		return d, "", why
	}
	text := secret.Reveal()
	if run.im.Digests {
		sum, err := hex.DecodeString(text)
		if err != nil {
			return d, "", notDigest
		}
		return run.hash.seal(digest(sum)), "", ""
	}
	// An imported key may be short. Keep a quarter of it at most.
	return run.hash.secret(secret), text[:min(prefixLen, len(text)/4)], ""
}

const notDigest = "it is not a SHA-256 digest: want 64 hexadecimal digits"

// Malformed returns why a secret of the import cannot be a key. If Digests is set, it
// returns why the text cannot be the digest of a key. It returns "" if nothing is
// wrong. The text that it returns does not contain the secret.
func (im *Import) Malformed(secret policy.Secret) string {
	text := secret.Reveal()
	if im.Digests {
		return malformedDigest(text)
	}
	switch err := policy.CheckSecret(secret); {
	case err != nil:
		return "it " + err.Error()
	case secret.Empty():
		return "it is empty"
	case strings.HasPrefix(text, policy.ServicePasswordPrefix):
		return "it is a service password, and not a key"
	}
	return ""
}

var (
	hexForm        = regexp.MustCompile(`^[0-9A-Fa-f]+$`)
	digestLineForm = regexp.MustCompile(`^[0-9A-Fa-f]{64}[\s*]`) // as sha256sum prints a line
)

func malformedDigest(text string) string {
	sum, err := hex.DecodeString(text)
	switch {
	case digestLineForm.MatchString(text):
		return "it has more than a digest in it: want the 64 hexadecimal digits alone, without the name of a file"
	case hexForm.MatchString(text) && len(text) != sha256.Size*2:
		return fmt.Sprintf("it has %d digits, and is not a SHA-256 digest: want 64 hexadecimal digits", len(text))
	case err != nil || len(sum) != sha256.Size:
		return notDigest
	}
	// A script that hashes an empty line of a file makes one of these.
	for _, empty := range []string{"", "\n", "\r\n", "\r", " ", "\ufeff"} {
		if sha256.Sum256([]byte(empty)) == [sha256.Size]byte(sum) {
			return "it is the digest of an empty line, and not of a key"
		}
	}
	return ""
}
