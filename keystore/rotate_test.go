package keystore

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/policy"
)

func TestRotateKey_Refuses(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a, closed := f.account(), f.account()
	good, _ := f.key(a.ID)
	ofClosed, _ := f.key(closed.ID)
	rotated, _ := f.key(a.ID)
	deleted, _ := f.key(a.ID)
	revoked, _ := f.key(a.ID)
	expired, _ := f.key(a.ID, func(k *NewKey) { k.Expires = policy.ExpiresAt(start + 1) })
	_, err := f.CloseAccount(t.Context(), start, operator, closed.ID)
	if _, e := f.RotateKey(t.Context(), start, operator, rotated.ID, time.Minute); e != nil {
		err = e
	}
	if _, e := f.DeleteKey(t.Context(), start, operator, deleted.ID); e != nil {
		err = e
	}
	if _, e := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); e != nil {
		err = e
	}
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := f.Keys(t.Context(), KeyList{})
	for _, c := range []struct {
		name, id string
		by       Actor
		overlap  time.Duration
		kind     error
		want     string
	}{
		{"unknown key", "key_none", operator, time.Hour, ErrNotFound, "there is no key"},
		{"closed account", ofClosed.ID, operator, time.Hour, ErrAccountClosed, closed.ID + ", is closed"},
		{"rotated already", rotated.ID, operator, time.Hour, ErrInvalid, "rotate its successor"},
		{"deleted", deleted.ID, operator, time.Hour, ErrInvalid, "it is deleted"},
		{"revoked", revoked.ID, operator, 0, ErrInvalid, "it is revoked"},
		{"expired", expired.ID, operator, time.Hour, ErrInvalid, "it is expired"},
		{"negative overlap", good.ID, operator, -1, ErrInvalid, "from zero to ten years"},
		{"long overlap", good.ID, operator, MaxOverlap + 1, ErrInvalid, "from zero to ten years"},
		{"the account's holder", good.ID, Actor{Kind: ActorAccount, ID: a.ID}, time.Hour, ErrInvalid, "for the operator only"},
	} {
		r, err := f.RotateKey(t.Context(), start+1, c.by, c.id, c.overlap)
		if err == nil || !strings.Contains(err.Error(), c.want) || !r.Secret.Empty() {
			t.Errorf("%s: %v; want an error with %q", c.name, err, c.want)
		}
		wantIs(t, err, c.kind)
	}
	if after, _, _ := f.Keys(t.Context(), KeyList{}); cmp.Diff(before, after, cmpPolicy) != "" {
		t.Error("a refused rotation changed something")
	}
	if _, err := f.RotateKey(t.Context(), start, operator, good.ID, MaxOverlap); err != nil {
		t.Errorf("the longest overlap: %v", err)
	}
}

func TestKeys_OfAnIssuer(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	issuer, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	f.key(a.ID)
	child, _ := f.key(a.ID, func(k *NewKey) { k.Origin, k.Issuer = policy.OriginAPI, issuer.ID })
	for id, want := range map[string][]policy.Key{issuer.ID: {child}, child.ID: {}, "key_none": {}} {
		got, _, err := f.Keys(t.Context(), KeyList{IssuerID: id})
		if diff := cmp.Diff(want, got, cmpPolicy); err != nil || diff != "" {
			t.Errorf("of %q: %v (-want +got):\n%s", id, err, diff)
		}
	}
}

func TestR8_RotateAccount(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, withPepper("salt of the earth"))
	a, first, err := f.CreateAccount(t.Context(), start, operator, "Example K.K.")
	if err != nil {
		t.Fatal(err)
	}
	_, secret := f.key(a.ID)
	got, second, err := f.RotateAccount(t.Context(), start+1, operator, a.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := a
	want.ServiceID = got.ServiceID
	stored, _ := f.Account(t.Context(), a.ID)
	if got != want || stored != want || got.ServiceID == a.ServiceID || policy.CheckSecret(second) != nil || !strings.HasPrefix(second.Reveal(), "sgs_") {
		t.Errorf("the account is %+v, stored %+v, and was %+v", got, stored, a)
	}
	for password, n := range map[policy.Secret]int{first: 0, second: 1} {
		d := f.hash.secret(password)
		if got := count(t, rawDB(t, path), `SELECT COUNT(*) FROM accounts WHERE spw_digest = $1`, d[:]); got != n {
			t.Errorf("%d accounts have the password, want %d", got, n)
		}
	}
	if statusOf(f.find(secret), start+1) != "active" {
		t.Error("a key of the account ended")
	}
	rows := actions(t, f, a.ID, "account_rotate")
	if len(rows) != 1 || rows[0].Detail != "service ID "+got.ServiceID+", before "+a.ServiceID || rows[0].At != start+1 {
		t.Errorf("the audit trail has %+v", rows)
	}
	_, _, err = f.RotateAccount(t.Context(), start, operator, "acc_none", 0)
	wantIs(t, err, ErrNotFound)
	_, _, err = f.RotateAccount(t.Context(), start, Actor{Kind: ActorAccount, ID: a.ID}, a.ID, 0)
	wantIs(t, err, ErrInvalid)
	if _, err := f.CloseAccount(t.Context(), start+2, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	_, _, err = f.RotateAccount(t.Context(), start+3, operator, a.ID, 0)
	wantIs(t, err, ErrAccountClosed)
}
