package keystoretest

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func limits(t *testing.T, text string) policy.Limits {
	t.Helper()
	l, err := policy.ParseLimits(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func testR20LimitsOfAKeyAreFixedAtIssue(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	const all = "requests=60/m concurrent=4 streams=2 audio=3600s/d audio-total=36000s operations=recognize,create_job"
	want := limits(t, all)
	issued, secret := f.key(a.ID, func(k *keystore.NewKey) { k.Limits = want })
	imported := f.imports(keystore.Import{AccountID: a.ID, Expires: policy.Never(), Limits: want, Secrets: []policy.Secret{policy.NewSecret("a-vendors-key")}})[0].Key
	_, plain := f.key(a.ID)
	if r := f.find(plain); r.Limited() {
		t.Errorf("a key without limits has %+v", r.Key().Limits)
	}
	if r := f.find(secret); !r.Limited() || r.Key().Limits != want || !r.Key().AccountLimits.None() {
		t.Errorf("found %+v", r.Key())
	}
	for _, id := range []string{issued.ID, imported.ID} {
		if k, err := f.Key(t.Context(), id); err != nil || k.Limits != want {
			t.Errorf("stored %+v, %v", k, err)
		}
	}
	page, _, err := f.Keys(t.Context(), keystore.KeyList{AccountID: a.ID, Origin: policy.OriginInitial})
	if err != nil || len(page) != 1 || page[0].Limits != want {
		t.Errorf("listed %+v, %v", page, err)
	}
	for _, action := range []string{"key_issue", "key_import"} {
		rows := actions(t, f, a.ID, action)
		if last := rows[len(rows)-1].Detail; !strings.HasSuffix(last, ", limits "+all) {
			t.Errorf("the audit trail has %q for %s", last, action)
		}
	}
	// Whatever happens to the key, its limits stay.
	if _, err := f.RenameKey(t.Context(), start, operator, issued.ID, "other"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SuspendKey(t.Context(), start, operator, issued.ID, ""); err != nil {
		t.Fatal(err)
	}
	if k := f.find(secret).Key(); k.Limits != want {
		t.Errorf("found %+v", k)
	}
}

func testR20LimitsOfAnAccountCanBeChanged(t *testing.T, place Place) {
	cfg := place(t)
	f, beside := openStore(t, cfg), openStore(t, cfg)
	a := f.account()
	_, one := f.key(a.ID, func(k *keystore.NewKey) { k.Limits = limits(t, "streams=1") })
	_, others := f.key(f.account().ID)
	for _, s := range []fixture{f, beside} {
		s.find(one)
		s.find(others)
	}
	change := func(text string) policy.LimitChange {
		c, err := policy.ParseLimitChange(text)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i, step := range []struct{ change, want, detail string }{
		{"requests=60/m operations=recognize", "requests=60/m operations=recognize", "requests=60/m operations=recognize"},
		{"requests=6/m concurrent=3", "requests=6/m concurrent=3 operations=recognize", "requests=6/m concurrent=3 operations=recognize"},
		{"none", "", "no limits"},
		{"streams=9", "streams=9", "streams=9"},
	} {
		got, err := f.LimitAccount(t.Context(), start, operator, a.ID, change(step.change))
		want := limits(t, step.want)
		if err != nil || got.Limits != want {
			t.Fatalf("%s: %+v, %v", step.change, got, err)
		}
		if stored, err := f.Account(t.Context(), a.ID); err != nil || stored != got {
			t.Errorf("%s: stored %+v, %v", step.change, stored, err)
		}
		if k := f.find(one).Key(); k.AccountLimits != want || k.Limits != limits(t, "streams=1") {
			t.Errorf("%s: found %+v", step.change, k)
		}
		waitFor(t, "another process knows the limits", func() bool { return beside.find(one).Key().AccountLimits == want })
		if again, err := f.LimitAccount(t.Context(), start, operator, a.ID, change(step.change)); err != nil || again != got {
			t.Errorf("%s again: %+v, %v", step.change, again, err)
		}
		if rows := actions(t, f, a.ID, "account_limit"); len(rows) != i+1 || rows[0].Detail != step.detail && rows[i].Detail != step.detail {
			t.Errorf("%s: the audit trail has %+v", step.change, rows)
		}
	}
	if k := f.find(others).Key(); !k.AccountLimits.None() {
		t.Errorf("another account's key has %+v", k.AccountLimits)
	}
	// A key that is issued later has the limits of its account too.
	if _, secret := f.key(a.ID); f.find(secret).Key().AccountLimits != limits(t, "streams=9") {
		t.Error("a new key does not have the limits of its account")
	}
	_, err := f.LimitAccount(t.Context(), start, keystore.Actor{Kind: keystore.ActorAccount, ID: a.ID}, a.ID, change("none"))
	if wantIs(t, err, keystore.ErrInvalid); err == nil || !strings.Contains(err.Error(), "limiting an account is for the operator only") {
		t.Errorf("the account's holder: %v", err)
	}
	_, err = f.LimitAccount(t.Context(), start, operator, "acc_none", change("none"))
	wantIs(t, err, keystore.ErrNotFound)
	if _, err := f.CloseAccount(t.Context(), start, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	_, err = f.LimitAccount(t.Context(), start, operator, a.ID, change("none"))
	wantIs(t, err, keystore.ErrAccountClosed)
}
