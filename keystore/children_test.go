package keystore

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// boundChild issues a key in the name of issuer.
func (f fixture) boundChild(issuer policy.Key, edit ...func(*NewKey)) (policy.Key, policy.Secret) {
	f.t.Helper()
	return f.key(issuer.AccountID, append([]func(*NewKey){func(k *NewKey) { k.Origin, k.Issuer = policy.OriginAPI, issuer.ID }}, edit...)...)
}

func TestR7_ARotationScheduledLaterEndsTheChildrenToo(t *testing.T) {
	path := newPath(t)
	f, beside := openStore(t, path), openStore(t, path)
	a := f.account()
	issuer, _ := f.key(a.ID, func(k *NewKey) { k.Issuable, k.Expires = true, policy.Never() })
	other, _ := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	_, bound := f.boundChild(issuer)
	_, free := f.boundChild(issuer, func(k *NewKey) { k.OutlivesIssuer = true })
	_, foreign := f.boundChild(other)
	var told atomic.Int64
	for _, s := range []fixture{f, beside} { // both have them in their caches
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
	waitFor(t, 250*time.Millisecond, "another process ends the child too", func() bool {
		return beside.find(bound).Key().RevokeFrom == end && told.Load() >= 2
	})
	for name, secret := range map[string]policy.Secret{"a child of children free": free, "a child of another key": foreign} {
		if got := f.find(secret).Key().RevokeFrom; !got.IsZero() {
			t.Errorf("%s ends at %s", name, got)
		}
	}
	// The record for people agrees with the record of decisions.
	k, err := f.Key(t.Context(), f.find(bound).Key().ID)
	if err != nil || k.RevokeFrom != end || k.Status(end-1) != "active" || k.Status(end) != "revoked" {
		t.Errorf("the child is %+v, %v", k, err)
	}
}

func TestR7_ASuccessorOfAChildIsBoundAsTheChildWas(t *testing.T) {
	f := openStore(t, newPath(t))
	issuer, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	for _, free := range []bool{false, true} {
		child, _ := f.boundChild(issuer, func(k *NewKey) { k.OutlivesIssuer = free })
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

// TestR7_NoBoundChildOutlivesAScheduledEnd plays issues and rotations in any order.
func TestR7_NoBoundChildOutlivesAScheduledEnd(t *testing.T) {
	store := openStore(t, filepath.Join(t.TempDir(), "keystore.db"))
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
		issue := func(k NewKey) string {
			k.AccountID = account.ID
			key, _, err := store.IssueKey(t.Context(), now, operator, k)
			if err != nil {
				return "" // an issuer that has ended issues nothing
			}
			return key.ID
		}
		issuers = append(issuers, issue(NewKey{Origin: policy.OriginConsole, Issuable: true, Expires: policy.Never()}))
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
			c.id = issue(NewKey{
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

func TestUpgrade_ChildrenFromBeforeAreBound(t *testing.T) {
	path := newPath(t)
	plain := newHasher(policy.Secret{})
	child := policy.NewSecret("child")
	makeVersion1(t, path, plain.secret(policy.NewSecret("issuer")), plain.secret(child))
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET issuer_id = 'key_1' WHERE id = 'key_2'`)
	mustExec(t, rawDB(t, path), `UPDATE api_keys SET issuable = 1 WHERE id = 'key_1'`)
	f := openStore(t, path)
	if _, err := f.RotateKey(t.Context(), start, operator, "key_1", time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := f.find(child).Key().RevokeFrom; got != start.Add(time.Hour) {
		t.Errorf("the child ends at %s", got)
	}
}
