package keystore

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// A key that was away when its tree was revoked does not come back by a restore.
func TestRestore_BringsNoKeyBackWhoseTreeEnded(t *testing.T) {
	f := openStore(t, newPath(t))
	root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	first := filepath.Join(t.TempDir(), "first.db")
	if _, err := f.Backup(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	_, secret := f.child(root)
	r, err := f.Restore(t.Context(), start+1, operator, first)
	if err != nil || r.Keys.Removed != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, _, err := f.RevokeTree(t.Context(), start+2, operator, root.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Restore(t.Context(), start+3, operator, r.Before); err != nil {
		t.Fatal(err)
	}
	if found := f.find(secret); found != nil && statusOf(found, start+3) == "active" {
		t.Error("the key is back, though all that its issuer issued was revoked")
	}
}

// A key that expired, or is to be revoked, comes back by a restore as what it
// was, and never by an import as something else.
func TestRestore_LeavesNoExpiredKeyToImport(t *testing.T) {
	f := openStore(t, newPath(t))
	a := f.account()
	first := filepath.Join(t.TempDir(), "first.db")
	if _, err := f.Backup(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	expired, rotated := policy.NewSecret("vendors-key-one"), policy.NewSecret("vendors-key-two")
	im := Import{AccountID: a.ID, Expires: policy.ExpiresAt(start.Add(time.Hour)), Secrets: []policy.Secret{expired, rotated}}
	made, err := f.ImportKeys(t.Context(), start, operator, im)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.RotateKey(t.Context(), start, operator, made[1].Key.ID, 30*time.Minute); err != nil {
		t.Fatal(err)
	}
	now := start.Add(2 * time.Hour)
	r, err := f.Restore(t.Context(), now, operator, first)
	if err != nil || r.Keys.Removed != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	im.Expires = policy.Never()
	again, err := f.ImportKeys(t.Context(), now, operator, im)
	if err != nil || again[0].Result != ImportDead || again[1].Result != ImportDead {
		t.Errorf("imported again: %+v, %v", again, err)
	}
	if _, err := f.Restore(t.Context(), now+1, operator, r.Before); err != nil {
		t.Fatal(err)
	}
	if found := f.find(expired); found == nil || statusOf(found, now) != "expired" {
		t.Errorf("the expired key, restored, is %+v", found)
	}
}

// Credentials that were rotated while a call waited issue nothing.
func TestIssueKey_NotByARotatedServiceID(t *testing.T) {
	f := openStore(t, newPath(t))
	a := f.account()
	k := NewKey{AccountID: a.ID, Origin: policy.OriginAPI, Expires: policy.ExpiresAt(start.Add(time.Hour)), ServiceID: a.ServiceID}
	if _, _, err := f.IssueKey(t.Context(), start, Actor{Kind: ActorAccount, ID: a.ID}, k); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.RotateAccount(t.Context(), start, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	_, _, err := f.IssueKey(t.Context(), start, Actor{Kind: ActorAccount, ID: a.ID}, k)
	wantIs(t, err, ErrInvalid)
}

// An issuer's record stays while it is needed to end its children.
func TestPrune_KeepsIssuers(t *testing.T) {
	f := openStore(t, newPath(t), func(c *Config) { c.Retention = time.Hour })
	root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	_, secret := f.child(root, func(k *NewKey) { k.Expires = policy.Never() })
	if _, err := f.RevokeKey(t.Context(), start, operator, root.ID, ""); err != nil {
		t.Fatal(err)
	}
	now := start.Add(48 * time.Hour)
	if err := f.Prune(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if _, n, err := f.RevokeTree(t.Context(), now, operator, root.ID, ""); err != nil || n != 1 {
		t.Errorf("%d children, %v", n, err)
	}
	if f.find(secret).Key().RevokedAt != now {
		t.Error("the child goes on")
	}
}

// Many children are ended in many transactions, so that others can write
// between them.
func TestRevokeTree_InBatches(t *testing.T) {
	f := openStore(t, newPath(t))
	root, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	var last policy.Secret
	for range 2*treeBatch + 1 {
		_, last = f.child(root)
	}
	if _, n, err := f.RevokeTree(t.Context(), start, operator, root.ID, ""); err != nil || n != 2*treeBatch+1 {
		t.Errorf("%d children, %v", n, err)
	}
	if f.find(last).Key().RevokedAt != start {
		t.Error("the last child goes on")
	}
	wantWhole(t, f.verify(nil), 2+2*treeBatch+1+2+2*treeBatch+1)
}
