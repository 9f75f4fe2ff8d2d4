package keystoretest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func testImportKeysCanBeUsed(t *testing.T, place Place) {
	for _, pepper := range []string{"", "salt of the earth"} {
		f := openStore(t, place(t), withPepper(pepper))
		a := f.account()
		ours, err := policy.GenerateSecret(policy.KeyPrefix, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		texts := []string{"an-opaque-key-of-somebody", ours.Reveal(), "0", hexDigest("what looks like a digest")}
		im := keystore.Import{
			AccountID: a.ID, Label: "from the old gateway", Expires: policy.ExpiresAt(start.Add(day)),
			Allow: addrs(t, "192.0.2.0/24"), Secrets: secrets(texts...),
		}
		got, err := f.ImportKeys(t.Context(), start, operator, im)
		if err != nil {
			t.Fatal(err)
		}
		wantResults(t, got, keystore.ImportNew, keystore.ImportNew, keystore.ImportNew, keystore.ImportNew)
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
		digests := f.imports(keystore.Import{AccountID: a.ID, Digests: true, Secrets: secrets(hexDigest("known by digest"), strings.ToUpper(hexDigest("in capitals")), hexDigest(texts[0]))})
		wantResults(t, digests, keystore.ImportNew, keystore.ImportNew, keystore.ImportKnown)
		if f.find(policy.NewSecret("known by digest")) == nil || f.find(policy.NewSecret("in capitals")) == nil {
			t.Error("a key that was imported by its digest is not found")
		}
		rows := actions(t, f, a.ID, "key_import")
		if len(rows) != 6 || rows[5].Subject != got[0].Key.ID || rows[5].Detail != "origin initial, expires 2027-01-16T08:00:00.000Z, from 192.0.2.0/24" || rows[5].Actor != operator {
			t.Errorf("the audit trail has %+v", rows)
		}
	}
}

func testImportRefusesMalformedSecrets(t *testing.T, place Place) {
	f := openStore(t, place(t))
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
		{hexDigest("x") + "0", true, "want 64 hexadecimal digits"},
		{hexDigest("x") + "00", true, "want 64 hexadecimal digits"},
		{"g" + hexDigest("x")[1:], true, "want 64 hexadecimal digits"},
		{"", true, "want 64 hexadecimal digits"},
	} {
		got := f.imports(keystore.Import{AccountID: a.ID, Digests: c.digests, Secrets: secrets(c.text, "fine-"+c.text[:min(1, len(c.text))])})
		if got[0].Result != keystore.ImportMalformed || !strings.Contains(got[0].Why, c.want) || len(c.text) > 3 && strings.Contains(got[0].Why, c.text) {
			t.Errorf("%d bytes: %v %q, want %q", len(c.text), got[0].Result, got[0].Why, c.want)
		}
	}
}

func testImportRefuses(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a, closed := f.account(), f.account()
	if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{false, true} {
		for _, c := range []struct {
			name string
			by   keystore.Actor
			edit func(*keystore.Import)
			kind error
			want string
		}{
			{"unknown account", operator, func(im *keystore.Import) { im.AccountID = "acc_none" }, keystore.ErrNotFound, "there is no account"},
			{"closed account", operator, func(im *keystore.Import) { im.AccountID = closed.ID }, keystore.ErrAccountClosed, "was closed at"},
			{"nothing for a closed account", operator, func(im *keystore.Import) { im.AccountID, im.Secrets = closed.ID, nil }, keystore.ErrAccountClosed, "was closed at"},
			{"expiry now", operator, func(im *keystore.Import) { im.Expires = policy.ExpiresAt(start) }, keystore.ErrInvalid, "not after now"},
			{"long label", operator, func(im *keystore.Import) { im.Label = strings.Repeat("x", 201) }, keystore.ErrInvalid, "201 bytes"},
			{"the account's holder", keystore.Actor{Kind: keystore.ActorAccount, ID: a.ID}, func(*keystore.Import) {}, keystore.ErrInvalid, "for the operator only"},
		} {
			im := keystore.Import{AccountID: a.ID, Expires: policy.Never(), Secrets: secrets("one", "two"), DryRun: dry}
			c.edit(&im)
			got, err := f.ImportKeys(t.Context(), start, c.by, im)
			if err == nil || !strings.Contains(err.Error(), c.want) || len(got) != 0 {
				t.Errorf("%s: %v, %v; want an error with %q", c.name, got, err, c.want)
			}
			wantIs(t, err, c.kind)
		}
	}
	if keys, _, _ := f.Keys(t.Context(), keystore.KeyList{}); len(keys) != 0 {
		t.Errorf("%d keys were imported", len(keys))
	}
}

func testR2NegativeEntriesFallOnImport(t *testing.T, place Place) {
	path := place(t)
	f, beside := openStore(t, path), openStore(t, path)
	secret := policy.NewSecret("an-opaque-key-of-somebody")
	if f.find(secret) != nil || beside.find(secret) != nil {
		t.Fatal("it is there already")
	}
	f.imports(keystore.Import{AccountID: f.account().ID, Secrets: []policy.Secret{secret}})
	if f.find(secret) == nil {
		t.Error("a key that was imported is still unknown")
	}
	waitFor(t, "another process knows it", func() bool { return beside.find(secret) != nil })
}

func testImportManyTakeSeconds(t *testing.T, place Place) {
	f := openStore(t, place(t))
	texts := make([]string, 10_000)
	for i := range texts {
		texts[i] = fmt.Sprintf("secret-of-the-old-gateway-%d", i)
	}
	account := f.account().ID
	const few = 500
	began := time.Now()
	f.imports(keystore.Import{AccountID: account, Secrets: secrets(texts[:few]...)})
	ofFew := time.Since(began)
	im := keystore.Import{AccountID: account, Secrets: secrets(texts[few:]...)}
	began = time.Now()
	got := f.imports(im)
	// A machine that is busy is slow with both.
	if took := time.Since(began); took > 30*time.Second && took > 4*time.Duration(len(im.Secrets)/few)*ofFew {
		t.Errorf("%d keys took %s, and %d keys took %s", len(im.Secrets), took, few, ofFew)
	}
	if slices.ContainsFunc(got, func(r keystore.Imported) bool { return r.Result != keystore.ImportNew }) || f.find(im.Secrets[len(im.Secrets)-1]) == nil {
		t.Error("not all were imported")
	}
}
