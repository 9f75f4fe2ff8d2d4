package keystoretest

import (
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// A service ID that was rotated while a call waited issues no key.
func testIssueKeyNotByARotatedServiceID(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	k := keystore.NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Expires: policy.ExpiresAt(start.Add(time.Hour)), ServiceID: a.ServiceID}
	if _, _, err := f.IssueKey(t.Context(), start, keystore.Actor{Kind: keystore.ActorAccount, ID: a.ID}, k); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.RotateAccount(t.Context(), start, operator, a.ID, 0); err != nil {
		t.Fatal(err)
	}
	_, _, err := f.IssueKey(t.Context(), start, keystore.Actor{Kind: keystore.ActorAccount, ID: a.ID}, k)
	wantIs(t, err, keystore.ErrInvalid)
}

func testFindService(t *testing.T, place Place) {
	for name, options := range map[string][]func(*keystore.Config){"plain": nil, "peppered": {withPepper("salt")}} {
		t.Run(name, func(t *testing.T) {
			f := openStore(t, place(t), options...)
			a, password, err := f.CreateAccount(t.Context(), start, operator, "One")
			if err != nil {
				t.Fatal(err)
			}
			b, other, err := f.CreateAccount(t.Context(), start, operator, "Two")
			if err != nil {
				t.Fatal(err)
			}
			want := func(sid string, spw policy.Secret, account string) {
				t.Helper()
				got, err := f.FindService(t.Context(), start, sid, spw)
				if account == "" {
					wantIs(t, err, keystore.ErrNotFound)
				} else if err != nil || got.ID != account {
					t.Errorf("found %q, %v; want %s", got.ID, err, account)
				}
			}
			want(a.ServiceID, password, a.ID)
			want(b.ServiceID, other, b.ID)
			for _, pair := range []struct{ id, password string }{
				{a.ServiceID, other.Reveal()},
				{b.ServiceID, password.Reveal()},
				{"svc_unknown", password.Reveal()},
				{"", ""},
				{a.ServiceID, ""},
				{"", password.Reveal()},
				{a.ID, password.Reveal()},
				{a.ServiceID, password.Reveal() + "x"},
				{strings.ToUpper(a.ServiceID), password.Reveal()},
				{a.ServiceID + "' OR '1'='1", password.Reveal()},
				{a.ServiceID, "' OR '1'='1"},
				{a.ServiceID + "\x00", password.Reveal()},
				{strings.Repeat("x", 16<<10), strings.Repeat("y", 16<<10)},
			} {
				want(pair.id, policy.NewSecret(pair.password), "")
			}

			rotated, next, err := f.RotateAccount(t.Context(), start, operator, a.ID, 0)
			if err != nil {
				t.Fatal(err)
			}
			want(a.ServiceID, password, "")
			want(rotated.ServiceID, password, "")
			want(rotated.ServiceID, next, a.ID)

			if _, err := f.CloseAccount(t.Context(), start, operator, b.ID); err != nil {
				t.Fatal(err)
			}
			if got, err := f.FindService(t.Context(), start, b.ServiceID, other); err != nil || got.Open() {
				t.Errorf("a closed account: %+v, %v; want it, closed", got, err)
			}
		})
	}
}

func testImportAccount(t *testing.T, place Place) {
	f := openStore(t, place(t))
	password := policy.NewSecret("p@ss w&rd")
	a, err := f.ImportAccount(t.Context(), start, operator, "Example K.K.", "vendor-sid", password)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.FindService(t.Context(), start, "vendor-sid", password); err != nil || got.ID != a.ID {
		t.Errorf("found %+v, %v", got, err)
	}
	// Two accounts may have the same password.
	b, err := f.ImportAccount(t.Context(), start, operator, "Other", "other-sid", password)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.FindService(t.Context(), start, "other-sid", password); err != nil || got.ID != b.ID {
		t.Errorf("found %+v, %v", got, err)
	}
	_, ours, err := f.CreateAccount(t.Context(), start, operator, "Third")
	if err != nil {
		t.Fatal(err)
	}
	for want, tt := range map[string]struct {
		by       keystore.Actor
		id       string
		password string
	}{
		"is that of account " + a.ID: {operator, "vendor-sid", "another password"},
		"for the operator only":      {keystore.Actor{Kind: keystore.ActorAccount, ID: a.ID}, "third-sid", "another password"},
		"visible ASCII":              {operator, "third sid", "another password"},
		`"third\x7f": want`:          {operator, "third\x7f", "another password"},
		"1 to 200":                   {operator, strings.Repeat("x", 201), "another password"},
		`service ID "": want`:        {operator, "", "another password"},
		"has a key or service":       {operator, ours.Reveal(), "another password"},
		"7 bytes: want 8":            {operator, "third-sid", "seven c"},
		"1025 bytes":                 {operator, "third-sid", strings.Repeat("x", 1025)},
		"control characters":         {operator, "third-sid", "pass\tword"},
		"not UTF-8":                  {operator, "third-sid", "pass\xffword"},
	} {
		_, err := f.ImportAccount(t.Context(), start, tt.by, "X", tt.id, policy.NewSecret(tt.password))
		if wantIs(t, err, keystore.ErrInvalid); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), tt.password) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	for id, password := range map[string]string{
		strings.Repeat("x", 200): strings.Repeat("y", 8), "!~": strings.Repeat("z", policy.MaxSecretLen),
	} {
		if _, err := f.ImportAccount(t.Context(), start, operator, "X", id, policy.NewSecret(password)); err != nil {
			t.Errorf("a service ID of %d bytes and a password of %d: %v", len(id), len(password), err)
		}
	}
	if _, err := f.ImportAccount(t.Context(), start, operator, "", "third-sid", password); err == nil {
		t.Error("an account without a name")
	}
}
