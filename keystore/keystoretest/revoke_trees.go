package keystoretest

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func testRevokeTreeEndsEveryChildAtOnce(t *testing.T, place Place) {
	path := place(t)
	f, elsewhere := openStore(t, path), openStore(t, path)
	issuable := func(k *keystore.NewKey) { k.Issuable = true }
	a := f.account()
	root, rootSecret := f.key(a.ID, issuable)
	other, _ := f.key(a.ID, issuable)
	var children []policy.Key
	secrets := []policy.Secret{rootSecret}
	for i := range 3 {
		k, secret := f.child(root, func(k *keystore.NewKey) { k.Expires = policy.ExpiresAt(start.Add(time.Duration(i+1) * 20 * time.Hour)) })
		children, secrets = append(children, k), append(secrets, secret)
	}
	stranger, strangerSecret := f.child(other)
	for _, secret := range secrets { // both caches know them
		if r := f.find(secret); r == nil || elsewhere.find(secret) == nil {
			t.Fatal("a new key is not found")
		}
	}
	if r := f.find(secrets[1]); r.Key().IssuerID != root.ID || r.Key().Issuable {
		t.Errorf("the child's record %+v, want issuer %s, and no issuance right", r.Key(), root.ID)
	}

	// One child was revoked before. Its revocation does not change.
	early := start.Add(time.Second)
	if _, err := f.RevokeKey(t.Context(), early, operator, children[0].ID, "early"); err != nil {
		t.Fatal(err)
	}
	now := start.Add(48 * time.Hour) // the second child has expired, and may read its job
	f.job(children[1], "job")
	useless, uselessSecret := f.child(root)
	key, n, err := f.RevokeTree(t.Context(), now, operator, root.ID, "leaked")
	if err != nil || n != 2 || key.RevokedAt != now {
		t.Fatalf("got %+v, %d children, %v", key, n, err)
	}
	for i, secret := range secrets {
		want := now
		if i == 1 {
			want = early
		}
		if r := f.find(secret); r.Key().RevokedAt != want {
			t.Errorf("key %d is revoked at %s, want %s", i, r.Key().RevokedAt, want)
		}
		waitFor(t, "the other process's cache heeds it", func() bool { return elsewhere.find(secret).Key().RevokedAt == want })
	}
	// A key that cannot do anything any more ends with its issuer too. It does not count,
	// and has no entry in the audit trail.
	if r := f.find(uselessSecret); r.Key().RevokedAt != now || r.Key().ID != useless.ID {
		t.Errorf("a key that can do nothing any more is %+v", r.Key())
	}
	if r := f.find(strangerSecret); !r.Key().RevokedAt.IsZero() || r.Key().ID != stranger.ID {
		t.Error("another key's child was revoked")
	}
	var subjects []string
	for _, e := range actions(t, f, a.ID, "key_revoke") {
		subjects = append(subjects, e.Subject)
	}
	slices.Sort(subjects)
	if want := slices.Sorted(slices.Values([]string{root.ID, children[0].ID, children[1].ID, children[2].ID})); !slices.Equal(subjects, want) {
		t.Errorf("audit entries of %v, want of %v", subjects, want)
	}

	// The second time, for children that a process with a slow clock issued: the key's own
	// revocation does not change.
	if _, n, err := f.RevokeTree(t.Context(), now+1, operator, root.ID, ""); err != nil || n != 0 {
		t.Errorf("the second time: %d children, %v", n, err)
	}
	_, _, err = f.RevokeTree(t.Context(), now, operator, "key_none", "")
	wantIs(t, err, keystore.ErrNotFound)
	_, _, err = f.RevokeTree(t.Context(), now, operator, root.ID, strings.Repeat("x", 201))
	wantIs(t, err, keystore.ErrInvalid)
	_, _, err = f.IssueKey(t.Context(), now, keystore.Actor{Kind: keystore.ActorKey, ID: root.ID}, keystore.NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: root.ID, Expires: policy.Never()})
	wantIs(t, err, keystore.ErrInvalid)
}

// A child is either revoked with its tree or was never issued.
func testRevokeTreeRacesWithIssuing(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	root, _ := f.key(a.ID, func(k *keystore.NewKey) { k.Issuable = true })
	done := make(chan []policy.Secret)
	var total atomic.Int64 // issued children
	for range 4 {
		go func() {
			var issued []policy.Secret
			for {
				_, secret, err := f.IssueKey(context.Background(), start, keystore.Actor{Kind: keystore.ActorKey, ID: root.ID},
					keystore.NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Issuer: root.ID, Expires: policy.ExpiresAt(start.Add(time.Hour))})
				if err != nil {
					done <- issued
					return
				}
				f.find(secret) // cached
				issued = append(issued, secret)
				total.Add(1)
			}
		}()
	}
	waitFor(t, "some children are issued", func() bool { return total.Load() >= 20 })
	if _, _, err := f.RevokeTree(t.Context(), start, operator, root.ID, ""); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		for _, secret := range <-done {
			if f.find(secret).Key().RevokedAt.IsZero() {
				t.Fatal("a child outlives its tree")
			}
		}
	}
}

func testRevokeTreeFollowsRotation(t *testing.T, place Place) {
	f := openStore(t, place(t))
	root, _ := f.key(f.account().ID, func(k *keystore.NewKey) { k.Issuable = true })
	_, early := f.child(root)
	rotated, _ := f.child(root)
	child, err := f.RotateKey(t.Context(), start, operator, rotated.ID, 0)
	if err != nil || child.New.IssuerID != root.ID {
		t.Fatalf("%+v, %v", child, err)
	}
	first, err := f.RotateKey(t.Context(), start, operator, root.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.RotateKey(t.Context(), start, operator, first.New.ID, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, late := f.child(second.New)
	_, n, err := f.RevokeTree(t.Context(), start, operator, second.New.ID, "")
	if err != nil || n != 3 {
		t.Errorf("%d children, %v; want 3", n, err)
	}
	for name, secret := range map[string]policy.Secret{"issued before both rotations": early, "a child's successor": child.Secret, "issued after": late} {
		if f.find(secret).Key().RevokedAt.IsZero() {
			t.Errorf("a key %s goes on", name)
		}
	}
}
