package keystoretest

import (
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// reasonOf returns the reason of a recognition with a key at now.
func (f fixture) reasonOf(secret policy.Secret, now policy.Time) policy.Reason {
	f.t.Helper()
	k := f.find(secret).Key()
	return policy.Decide(now, &k, &policy.Request{Operation: policy.Recognize}, policy.Rules{}).Reason
}

// A suspension counts in every process at once, and the account gets its keys back with
// the resumption. What has ended stays ended.
func testSuspendAccountUntilItIsResumed(t *testing.T, place Place) {
	cfg := place(t)
	f, beside := openStore(t, cfg), openStore(t, cfg)
	never := func(k *keystore.NewKey) { k.Expires = policy.Never() }
	a, password, err := f.CreateAccount(t.Context(), start, operator, "Example")
	if err != nil {
		t.Fatal(err)
	}
	key, one := f.key(a.ID, never)
	revoked, two := f.key(a.ID, never)
	_, others := f.key(f.account().ID, never)
	for _, secret := range []policy.Secret{one, two, others} {
		f.find(secret)
		beside.find(secret)
	}
	got, err := f.SuspendAccount(t.Context(), start+1, operator, a.ID, "bill unpaid")
	if err != nil || got.SuspendedAt != start+1 || got.SuspendReason != "bill unpaid" || got.Status() != "suspended" {
		t.Fatalf("%+v, %v", got, err)
	}
	if r := f.reasonOf(one, start+1); r != policy.AccountSuspended {
		t.Errorf("the key is %s", r)
	}
	waitFor(t, "another process sees the account suspended", func() bool {
		return beside.reasonOf(one, start+1) == policy.AccountSuspended
	})
	if r := f.reasonOf(others, start+1); r != policy.Allowed {
		t.Errorf("another account's key is %s", r)
	}
	if found, err := f.FindService(t.Context(), start+1, a.ServiceID, password); err != nil || found.SuspendedAt != start+1 {
		t.Errorf("its service password finds %+v, %v; want it, suspended", found, err)
	}
	k := keystore.NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never()}
	_, _, err = f.IssueKey(t.Context(), start+2, operator, k)
	wantIs(t, err, keystore.ErrAccountSuspended)
	_, err = f.RotateKey(t.Context(), start+2, operator, key.ID, time.Hour)
	if wantIs(t, err, keystore.ErrInvalid); err == nil || !strings.Contains(err.Error(), "resume it first") {
		t.Errorf("rotating its key: %v", err)
	}
	if _, err := f.RevokeKey(t.Context(), start+2, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	if again, err := f.SuspendAccount(t.Context(), start+3, operator, a.ID, "other"); err != nil || again.SuspendedAt != start+1 || again.SuspendReason != "bill unpaid" {
		t.Errorf("suspending again: %+v, %v", again, err)
	}
	if status, _, err := f.Keys(t.Context(), keystore.KeyList{AccountID: a.ID, Status: "suspended", Now: start + 3}); err != nil || len(status) != 1 || status[0].ID != key.ID {
		t.Errorf("the suspended keys are %+v, %v", status, err)
	}

	if got, err = f.ResumeAccount(t.Context(), start+4, operator, a.ID); err != nil || got.Status() != "open" || got.SuspendReason != "" {
		t.Fatalf("%+v, %v", got, err)
	}
	if r := f.reasonOf(one, start+4); r != policy.Allowed {
		t.Errorf("after the resumption the key is %s", r)
	}
	waitFor(t, "another process sees the account resumed", func() bool {
		return beside.reasonOf(one, start+4) == policy.Allowed
	})
	if r := f.reasonOf(two, start+4); r != policy.KeyRevoked {
		t.Errorf("after the resumption the revoked key is %s", r)
	}
	if _, err := f.ResumeAccount(t.Context(), start+5, operator, a.ID); err != nil {
		t.Errorf("resuming again: %v", err)
	}
	for action, want := range map[string]string{"account_suspend": "bill unpaid", "account_resume": ""} {
		if rows := actions(t, f, a.ID, action); len(rows) != 1 || rows[0].Subject != a.ID || rows[0].Detail != want {
			t.Errorf("%s: %+v", action, rows)
		}
	}
	f.wantSuspensionRefused(a.ID)
}

// wantSuspensionRefused closes an account, and expects that it cannot be suspended or
// resumed.
func (f fixture) wantSuspensionRefused(accountID string) {
	f.t.Helper()
	holder := keystore.Actor{Kind: keystore.ActorAccount, ID: accountID}
	_, err := f.SuspendAccount(f.t.Context(), start, holder, accountID, "")
	wantIs(f.t, err, keystore.ErrInvalid)
	_, err = f.ResumeAccount(f.t.Context(), start, holder, accountID)
	wantIs(f.t, err, keystore.ErrInvalid)
	_, err = f.SuspendAccount(f.t.Context(), start, operator, accountID, strings.Repeat("x", 201))
	wantIs(f.t, err, keystore.ErrInvalid)
	_, err = f.SuspendAccount(f.t.Context(), start, operator, "acc_none", "")
	wantIs(f.t, err, keystore.ErrNotFound)
	if _, err := f.CloseAccount(f.t.Context(), start+6, operator, accountID); err != nil {
		f.t.Fatal(err)
	}
	_, err = f.SuspendAccount(f.t.Context(), start+7, operator, accountID, "")
	wantIs(f.t, err, keystore.ErrAccountClosed)
	_, err = f.ResumeAccount(f.t.Context(), start+7, operator, accountID)
	wantIs(f.t, err, keystore.ErrAccountClosed)
}

func testSuspendKeyUntilItIsResumed(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	issuer, secret := f.key(a.ID, func(k *keystore.NewKey) { k.Issuable = true })
	child, ofChild := f.child(issuer)
	f.find(secret)
	got, err := f.SuspendKey(t.Context(), start, operator, issuer.ID, "seen in a log")
	if err != nil || got.SuspendedAt != start || got.SuspendReason != "seen in a log" || got.Status(start) != "suspended" {
		t.Fatalf("%+v, %v", got, err)
	}
	if r := f.reasonOf(secret, start); r != policy.KeySuspended {
		t.Errorf("the key is %s", r)
	}
	if r := f.reasonOf(ofChild, start); r != policy.Allowed {
		t.Errorf("the key that it issued is %s", r)
	}
	_, _, err = f.IssueKey(t.Context(), start, keystore.Actor{Kind: keystore.ActorKey, ID: issuer.ID},
		keystore.NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: issuer.ID, Expires: child.Expires})
	wantIs(t, err, keystore.ErrInvalid)

	// A suspension of the account is apart from a suspension of the key.
	if _, err := f.SuspendAccount(t.Context(), start, operator, a.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ResumeAccount(t.Context(), start, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	if r := f.reasonOf(secret, start); r != policy.KeySuspended {
		t.Errorf("with its account resumed the key is %s", r)
	}
	if again, err := f.SuspendKey(t.Context(), start+1, operator, issuer.ID, ""); err != nil || again.SuspendedAt != start {
		t.Errorf("suspending again: %+v, %v", again, err)
	}
	if got, err = f.ResumeKey(t.Context(), start+1, operator, issuer.ID); err != nil || got.Status(start+1) != "active" || got.SuspendReason != "" {
		t.Fatalf("%+v, %v", got, err)
	}
	if r := f.reasonOf(secret, start+1); r != policy.Allowed {
		t.Errorf("after the resumption the key is %s", r)
	}
	if stored, err := f.Key(t.Context(), issuer.ID); err != nil || !stored.SuspendedAt.IsZero() || stored.SuspendReason != "" {
		t.Errorf("stored %+v, %v", stored, err)
	}

	holder := keystore.Actor{Kind: keystore.ActorAccount, ID: a.ID}
	_, err = f.SuspendKey(t.Context(), start, holder, issuer.ID, "")
	wantIs(t, err, keystore.ErrInvalid)
	_, err = f.ResumeKey(t.Context(), start, holder, issuer.ID)
	wantIs(t, err, keystore.ErrInvalid)
	_, err = f.SuspendKey(t.Context(), start, operator, issuer.ID, "bad\n")
	wantIs(t, err, keystore.ErrInvalid)
	_, err = f.SuspendKey(t.Context(), start, operator, "key_none", "")
	wantIs(t, err, keystore.ErrNotFound)
	if _, err := f.RevokeKey(t.Context(), start+2, operator, issuer.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	for name, act := range map[string]func() error{
		"suspended": func() error { _, err := f.SuspendKey(t.Context(), start+3, operator, issuer.ID, ""); return err },
		"resumed":   func() error { _, err := f.ResumeKey(t.Context(), start+3, operator, issuer.ID); return err },
	} {
		err := act()
		if wantIs(t, err, keystore.ErrInvalid); err == nil || !strings.Contains(err.Error(), "cannot be "+name+": it is revoked") {
			t.Errorf("a revoked key: %v", err)
		}
	}
	if stored, err := f.Key(t.Context(), issuer.ID); err != nil || stored.RevokeReason != "leaked" {
		t.Errorf("stored %+v, %v", stored, err)
	}
}

// After an account was rotated with an overlap, both its service passwords work until the
// overlap ends.
func testR8RotateAccountWithOverlap(t *testing.T, place Place) {
	for name, options := range map[string][]func(*keystore.Config){"plain": nil, "peppered": {withPepper("salt")}} {
		t.Run(name, func(t *testing.T) {
			f := openStore(t, place(t), options...)
			a, password, err := f.CreateAccount(t.Context(), start, operator, "One")
			if err != nil {
				t.Fatal(err)
			}
			end := start.Add(24 * time.Hour)
			want := func(now policy.Time, sid string, spw policy.Secret, good bool) {
				t.Helper()
				_, err := f.FindService(t.Context(), now, sid, spw)
				if good && err != nil {
					t.Errorf("at %s: %v", now, err)
				}
				if !good {
					wantIs(t, err, keystore.ErrNotFound)
				}
			}
			rotated, second, err := f.RotateAccount(t.Context(), start, operator, a.ID, 24*time.Hour)
			if err != nil || rotated.PreviousServiceID != a.ServiceID || rotated.PreviousUntil != end {
				t.Fatalf("%+v, %v", rotated, err)
			}
			if stored, err := f.Account(t.Context(), a.ID); err != nil || stored != rotated {
				t.Errorf("stored %+v, %v", stored, err)
			}
			want(end-1, a.ServiceID, password, true)
			want(end, a.ServiceID, password, false)
			want(end, rotated.ServiceID, second, true)
			want(start, a.ServiceID, second, false)
			want(start, rotated.ServiceID, password, false)

			k := keystore.NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Expires: policy.Never(), ServiceID: a.ServiceID}
			by := keystore.Actor{Kind: keystore.ActorAccount, ID: a.ID}
			if _, _, err := f.IssueKey(t.Context(), end-1, by, k); err != nil {
				t.Error(err)
			}
			_, _, err = f.IssueKey(t.Context(), end, by, k)
			wantIs(t, err, keystore.ErrInvalid)

			// Nobody else can take the old service ID meanwhile.
			_, err = f.ImportAccount(t.Context(), end-1, operator, "Two", a.ServiceID, policy.NewSecret("some password"))
			wantIs(t, err, keystore.ErrInvalid)

			// The next rotation ends the password from before the last one.
			third, _, err := f.RotateAccount(t.Context(), start, operator, a.ID, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			want(start, a.ServiceID, password, false)
			want(start, rotated.ServiceID, second, true)
			if _, _, err := f.RotateAccount(t.Context(), start, operator, a.ID, 0); err != nil {
				t.Fatal(err)
			}
			want(start, rotated.ServiceID, second, false)
			rows := actions(t, f, a.ID, "account_rotate")
			if len(rows) != 3 {
				t.Fatalf("the audit trail has %+v", rows)
			}
			details := rows[0].Detail + "; " + rows[1].Detail + "; " + rows[2].Detail
			if !strings.Contains(details, ", before "+a.ServiceID+", which works until "+end.String()) || strings.Contains(details, ", before "+third.ServiceID+",") {
				t.Errorf("the audit trail has %+v", rows)
			}
			for _, overlap := range []time.Duration{-1, 11 * 8766 * time.Hour} {
				_, _, err := f.RotateAccount(t.Context(), start, operator, a.ID, overlap)
				wantIs(t, err, keystore.ErrInvalid)
			}
		})
	}
}

func testRenameChangesTheTextOnly(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	key, _ := f.key(a.ID)
	renamed, err := f.RenameAccount(t.Context(), start, operator, a.ID, "Other K.K.")
	if want := (policy.Account{ID: a.ID, Name: "Other K.K.", ServiceID: a.ServiceID, CreatedAt: a.CreatedAt}); err != nil || renamed != want {
		t.Errorf("%+v, %v", renamed, err)
	}
	if stored, err := f.Account(t.Context(), a.ID); err != nil || stored != renamed {
		t.Errorf("stored %+v, %v", stored, err)
	}
	labelled, err := f.RenameKey(t.Context(), start, operator, key.ID, "new label")
	if err != nil || labelled.Label != "new label" {
		t.Errorf("%+v, %v", labelled, err)
	}
	if stored, err := f.Key(t.Context(), key.ID); err != nil || stored.Label != "new label" {
		t.Errorf("stored %+v, %v", stored, err)
	}
	for action, want := range map[string]string{"account_rename": "Other K.K.", "key_rename": "new label"} {
		if rows := actions(t, f, a.ID, action); len(rows) != 1 || rows[0].Detail != want {
			t.Errorf("%s: %+v", action, rows)
		}
	}
	other := keystore.Actor{Kind: keystore.ActorAccount, ID: f.account().ID}
	_, err = f.RenameKey(t.Context(), start, other, key.ID, "x")
	wantIs(t, err, keystore.ErrNotFound)
	_, err = f.RenameKey(t.Context(), start, operator, key.ID, "x\n")
	wantIs(t, err, keystore.ErrInvalid)
	_, err = f.RenameAccount(t.Context(), start, other, other.ID, "x")
	wantIs(t, err, keystore.ErrInvalid)
	_, err = f.RenameAccount(t.Context(), start, operator, a.ID, "")
	wantIs(t, err, keystore.ErrInvalid)
	_, err = f.RenameAccount(t.Context(), start, operator, "acc_none", "x")
	wantIs(t, err, keystore.ErrNotFound)
}
