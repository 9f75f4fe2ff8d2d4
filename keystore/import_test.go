package keystore

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// imports runs an import, of keys that do not expire where nothing is said.
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

func TestImport_KeysCanBeUsed(t *testing.T) {
	for _, pepper := range []string{"", "salt of the earth"} {
		f := openStore(t, newPath(t), withPepper(pepper))
		a := f.account()
		ours, err := policy.GenerateSecret(policy.KeyPrefix, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{"an-opaque-key-of-somebody", ours.Reveal(), "0", hexDigest("what looks like a digest")}
		im := Import{
			AccountID: a.ID, Label: "from the old gateway", Expires: policy.ExpiresAt(start.Add(day)),
			Allow: addrs(t, "192.0.2.0/24"), Secrets: secrets(texts...),
		}
		got, err := f.ImportKeys(t.Context(), start, operator, im)
		if err != nil {
			t.Fatal(err)
		}
		wantResults(t, got, ImportNew, ImportNew, ImportNew, ImportNew)
		for i, prefix := range []string{"an-opa", ours.Reveal()[:8], "", hexDigest("what looks like a digest")[:8]} {
			want := policy.Key{
				ID: got[i].Key.ID, AccountID: a.ID, AccountOpen: true, Origin: policy.OriginInitial, Label: im.Label,
				Prefix: prefix, Allow: im.Allow, CreatedAt: start, Expires: im.Expires,
			}
			r := f.find(im.Secrets[i])
			if r == nil {
				t.Fatalf("key %d is not found", i)
			}
			if diff := cmp.Diff(want, got[i].Key, cmpPolicy); diff != "" || len(want.ID) != 24 {
				t.Errorf("imported (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(want, r.Key(), cmpFound); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		}
		digests := f.imports(Import{AccountID: a.ID, Digests: true, Secrets: secrets(hexDigest("known by digest"), strings.ToUpper(hexDigest("in capitals")), hexDigest(texts[0]))})
		wantResults(t, digests, ImportNew, ImportNew, ImportKnown)
		if f.find(policy.NewSecret("known by digest")) == nil || f.find(policy.NewSecret("in capitals")) == nil {
			t.Error("a key that was imported by its digest is not found")
		}
		rows := actions(t, f, a.ID, "key_import")
		if len(rows) != 6 || rows[5].Subject != got[0].Key.ID || rows[5].Detail != "origin initial, expires 2027-01-16T08:00:00.000Z, from 192.0.2.0/24" || rows[5].Actor != operator {
			t.Errorf("the audit trail has %+v", rows)
		}
	}
}

func TestImport_IsRepeatable(t *testing.T) {
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
	// R5: what they may do stays as it was.
	if k := f.find(im.Secrets[0]).Key(); k.Allow.String() != "192.0.2.1" || again[0].Key.Label != "" || again[0].Key.Allow.String() != "192.0.2.1" {
		t.Errorf("a known key is now %+v", k)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM api_keys`); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
}

// A key that ended in any way never comes back, by its secret or its digest.
func TestImport_NeverRevivesADeadKey(t *testing.T) {
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

func TestImport_RefusesWhatIsNoKey(t *testing.T) {
	f := openStore(t, newPath(t))
	a := f.account()
	ours, _ := policy.GenerateSecret(policy.KeyPrefix, rand.Reader)
	password, _ := policy.GenerateSecret(policy.ServicePasswordPrefix, rand.Reader)
	mistyped := "sgk_x" + ours.Reveal()[5:]
	if mistyped == ours.Reveal() {
		mistyped = "sgk_y" + ours.Reveal()[5:]
	}
	for _, c := range []struct {
		text    string
		digests bool
		want    string
	}{
		{mistyped, false, "checksum is wrong"},
		{ours.Reveal()[:41], false, "checksum is wrong"},
		{password.Reveal(), false, "service password"},
		{"two words", false, "visible ASCII"},
		{"日本", false, "visible ASCII"},
		{"tab\t", false, "visible ASCII"},
		{strings.Repeat("k", policy.MaxSecretLen+1), false, "longer than 1024 bytes"},
		{"", false, "empty"},
		{ours.Reveal(), true, "want 64 hexadecimal digits"},
		{hexDigest("x")[:63], true, "want 64 hexadecimal digits"},
		{hexDigest("x") + "00", true, "want 64 hexadecimal digits"},
		{"g" + hexDigest("x")[1:], true, "want 64 hexadecimal digits"},
		{"", true, "want 64 hexadecimal digits"},
	} {
		got := f.imports(Import{AccountID: a.ID, Digests: c.digests, Secrets: secrets(c.text, "fine-"+c.text[:min(1, len(c.text))])})
		if got[0].Result != ImportMalformed || !strings.Contains(got[0].Why, c.want) || len(c.text) > 3 && strings.Contains(got[0].Why, c.text) {
			t.Errorf("%d bytes: %v %q, want %q", len(c.text), got[0].Result, got[0].Why, c.want)
		}
	}
}

func TestImport_Refuses(t *testing.T) {
	f := openStore(t, newPath(t))
	a, closed := f.account(), f.account()
	if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{false, true} {
		for _, c := range []struct {
			name string
			by   Actor
			edit func(*Import)
			kind error
			want string
		}{
			{"unknown account", operator, func(im *Import) { im.AccountID = "acc_none" }, ErrNotFound, "there is no account"},
			{"closed account", operator, func(im *Import) { im.AccountID = closed.ID }, ErrAccountClosed, "was closed at"},
			{"nothing for a closed account", operator, func(im *Import) { im.AccountID, im.Secrets = closed.ID, nil }, ErrAccountClosed, "was closed at"},
			{"expiry now", operator, func(im *Import) { im.Expires = policy.ExpiresAt(start) }, ErrInvalid, "not after now"},
			{"long label", operator, func(im *Import) { im.Label = strings.Repeat("x", 201) }, ErrInvalid, "201 bytes"},
			{"the account's holder", Actor{Kind: ActorAccount, ID: a.ID}, func(*Import) {}, ErrInvalid, "for the operator only"},
		} {
			im := Import{AccountID: a.ID, Expires: policy.Never(), Secrets: secrets("one", "two"), DryRun: dry}
			c.edit(&im)
			got, err := f.ImportKeys(t.Context(), start, c.by, im)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(got) != 0 {
				t.Errorf("%s: %v, %v; want an error with %q", c.name, got, err, c.want)
			}
			wantIs(t, err, c.kind)
		}
	}
	if keys, _, _ := f.Keys(t.Context(), KeyList{}); len(keys) != 0 {
		t.Errorf("%d keys were imported", len(keys))
	}
}

func TestImport_DryRunSaysTheSameAndWritesNothing(t *testing.T) {
	path := newPath(t)
	f := openStore(t, path)
	a, b := f.account(), f.account()
	_, taken := f.key(b.ID)
	f.imports(Import{AccountID: a.ID, Secrets: secrets("known")})
	im := Import{AccountID: a.ID, Secrets: secrets("new", "known", taken.Reveal(), "two words", "new", "other"), DryRun: true}
	db := rawDB(t, path)
	version := func() int {
		return count(t, db, `SELECT (SELECT COUNT(*) FROM api_keys) * 10000 + (SELECT COUNT(*) FROM audit) * 100 + (SELECT COUNT(*) FROM feed)`)
	}
	before, changes := version(), count(t, db, `PRAGMA data_version`)
	dry := f.imports(im)
	if version() != before || count(t, db, `PRAGMA data_version`) != changes {
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

func TestR2_NegativeEntriesFallOnImport(t *testing.T) {
	path := newPath(t)
	f, beside := openStore(t, path), openStore(t, path)
	secret := policy.NewSecret("an-opaque-key-of-somebody")
	if f.find(secret) != nil || beside.find(secret) != nil {
		t.Fatal("it is there already")
	}
	f.imports(Import{AccountID: f.account().ID, Secrets: []policy.Secret{secret}})
	if f.find(secret) == nil {
		t.Error("a key that was imported is still unknown")
	}
	waitFor(t, 250*time.Millisecond, "another process knows it", func() bool { return beside.find(secret) != nil })
}

// An import that is cut off says how far it came, and goes on when repeated.
func TestImport_CutOff(t *testing.T) {
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	texts := make([]string, 2*importBatch+1)
	for i := range texts {
		texts[i] = fmt.Sprintf("secret-%d", i)
	}
	im := Import{AccountID: a.ID, Expires: policy.Never(), Secrets: secrets(texts...)}
	mustExec(t, rawDB(t, path), `CREATE TRIGGER full BEFORE INSERT ON api_keys WHEN (SELECT COUNT(*) FROM api_keys) >= `+
		fmt.Sprint(importBatch+3)+` BEGIN SELECT RAISE(FAIL, 'no room'); END`)
	got, err := f.ImportKeys(t.Context(), start, operator, im)
	wantIs(t, err, ErrUnavailable)
	if len(got) != importBatch {
		t.Errorf("%d results, want the %d of the first transaction", len(got), importBatch)
	}
	if keys, _, _ := f.Keys(t.Context(), KeyList{}); len(keys) != importBatch {
		t.Errorf("%d keys, want %d", len(keys), importBatch)
	}
	mustExec(t, rawDB(t, path), `DROP TRIGGER full`)
	again := f.imports(im)
	for i, r := range again {
		want := ImportNew
		if i < importBatch {
			want = ImportKnown
		}
		if r.Result != want {
			t.Fatalf("secret %d is %v, want %v", i, r.Result, want)
		}
	}
}

func TestImport_ManyTakeSeconds(t *testing.T) {
	f := openStore(t, newPath(t))
	texts := make([]string, 10_000)
	for i := range texts {
		texts[i] = fmt.Sprintf("secret-of-the-old-gateway-%d", i)
	}
	im := Import{AccountID: f.account().ID, Secrets: secrets(texts...)}
	begun := time.Now()
	got := f.imports(im)
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	if slices.ContainsFunc(got, func(r Imported) bool { return r.Result != ImportNew }) || f.find(im.Secrets[9_999]) == nil {
		t.Error("not all were imported")
	}
}
