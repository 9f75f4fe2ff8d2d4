package issuance

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestIssue_TheAuditTrailNamesTheCaller(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for call, want := range map[*KeyRequest]keystore.Actor{
		f.byKey("", ""):     {Kind: keystore.ActorKey, ID: f.issuer.ID, From: client},
		f.byService("", ""): {Kind: keystore.ActorAccount, ID: f.account.ID, From: client},
	} {
		got := New(settings).Issue(t.Context(), start, client, false, f, call)
		newest, _, err := f.Audit(t.Context(), keystore.AuditList{Limit: 1})
		if err != nil || len(newest) != 1 {
			t.Fatal(newest, err)
		}
		if e := newest[0]; e.Subject != got.Key.ID || e.AccountID != f.account.ID || e.Actor != want {
			t.Errorf("the trail has %+v, want the key %s and the actor %+v", e, got.Key.ID, want)
		}
	}
}

// noting is a keystore that remembers the uses of keys.
type noting struct {
	*keystore.Store
	uses *[]string
}

func (n noting) NoteUse(r *keystore.Record, now policy.Time) {
	key := r.Key()
	*n.uses = append(*n.uses, key.ID+" at "+now.String())
	n.Store.NoteUse(r, now)
}

func TestIssue_TheUseOfACallersKeyIsNoted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	revoked, ended := f.key(keystore.NewKey{Issuable: true, Expires: policy.Never()})
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	var uses []string
	store := noting{f.Store, &uses}
	now := start.Add(time.Second)
	for _, call := range []*KeyRequest{f.byKey("", ""), f.byService("", ""), {key: ended}, {key: policy.NewSecret("wrong")}} {
		New(settings).Issue(t.Context(), now, client, false, store, call)
	}
	if want := []string{f.issuer.ID + " at " + now.String()}; !slices.Equal(uses, want) {
		t.Errorf("noted %q, want %q", uses, want)
	}
}

// The answer is the same for all of these. Only the log tells them apart.
func TestIssue_TheLogSaysWhichCallerIsRefusedAndWhy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	suspended, password, err := f.CreateAccount(t.Context(), start, operator, "Suspended")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SuspendAccount(t.Context(), start, operator, suspended.ID, ""); err != nil {
		t.Fatal(err)
	}
	closed, ended, err := f.CreateAccount(t.Context(), start, operator, "Closed")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	revoked, secret := f.key(keystore.NewKey{Issuable: true, Expires: policy.Never()})
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		call *KeyRequest
		now  policy.Time
		want Result
	}{
		"a wrong password": {&KeyRequest{serviceID: f.account.ServiceID, password: ended}, start, Result{
			Reason: policy.KeyUnknown, Detail: "no account has this service ID and service password",
		}},
		"a suspended account": {&KeyRequest{serviceID: suspended.ServiceID, password: password}, start, Result{
			Reason: policy.AccountSuspended, AccountID: suspended.ID,
		}},
		"a closed account": {&KeyRequest{serviceID: closed.ServiceID, password: ended}, start, Result{
			Reason: policy.AccountClosed, AccountID: closed.ID,
		}},
		"an unknown key": {&KeyRequest{key: policy.NewSecret("wrong")}, start, Result{Reason: policy.KeyUnknown}},
		"a revoked key": {&KeyRequest{key: secret}, start, Result{
			Reason: policy.KeyRevoked, KeyID: revoked.ID, AccountID: f.account.ID,
		}},
		"a key from the future": {f.byKey("", ""), start - 1, Result{
			Reason: policy.KeyUnknown, KeyID: f.issuer.ID, AccountID: f.account.ID, Detail: policy.NotYet(start-1, &f.issuer),
		}},
	} {
		tt.want.Status, tt.want.Challenge = http.StatusUnauthorized, true
		tt.want.Text = "The credentials are not valid: they are unknown or wrong, have ended, or may not be used from your address."
		if got := New(settings).Issue(t.Context(), tt.now, client, false, f, tt.call); *got != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, *got, tt.want)
		}
	}
}
