package keystore

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/speechgate/speechgate/policy"
)

func TestRotateKey_SuccessorHasTheSameRules(t *testing.T) {
	path := newPath(t)
	f, beside := openStore(t, path), openStore(t, path)
	a := f.account()
	issuer, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	for _, edit := range []func(*NewKey){
		func(k *NewKey) { k.Label, k.Issuable, k.Allow = "the app", true, addrs(t, "192.0.2.0/24 2001:db8::1") },
		func(k *NewKey) { k.Origin, k.Expires = policy.OriginInitial, policy.Never() },
		func(k *NewKey) { k.Origin, k.Issuer = policy.OriginAPI, issuer.ID },
	} {
		old, secret := f.key(a.ID, edit)
		f.find(secret)
		beside.find(secret)
		r, err := f.RotateKey(t.Context(), start+1, operator, old.ID, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		want := policy.Key{
			ID: r.New.ID, AccountID: a.ID, AccountOpen: true, Origin: policy.OriginConsole, Label: old.Label,
			Prefix: r.Secret.Reveal()[:8], Allow: old.Allow, Issuable: old.Issuable, IssuerID: old.IssuerID,
			CreatedAt: start + 1, Expires: old.Expires,
		}
		if diff := cmp.Diff(want, r.New, cmpPolicy); diff != "" || r.New.ID == old.ID {
			t.Errorf("successor, answered (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, f.find(r.Secret).Key(), cmpFound); diff != "" {
			t.Errorf("successor, found (-want +got):\n%s", diff)
		}
		end := start.Add(time.Hour) + 1
		old.RevokeFrom = end
		byID, err := f.Key(t.Context(), old.ID)
		if err != nil {
			t.Fatal(err)
		}
		for what, got := range map[string]policy.Key{"answered": r.Old, "by ID": byID} {
			if diff := cmp.Diff(old, got, cmpPolicy); diff != "" {
				t.Errorf("old key, %s (-want +got):\n%s", what, diff)
			}
		}
		if diff := cmp.Diff(old, f.find(secret).Key(), cmpFound); diff != "" {
			t.Errorf("old key, found (-want +got):\n%s", diff)
		}
		waitFor(t, 250*time.Millisecond, "another process knows when the key ends", func() bool {
			return beside.find(secret).Key().RevokeFrom == end
		})
		if rows := actions(t, f, a.ID, "key_rotate"); rows[0].Subject != old.ID || rows[0].Detail != "replaced by "+r.New.ID+", revoked from "+end.String()+" on" {
			t.Errorf("the audit trail has %+v", rows[0])
		}
		if rows := actions(t, f, a.ID, "key_issue"); rows[0].Subject != r.New.ID {
			t.Errorf("the audit trail has %+v", rows[0])
		}
	}
}

func TestRotateKey_WithoutOverlapRevokesAtOnce(t *testing.T) {
	f := openStore(t, newPath(t))
	old, secret := f.key(f.account().ID)
	r, err := f.RotateKey(t.Context(), start, operator, old.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	for what, k := range map[string]policy.Key{"answered": r.Old, "found": f.find(secret).Key()} {
		if k.RevokedAt != start || !k.RevokeFrom.IsZero() || k.Status(start) != "revoked" {
			t.Errorf("%s: %+v", what, k)
		}
	}
	if statusOf(f.find(r.Secret), start) != "active" {
		t.Error("the successor cannot be used")
	}
}

func TestRotateKey_Refuses(t *testing.T) {
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
		{"long overlap", good.ID, operator, maxOverlap + 1, ErrInvalid, "from zero to ten years"},
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
}

func TestRevokeKey_EndsAScheduledOneAtOnce(t *testing.T) {
	f := openStore(t, newPath(t))
	old, secret := f.key(f.account().ID)
	if _, err := f.RotateKey(t.Context(), start, operator, old.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := f.RevokeKey(t.Context(), start+1, operator, old.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	if k := f.find(secret).Key(); k.RevokedAt != start+1 || k.Status(start) != "revoked" {
		t.Errorf("the key is %+v", k)
	}
}

func TestPrune_CountsFromTheScheduledRevocation(t *testing.T) {
	path := newPath(t)
	f := openStore(t, path, func(c *Config) { c.Retention = 10 * day })
	old, secret := f.key(f.account().ID, func(k *NewKey) { k.Expires = policy.Never() })
	if _, err := f.RotateKey(t.Context(), start, operator, old.ID, day); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		after time.Duration
		kept  bool
	}{{11*day - 1, true}, {11 * day, false}} {
		if err := f.Prune(t.Context(), start.Add(c.after)); err != nil {
			t.Fatal(err)
		}
		if kept := f.find(secret) != nil; kept != c.kept {
			t.Errorf("after %s: kept %v, want %v", c.after, kept, c.kept)
		}
	}
	wantResults(t, f.imports(Import{AccountID: old.AccountID, Secrets: []policy.Secret{secret}}), ImportDead)
}

func TestKeys_OfAnIssuer(t *testing.T) {
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
	path := newPath(t)
	f := openStore(t, path, withPepper("salt of the earth"))
	a, first, err := f.CreateAccount(t.Context(), start, operator, "Example K.K.")
	if err != nil {
		t.Fatal(err)
	}
	_, secret := f.key(a.ID)
	got, second, err := f.RotateAccount(t.Context(), start+1, operator, a.ID)
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
	_, _, err = f.RotateAccount(t.Context(), start, operator, "acc_none")
	wantIs(t, err, ErrNotFound)
	_, _, err = f.RotateAccount(t.Context(), start, Actor{Kind: ActorAccount, ID: a.ID}, a.ID)
	wantIs(t, err, ErrInvalid)
	if _, err := f.CloseAccount(t.Context(), start+2, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	_, _, err = f.RotateAccount(t.Context(), start+3, operator, a.ID)
	wantIs(t, err, ErrAccountClosed)
}

func TestAudit_Since(t *testing.T) {
	f := openStore(t, newPath(t))
	for i := range 5 {
		if _, _, err := f.CreateAccount(t.Context(), start.Add(time.Duration(i)*time.Hour), operator, "x"); err != nil {
			t.Fatal(err)
		}
	}
	for since, want := range map[time.Duration]int{-time.Hour: 5, 0: 5, 1: 5, time.Millisecond: 4, 4 * time.Hour: 1, 5 * time.Hour: 0} {
		if got, _, err := f.Audit(t.Context(), AuditList{Since: start.Add(since), Limit: 100}); err != nil || len(got) != want {
			t.Errorf("since %s: %d entries, %v; want %d", since, len(got), err, want)
		}
	}
}

func TestR18_SecretsAreRefusedAsText(t *testing.T) {
	f := openStore(t, newPath(t))
	a, password, err := f.CreateAccount(t.Context(), start, operator, "x")
	if err != nil {
		t.Fatal(err)
	}
	key, secret := f.key(a.ID)
	for _, text := range []string{secret.Reveal(), "found " + secret.Reveal() + " on a forum", password.Reveal()} {
		_, _, nameErr := f.CreateAccount(t.Context(), start, operator, text)
		_, _, labelErr := f.IssueKey(t.Context(), start, operator, NewKey{AccountID: a.ID, Origin: policy.OriginConsole, Expires: policy.Never(), Label: text})
		_, reasonErr := f.RevokeKey(t.Context(), start, operator, key.ID, text)
		for what, err := range map[string]error{"name": nameErr, "label": labelErr, "reason": reasonErr} {
			wantIs(t, err, ErrInvalid)
			if err == nil || strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "which is a secret") {
				t.Errorf("%s: error %v", what, err)
			}
		}
	}
}
