package keystoretest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func testKeysComeBackAsIssued(t *testing.T, place Place) {
	path := place(t)
	f := openStore(t, path)
	a, password, err := f.CreateAccount(t.Context(), start, operator, "日本語 & <b>")
	if err != nil {
		t.Fatal(err)
	}
	if policy.CheckSecret(password) != nil || !strings.HasPrefix(a.ID, "acc_") || len(a.ID) != 24 || !strings.HasPrefix(a.ServiceID, "svc_") || len(a.ServiceID) != 24 {
		t.Errorf("account %+v", a)
	}
	for _, k := range []keystore.NewKey{
		{Origin: policy.OriginInitial, Expires: policy.Never()},
		{Origin: policy.OriginConsole, Expires: policy.ExpiresAt(start + 1), Label: "short-lived", Issuable: true},
		{Origin: policy.OriginAPI, Expires: policy.ExpiresAt(start.Add(day)), Allow: addrs(t, "192.0.2.0/24 2001:db8::1-2001:db8::9 ::ffff:198.51.100.7")},
	} {
		k.AccountID = a.ID
		key, secret, err := f.IssueKey(t.Context(), start, operator, k)
		if err != nil {
			t.Fatal(err)
		}
		if policy.CheckSecret(secret) != nil || key.Prefix != secret.Reveal()[:8] || len(key.ID) != 24 {
			t.Errorf("key %+v does not fit its secret", key)
		}
		r := f.find(secret)
		if r == nil {
			t.Fatal("not found")
		}
		byID, err := f.Key(t.Context(), key.ID)
		if err != nil {
			t.Fatal(err)
		}
		want := policy.Key{ID: key.ID, AccountID: a.ID, AccountOpen: true, Origin: k.Origin, Label: k.Label, Prefix: key.Prefix, Allow: k.Allow, Issuable: k.Issuable, CreatedAt: start, Expires: k.Expires}
		if diff := cmp.Diff(want, r.Key(), cmpFound); diff != "" {
			t.Errorf("found (-want +got):\n%s", diff)
		}
		for what, got := range map[string]policy.Key{"issued": key, "by ID": byID} {
			if diff := cmp.Diff(want, got, cmpPolicy); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
	}
	if keys, _, err := f.Keys(t.Context(), keystore.KeyList{AccountID: a.ID}); err != nil || len(keys) != 3 {
		t.Errorf("keys of the account: %v, %v", keys, err)
	}
	if keys, _, err := f.Keys(t.Context(), keystore.KeyList{AccountID: "acc_other"}); err != nil || len(keys) != 0 {
		t.Errorf("keys of another account: %v, %v", keys, err)
	}
	if _, err := f.Key(t.Context(), "key_none"); err == nil || err.Error() != `there is no key "key_none"` {
		t.Errorf("error %v", err)
	}
}

func testIssueKeyRefuses(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a, other := f.account(), f.account()
	closed := f.account()
	if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	issuer, _ := f.key(a.ID, func(k *keystore.NewKey) { k.Issuable = true })
	plain, _ := f.key(a.ID)
	gone, _ := f.key(a.ID, func(k *keystore.NewKey) { k.Issuable = true })
	if _, err := f.RevokeKey(t.Context(), start, operator, gone.ID, ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		edit func(*keystore.NewKey)
		kind error
		want string
	}{
		{"unknown account", func(k *keystore.NewKey) { k.AccountID = "acc_x' OR 1=1 --" }, keystore.ErrNotFound, "there is no account"},
		{"closed account", func(k *keystore.NewKey) { k.AccountID = closed.ID }, keystore.ErrAccountClosed, "was closed at"},
		{"expiry now", func(k *keystore.NewKey) { k.Expires = policy.ExpiresAt(start) }, keystore.ErrInvalid, "not after now"},
		{"no expiry given", func(k *keystore.NewKey) { k.Expires = policy.Expiry{} }, keystore.ErrInvalid, "not after now"},
		{"no origin", func(k *keystore.NewKey) { k.Origin = 0 }, keystore.ErrInvalid, "want initial, console or api"},
		{"R7 issuance right through the API", func(k *keystore.NewKey) { k.Origin, k.Issuable = policy.OriginAPI, true }, keystore.ErrInvalid, "cannot carry the issuance right"},
		{"R7 issuance right of an initial key", func(k *keystore.NewKey) { k.Origin, k.Issuable = policy.OriginInitial, true }, keystore.ErrInvalid, "cannot carry the issuance right"},
		{"R7 issuer of another account", func(k *keystore.NewKey) { k.AccountID, k.Issuer = other.ID, issuer.ID }, keystore.ErrInvalid, "is not of account"},
		{"R7 issuer without the right", func(k *keystore.NewKey) { k.Issuer = plain.ID }, keystore.ErrInvalid, "no issuance right"},
		{"R7 issuer revoked", func(k *keystore.NewKey) { k.Issuer = gone.ID }, keystore.ErrInvalid, "no longer active"},
		{"R7 issuer unknown", func(k *keystore.NewKey) { k.Issuer = "key_none" }, keystore.ErrNotFound, "there is no key"},
		{"long label", func(k *keystore.NewKey) { k.Label = strings.Repeat("x", 201) }, keystore.ErrInvalid, "201 bytes: want 200"},
		{"label of two lines", func(k *keystore.NewKey) { k.Label = "a\nb" }, keystore.ErrInvalid, "cannot be printed"},
		{"label that is no UTF-8", func(k *keystore.NewKey) { k.Label = "\xff" }, keystore.ErrInvalid, "cannot be printed"},
	} {
		k := keystore.NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never()}
		c.edit(&k)
		key, secret, err := f.IssueKey(t.Context(), start, operator, k)
		if err == nil || !strings.Contains(err.Error(), c.want) || key.ID != "" || !secret.Empty() {
			t.Errorf("%s: %v, %v; want an error with %q", c.name, key, err, c.want)
		}
		wantIs(t, err, c.kind)
	}
	if keys, _, _ := f.Keys(t.Context(), keystore.KeyList{}); len(keys) != 3 {
		t.Errorf("%d keys, want the 3 that were issued", len(keys))
	}
	child, _ := f.key(a.ID, func(k *keystore.NewKey) { k.Origin, k.Issuer = policy.OriginAPI, issuer.ID })
	if child.Issuable {
		t.Error("a child may issue")
	}
}

func testR6DeletionByOrigin(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	holder := keystore.Actor{Kind: keystore.ActorAccount, ID: a.ID}
	for origin, deletable := range map[policy.Origin]bool{policy.OriginInitial: false, policy.OriginConsole: true, policy.OriginAPI: false} {
		key, secret := f.key(a.ID, func(k *keystore.NewKey) { k.Origin = origin })
		f.find(secret)
		got, err := f.DeleteKey(t.Context(), start+1, holder, key.ID)
		if deletable {
			if err != nil || got.DeletedAt != start+1 || f.find(secret).Key().DeletedAt != start+1 {
				t.Errorf("%s: %+v, %v; want it deleted", origin, got, err)
			}
			if again, err := f.DeleteKey(t.Context(), start+2, holder, key.ID); err != nil || again.DeletedAt != start+1 {
				t.Errorf("%s: deleting again: %+v, %v", origin, again, err)
			}
		} else {
			wantIs(t, err, keystore.ErrInvalid)
			if !strings.Contains(err.Error(), "origin "+origin.String()) || !f.find(secret).Key().DeletedAt.IsZero() {
				t.Errorf("%s: error %v", origin, err)
			}
		}
		for range 2 {
			got, err = f.RevokeKey(t.Context(), start+3, operator, key.ID, "leaked")
			if err != nil || got.RevokedAt != start+3 || f.find(secret).Key().RevokedAt != start+3 {
				t.Errorf("%s: %+v, %v; want it revoked", origin, got, err)
			}
		}
	}
	for action, want := range map[string]int{"key_issue": 3, "key_delete": 1, "key_revoke": 3} {
		if got := len(actions(t, f, a.ID, action)); got != want {
			t.Errorf("%d audit rows for %s, want %d", got, action, want)
		}
	}
}

func testR6AnotherAccountsKeyIsNotFound(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a, b := f.account(), f.account()
	key, secret := f.key(a.ID)
	stranger := keystore.Actor{Kind: keystore.ActorAccount, ID: b.ID}
	_, err := f.DeleteKey(t.Context(), start, stranger, key.ID)
	wantIs(t, err, keystore.ErrNotFound)
	_, err = f.RevokeKey(t.Context(), start, stranger, key.ID, "")
	wantIs(t, err, keystore.ErrNotFound)
	_, _, err = f.IssueKey(t.Context(), start, stranger, keystore.NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never()})
	wantIs(t, err, keystore.ErrNotFound)
	if statusOf(f.find(secret), start) != "active" {
		t.Error("the key was ended")
	}
}

func testR9ClosingAnAccountEndsEveryKey(t *testing.T, place Place) {
	path := place(t)
	f, beside := openStore(t, path), openStore(t, path)
	a, b := f.account(), f.account()
	_, one := f.key(a.ID)
	_, two := f.key(a.ID, func(k *keystore.NewKey) { k.Expires = policy.Never() })
	_, others := f.key(b.ID)
	for _, secret := range []policy.Secret{one, two, others} {
		f.find(secret)
		beside.find(secret)
	}
	closed, err := f.CloseAccount(t.Context(), start+5, operator, a.ID)
	if err != nil || closed.ClosedAt != start+5 {
		t.Fatal(closed, err)
	}
	for _, secret := range []policy.Secret{one, two} {
		if f.find(secret).Key().AccountOpen {
			t.Error("a key of the closed account lives")
		}
		waitFor(t, "another process sees the account closed", func() bool {
			return !beside.find(secret).Key().AccountOpen
		})
	}
	if !f.find(others).Key().AccountOpen {
		t.Error("another account's key was ended")
	}
	if again, err := f.CloseAccount(t.Context(), start+9, operator, a.ID); err != nil || again.ClosedAt != start+5 {
		t.Errorf("closing again: %+v, %v", again, err)
	}
	if n := len(actions(t, f, a.ID, "account_close")); n != 1 {
		t.Errorf("%d audit rows for closing", n)
	}
	_, err = f.CloseAccount(t.Context(), start, operator, "acc_none")
	wantIs(t, err, keystore.ErrNotFound)
}

func testAuditSaysWhoDidWhat(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	key, _ := f.key(a.ID)
	if _, err := f.RevokeKey(t.Context(), start+1, operator, key.ID, "leaked on a forum"); err != nil {
		t.Fatal(err)
	}
	f.account()
	got, _, err := f.Audit(t.Context(), keystore.AuditList{AccountID: a.ID, Limit: 1})
	want := []keystore.AuditEntry{{Seq: 3, At: start + 1, Actor: operator, Action: "key_revoke", AccountID: a.ID, Subject: key.ID, Detail: "leaked on a forum"}}
	if diff := cmp.Diff(want, got, cmpPolicy); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if all, _, err := f.Audit(t.Context(), keystore.AuditList{Limit: 100}); err != nil || len(all) != 4 {
		t.Errorf("%d entries, %v; want 4", len(all), err)
	}
}

// Names, labels and IDs with SQL in them come back unchanged.
func testTextIsNeverSQL(t *testing.T, place Place) {
	f := openStore(t, place(t))
	for _, evil := range []string{`'; DROP TABLE api_keys; --`, `" OR ""="`, `$1`, `?1`, `%s`, `\`, `{{.}}`, `a'||'b`} {
		a, _, err := f.CreateAccount(t.Context(), start, keystore.Actor{Kind: evil, ID: evil}, evil)
		if err != nil {
			t.Fatal(err)
		}
		key, secret := f.key(a.ID, func(k *keystore.NewKey) { k.Label = evil })
		j := policy.Job{Backend: evil, ID: evil, Dialect: evil, AccountID: a.ID, KeyID: key.ID, CreatedAt: start}
		if err := f.CreateJob(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if _, err := f.RevokeKey(t.Context(), start, operator, key.ID, evil); err != nil {
			t.Fatal(err)
		}
		got, err := f.Account(t.Context(), a.ID)
		byID, keyErr := f.Key(t.Context(), key.ID)
		found, jobErr := f.FindJob(t.Context(), evil, evil)
		if err != nil || jobErr != nil || keyErr != nil || got.Name != evil || byID.Label != evil || f.find(secret) == nil || found != j {
			t.Errorf("%q came back as %q, %q, %q, %v, %v, %v", evil, got.Name, byID.Label, found.ID, err, keyErr, jobErr)
		}
		if f.find(policy.NewSecret(evil)) != nil {
			t.Errorf("%q is a key", evil)
		}
		if _, err := f.Account(t.Context(), evil); err == nil {
			t.Errorf("%q is an account", evil)
		}
	}
}

func testR3NeverIsItsOwnValue(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	_, never := f.key(a.ID, func(k *keystore.NewKey) { k.Expires = policy.Never() })
	_, soon := f.key(a.ID, func(k *keystore.NewKey) { k.Expires = policy.ExpiresAt(start + 1) })
	for range 2 { // from the database, from the cache
		if r := f.find(never); r.Key().Expires.Passed(1 << 62) {
			t.Error("no expiry became one")
		}
		if r := f.find(soon); r.Key().Expires.Passed(start) || !r.Key().Expires.Passed(start+1) {
			t.Error("the expiry is not exact")
		}
	}
}

func testAuditSince(t *testing.T, place Place) {
	f := openStore(t, place(t))
	for i := range 5 {
		if _, _, err := f.CreateAccount(t.Context(), start.Add(time.Duration(i)*time.Hour), operator, "x"); err != nil {
			t.Fatal(err)
		}
	}
	for since, want := range map[time.Duration]int{-time.Hour: 5, 0: 5, 1: 5, time.Millisecond: 4, 4 * time.Hour: 1, 5 * time.Hour: 0} {
		if got, _, err := f.Audit(t.Context(), keystore.AuditList{Since: start.Add(since), Limit: 100}); err != nil || len(got) != want {
			t.Errorf("since %s: %d entries, %v; want %d", since, len(got), err, want)
		}
	}
}

func testR18SecretsAreRefusedAsText(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a, password, err := f.CreateAccount(t.Context(), start, operator, "x")
	if err != nil {
		t.Fatal(err)
	}
	key, secret := f.key(a.ID)
	for _, text := range []string{secret.Reveal(), "found " + secret.Reveal() + " on a forum", password.Reveal()} {
		_, _, nameErr := f.CreateAccount(t.Context(), start, operator, text)
		_, _, labelErr := f.IssueKey(t.Context(), start, operator, keystore.NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never(), Label: text})
		_, reasonErr := f.RevokeKey(t.Context(), start, operator, key.ID, text)
		for what, err := range map[string]error{"name": nameErr, "label": labelErr, "reason": reasonErr} {
			wantIs(t, err, keystore.ErrInvalid)
			if err == nil || strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "which is a secret") {
				t.Errorf("%s: error %v", what, err)
			}
		}
	}
}
