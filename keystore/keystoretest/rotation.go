package keystoretest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func testR7ARotationScheduledLaterEndsTheChildrenToo(t *testing.T, place Place) {
	path := place(t)
	f, beside := openStore(t, path), openStore(t, path)
	a := f.account()
	issuer, _ := f.key(a.ID, func(k *keystore.NewKey) { k.Issuable, k.Expires = true, policy.Never() })
	other, _ := f.key(a.ID, func(k *keystore.NewKey) { k.Issuable = true })
	_, bound := f.child(issuer)
	_, free := f.child(issuer, func(k *keystore.NewKey) { k.OutlivesIssuer = true })
	_, foreign := f.child(other)
	var told atomic.Int64
	for _, s := range []fixture{f, beside} { // both cache the keys
		r := s.find(bound)
		s.find(free)
		s.find(foreign)
		defer s.Watch(r, func() { told.Add(1) })()
	}
	if _, err := f.RotateKey(t.Context(), start, operator, issuer.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	end := start.Add(time.Minute)
	if got := f.find(bound).Key().RevokeFrom; got != end {
		t.Errorf("the child ends at %s, want the end of its issuer, %s", got, end)
	}
	waitFor(t, "another process ends the child too", func() bool {
		return beside.find(bound).Key().RevokeFrom == end && told.Load() >= 2
	})
	for name, secret := range map[string]policy.Secret{"a child of children free": free, "a child of another key": foreign} {
		if got := f.find(secret).Key().RevokeFrom; !got.IsZero() {
			t.Errorf("%s ends at %s", name, got)
		}
	}
	// Key and FindKey return the same end.
	k, err := f.Key(t.Context(), f.find(bound).Key().ID)
	if err != nil || k.RevokeFrom != end || k.Status(end-1) != "active" || k.Status(end) != "revoked" {
		t.Errorf("the child is %+v, %v", k, err)
	}
}

func testR7ASuccessorOfAChildIsBoundAsTheChildWas(t *testing.T, place Place) {
	f := openStore(t, place(t))
	issuer, _ := f.key(f.account().ID, func(k *keystore.NewKey) { k.Issuable = true })
	for _, free := range []bool{false, true} {
		child, _ := f.child(issuer, func(k *keystore.NewKey) { k.OutlivesIssuer = free })
		r, err := f.RotateKey(t.Context(), start, operator, child.ID, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if got := f.find(r.Secret).Key().RevokeFrom; got.IsZero() != free {
				t.Errorf("free %v: the successor ends at %s", free, got)
			}
		}()
	}
	if _, err := f.RotateKey(t.Context(), start, operator, issuer.ID, time.Hour); err != nil {
		t.Fatal(err)
	}
}

// testR7NoBoundChildOutlivesAScheduledEnd issues and rotates keys in any order.
func testR7NoBoundChildOutlivesAScheduledEnd(t *testing.T, place Place) {
	store := openStore(t, place(t))
	rapid.Check(t, func(rt *rapid.T) {
		account, _, err := store.CreateAccount(t.Context(), start, operator, "Test")
		if err != nil {
			rt.Fatal(err)
		}
		now := start
		type child struct {
			issuer, id string
			free       bool
		}
		issuers, children := []string{}, []child{}
		issue := func(k keystore.NewKey) string {
			k.AccountID = account.ID
			key, _, err := store.IssueKey(t.Context(), now, operator, k)
			if err != nil {
				return "" // an issuer that has ended issues nothing
			}
			return key.ID
		}
		issuers = append(issuers, issue(keystore.NewKey{Origin: policy.OriginConsole, Issuable: true, Expires: policy.Never()}))
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			now += policy.Time(rapid.IntRange(0, 20).Draw(rt, "wait"))
			issuer := rapid.SampledFrom(issuers).Draw(rt, "issuer")
			if rapid.Bool().Draw(rt, "rotate") {
				r, err := store.RotateKey(t.Context(), now, operator, issuer, time.Duration(rapid.IntRange(1, 40).Draw(rt, "overlap"))*time.Millisecond)
				if err == nil {
					issuers = append(issuers, r.New.ID)
				}
				continue
			}
			c := child{issuer: issuer, free: rapid.Bool().Draw(rt, "free")}
			c.id = issue(keystore.NewKey{
				Origin: policy.OriginAPI, Issuer: issuer, OutlivesIssuer: c.free,
				Expires: policy.ExpiresAt(now.Add(time.Hour)),
			})
			if c.id != "" {
				children = append(children, c)
			}
		}
		for _, c := range children {
			k, err := store.Key(t.Context(), c.id)
			if err != nil {
				rt.Fatal(err)
			}
			issuer, err := store.Key(t.Context(), c.issuer)
			if err != nil {
				rt.Fatal(err)
			}
			if outlives := k.End().After(issuer.End()); outlives != (c.free && !issuer.RevokeFrom.IsZero()) {
				rt.Fatalf("free %v: the child ends at %s and its issuer at %s", c.free, k.End(), issuer.End())
			}
		}
	})
}

func testRotateKeySuccessorHasTheSameRules(t *testing.T, place Place) {
	path := place(t)
	f, beside := openStore(t, path), openStore(t, path)
	a := f.account()
	issuer, _ := f.key(a.ID, func(k *keystore.NewKey) { k.Issuable = true })
	for _, edit := range []func(*keystore.NewKey){
		func(k *keystore.NewKey) {
			k.Label, k.Issuable, k.Allow = "the app", true, addrs(t, "192.0.2.0/24 2001:db8::1")
			k.Limits = limits(t, "requests=60/m audio-total=1h operations=stream")
		},
		func(k *keystore.NewKey) { k.Origin, k.Expires = policy.OriginInitial, policy.Never() },
		func(k *keystore.NewKey) { k.Origin, k.Issuer = policy.OriginAPI, issuer.ID },
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
			Prefix: r.Secret.Reveal()[:8], Allow: old.Allow, Limits: old.Limits, Issuable: old.Issuable, IssuerID: old.IssuerID,
			CreatedAt: start + 1, Expires: old.Expires,
		}
		if diff := cmp.Diff(want, r.New, cmpPolicy); diff != "" || r.New.ID == old.ID {
			t.Errorf("successor, answered (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, f.find(r.Secret).Key(), cmpFound); diff != "" {
			t.Errorf("successor, found (-want +got):\n%s", diff)
		}
		end := start.Add(time.Hour) + 1
		old.RevokeFrom, old.RevokeReason = end, "replaced by "+r.New.ID
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
		waitFor(t, "another process knows when the key ends", func() bool {
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

func testRotateKeyWithoutOverlapRevokesAtOnce(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	old, secret := f.key(a.ID)
	r, err := f.RotateKey(t.Context(), start, operator, old.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := actions(t, f, a.ID, "key_rotate")
	want := []keystore.AuditEntry{{
		Seq: 3, At: start, Actor: operator, Action: "key_rotate", AccountID: a.ID,
		Subject: old.ID, Detail: "replaced by " + r.New.ID + ", revoked at once",
	}}
	if diff := cmp.Diff(want, got, cmpPolicy); diff != "" {
		t.Errorf("the audit trail (-want +got):\n%s", diff)
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

func testRevokeKeyEndsAScheduledOneAtOnce(t *testing.T, place Place) {
	f := openStore(t, place(t))
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
