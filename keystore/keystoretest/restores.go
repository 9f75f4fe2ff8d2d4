package keystoretest

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// A key that was away when its tree was revoked does not come back by a restore.
func testRestoreBringsNoKeyBackWhoseTreeEnded(t *testing.T, place Place) {
	f := openStore(t, place(t))
	root, _ := f.key(f.account().ID, func(k *keystore.NewKey) { k.Issuable = true })
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
func testRestoreLeavesNoExpiredKeyToImport(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	first := filepath.Join(t.TempDir(), "first.db")
	if _, err := f.Backup(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	expired, rotated := policy.NewSecret("vendors-key-one"), policy.NewSecret("vendors-key-two")
	im := keystore.Import{AccountID: a.ID, Expires: policy.ExpiresAt(start.Add(time.Hour)), Secrets: []policy.Secret{expired, rotated}}
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
	if err != nil || again[0].Result != keystore.ImportDead || again[1].Result != keystore.ImportDead {
		t.Errorf("imported again: %+v, %v", again, err)
	}
	if _, err := f.Restore(t.Context(), now+1, operator, r.Before); err != nil {
		t.Fatal(err)
	}
	if found := f.find(expired); found == nil || statusOf(found, now) != "expired" {
		t.Errorf("the expired key, restored, is %+v", found)
	}
}

func testRestoreRunningServerFollows(t *testing.T, place Place) {
	path := place(t)
	server, command := openStore(t, path), openStore(t, path, commandLine)
	a := command.account()
	_, kept := command.key(a.ID)
	b := command.backup()
	_, secret := command.key(a.ID)
	if server.find(secret) == nil || server.find(kept) == nil {
		t.Fatal("not found")
	}
	r := command.restore(b.Path, later)
	waitFor(t, "the key is gone", func() bool { return server.find(secret) == nil })
	if server.find(kept) == nil {
		t.Error("the other key is gone too")
	}
	command.restore(r.Before, later+1)
	waitFor(t, "the key is back", func() bool { return server.find(secret) != nil })
	// It is the same file: what the server writes is not lost.
	_, mine := server.key(a.ID)
	if command.find(mine) == nil {
		t.Error("the server writes elsewhere")
	}
}

// A server restores too, and goes on.
func testRestoreInAServer(t *testing.T, place Place) {
	f := openStore(t, place(t))
	b := f.backup()
	a := f.account()
	_, secret := f.key(a.ID)
	f.find(secret)
	f.restore(b.Path, later)
	if f.find(secret) != nil {
		t.Error("the cache was not dropped")
	}
	f.key(f.account().ID)
}
