package keystore

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// secrets wraps texts.
func secrets(texts ...string) []policy.Secret {
	all := make([]policy.Secret, len(texts))
	for i, text := range texts {
		all[i] = policy.NewSecret(text)
	}
	return all
}

// imports runs an import. Without an expiry, the keys do not expire.
func (f fixture) imports(im Import) []Imported {
	f.t.Helper()
	if im.Expires == (policy.Expiry{}) {
		im.Expires = policy.Never()
	}
	results, err := f.ImportKeys(f.t.Context(), start, operator, im)
	if err != nil {
		f.t.Fatal(err)
	}
	return results
}

func results(all []Imported) (words []ImportResult) {
	for _, r := range all {
		words = append(words, r.Result)
	}
	return words
}

func wantResults(t *testing.T, got []Imported, want ...ImportResult) {
	t.Helper()
	if !slices.Equal(results(got), want) {
		t.Errorf("got %v, want %v", results(got), want)
	}
}

func hexDigest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func TestImport_IsRepeatable(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	im := Import{AccountID: a.ID, Secrets: secrets("one", "two", "one"), Allow: addrs(t, "192.0.2.1")}
	first := f.imports(im)
	wantResults(t, first, ImportNew, ImportNew, ImportKnown)
	if first[2].Key.ID != first[0].Key.ID {
		t.Errorf("the same secret again is %s, and was %s", first[2].Key.ID, first[0].Key.ID)
	}
	im.Allow, im.Label = policy.AddrSet{}, "again"
	again := f.imports(im)
	wantResults(t, again, ImportKnown, ImportKnown, ImportKnown)
	// R5: the keys keep their rules.
	if k := f.find(im.Secrets[0]).Key(); k.Allow.String() != "192.0.2.1" || again[0].Key.Label != "" || again[0].Key.Allow.String() != "192.0.2.1" {
		t.Errorf("a known key is now %+v", k)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM api_keys`); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
}

// A key that ended in any way never comes back, by its secret or its digest.
// The servers read one change for a batch of new keys. It makes them forget which keys were
// unknown, and nothing else.
func TestImport_IsOneChange(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, server := openStore(t, path), openStore(t, path)
	server.takeOverPolling()
	a := f.account()
	_, present := f.key(a.ID)
	im := Import{AccountID: a.ID, Secrets: secrets("one", "two", "three")}
	server.feed.poll(t.Context())
	server.find(present)
	if server.find(im.Secrets[0]) != nil {
		t.Fatal("the key is known before the import")
	}
	f.imports(im)
	f.imports(im) // it changes nothing
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM feed WHERE kind = 'keys_new'`); n != 1 {
		t.Errorf("%d changes, want 1", n)
	}
	server.feed.poll(t.Context())
	if server.cache.keys.Get(server.hash.secret(present)).State != recordcache.Present {
		t.Error("the server has dropped the record of another key")
	}
	if server.find(im.Secrets[0]) == nil || f.find(im.Secrets[1]) == nil {
		t.Error("a key is unknown after the import")
	}
}

func TestImport_NeverRevivesADeadKey(t *testing.T) {
	t.Parallel()
	for _, pepper := range []string{"", "salt of the earth"} {
		path := newPath(t)
		f := openStore(t, path, withPepper(pepper))
		a, other, closed := f.account(), f.account(), f.account()
		issue := func(account string, expires policy.Time) (policy.Key, string) {
			k, secret := f.key(account, func(k *NewKey) { k.Expires = policy.ExpiresAt(expires) })
			return k, secret.Reveal()
		}
		_, expired := issue(a.ID, start+1)
		deletedKey, deleted := issue(a.ID, start.Add(day))
		revokedKey, revoked := issue(a.ID, start.Add(day))
		rotatedKey, rotated := issue(a.ID, start.Add(day))
		_, ofClosed := issue(closed.ID, start.Add(day))
		otherKey, ofOther := issue(other.ID, start.Add(day))
		_, otherExpired := issue(other.ID, start+1)
		prunedKey, pruned := issue(a.ID, start+1)
		now := start + 10
		_, err := f.DeleteKey(t.Context(), now, operator, deletedKey.ID)
		if _, e := f.RevokeKey(t.Context(), now, operator, revokedKey.ID, ""); e != nil {
			err = e
		}
		if _, e := f.RotateKey(t.Context(), start, operator, rotatedKey.ID, time.Millisecond); e != nil {
			err = e
		}
		if _, e := f.CloseAccount(t.Context(), now, operator, closed.ID); e != nil {
			err = e
		}
		if err != nil {
			t.Fatal(err)
		}
		d := f.hash.secret(policy.NewSecret(pruned))
		db := rawDB(t, path)
		mustExec(t, db, `DELETE FROM api_keys WHERE id = $1`, prunedKey.ID)
		mustExec(t, db, `INSERT INTO dead_digests (digest, at) VALUES ($1, 1)`, d[:])
		texts := []string{expired, deleted, revoked, rotated, ofClosed, ofOther, otherExpired, pruned}
		for _, digests := range []bool{false, true} {
			im := Import{AccountID: a.ID, Expires: policy.Never(), Digests: digests, Secrets: secrets(texts...)}
			if digests {
				for i, text := range texts {
					im.Secrets[i] = policy.NewSecret(hexDigest(text))
				}
			}
			got, err := f.ImportKeys(t.Context(), now, operator, im)
			if err != nil {
				t.Fatal(err)
			}
			wantResults(t, got, ImportDead, ImportDead, ImportDead, ImportDead, ImportDead, ImportTaken, ImportDead, ImportDead)
			for i, why := range []string{
				"is expired and never comes back", "is deleted and", "is revoked and", "is revoked and", "of account " + closed.ID + ", which is revoked",
				"it is key " + otherKey.ID + " of account " + other.ID, "is expired", "has been pruned",
			} {
				if !strings.Contains(got[i].Why, why) || strings.Contains(got[i].Why, texts[i]) || got[i].Key.ID != "" {
					t.Errorf("secret %d: %q, want %q", i, got[i].Why, why)
				}
			}
		}
		if n := len(actions(t, f, "", "key_import")); n != 0 {
			t.Errorf("%d keys were imported", n)
		}
	}
}

func TestImport_DryRunSaysTheSameAndWritesNothing(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a, b := f.account(), f.account()
	_, taken := f.key(b.ID)
	f.imports(Import{AccountID: a.ID, Secrets: secrets("known")})
	im := Import{AccountID: a.ID, Secrets: secrets("new", "known", taken.Reveal(), "two words", "new", "other"), DryRun: true}
	db := rawDB(t, path)
	before := f.contents(db)
	dry := f.imports(im)
	if f.contents(db) != before {
		t.Error("a dry run wrote")
	}
	im.DryRun = false
	wet := f.imports(im)
	for i := range wet {
		if (dry[i].Key.ID == "") == (wet[i].Result == ImportKnown && i != 4) {
			t.Errorf("secret %d: key %q in a dry run", i, dry[i].Key.ID)
		}
		dry[i].Key.ID, wet[i].Key.ID = "", ""
	}
	if diff := cmp.Diff(wet, dry, cmpPolicy); diff != "" {
		t.Errorf("(-import +dry run):\n%s", diff)
	}
}

// An import that fails in the middle returns what it has made. It can be repeated.
func TestImport_CutOff(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	texts := make([]string, 2*importBatch+1)
	for i := range texts {
		texts[i] = fmt.Sprintf("secret-%d", i)
	}
	im := Import{AccountID: a.ID, Expires: policy.Never(), Secrets: secrets(texts...)}
	mend := trigger(t, path, `BEFORE INSERT ON api_keys`, `(SELECT COUNT(*) FROM api_keys) >= `+fmt.Sprint(importBatch+3), fails)
	got, err := f.ImportKeys(t.Context(), start, operator, im)
	wantIs(t, err, ErrUnavailable)
	made := 0
	for _, r := range got {
		if r.Result == ImportNew {
			made++
		}
	}
	if len(got) != len(texts) || made != importBatch {
		t.Errorf("%d of %d results say that a key was made, want the %d of the first transaction", made, len(got), importBatch)
	}
	if keys, _, _ := f.Keys(t.Context(), KeyList{}); len(keys) != importBatch {
		t.Errorf("%d keys, want %d", len(keys), importBatch)
	}
	mend()
	again := f.imports(im)
	for i, r := range again {
		want := ImportNew
		if got[i].Result == ImportNew {
			want = ImportKnown
		}
		if r.Result != want {
			t.Fatalf("secret %d is %v, want %v", i, r.Result, want)
		}
	}
}

// A text that begins like a digest is not one.
func TestImport_DigestsAreWhole(t *testing.T) {
	t.Parallel()
	im := Import{Digests: true}
	good := hexDigest("secret")
	for text, want := range map[string]string{
		good: "", strings.ToUpper(good): "", good + "zz": notDigest, "zz" + good[2:]: notDigest, good[:62]: "it has 62 digits",
		good + "00": "it has 66 digits", good + " *file": "without the name of a file", hexDigest("\n"): "the digest of an empty line",
	} {
		if got := im.Malformed(policy.NewSecret(text)); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// A primary that is lost can take an import with it. A gateway that has cached its key, and imports the same secret again
// before it hears of the loss, answers by the new key at once.
func TestImport_ReplacesTheCachedRecordOfALostImport(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	f.takeOverPolling()
	lost, again := f.account(), f.account()
	secret := secrets("imported-twice-8d1f6c02b7e94a5d")
	f.imports(Import{AccountID: lost.ID, Secrets: secret})
	if got := f.find(secret[0]).Key().AccountID; got != lost.ID {
		t.Fatalf("the first import is of account %s, want %s", got, lost.ID)
	}
	mustExec(t, rawDB(t, path), `DELETE FROM api_keys WHERE account_id = $1`, lost.ID)
	f.imports(Import{AccountID: again.ID, Secrets: secret})
	if got := f.find(secret[0]).Key().AccountID; got != again.ID {
		t.Errorf("the answer is the key of account %s, want %s", got, again.ID)
	}
}
