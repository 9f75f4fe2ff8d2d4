package keystoretest

import (
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// The record of an issuer is kept as long as it has issued keys, because they end with it.
func testPruneKeepsIssuers(t *testing.T, place Place) {
	f := openStore(t, place(t), func(c *keystore.Config) { c.Retention = time.Hour })
	root, _ := f.key(f.account().ID, func(k *keystore.NewKey) { k.Issuable = true })
	_, secret := f.child(root, func(k *keystore.NewKey) { k.Expires = policy.Never() })
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

func testPruneCountsFromTheScheduledRevocation(t *testing.T, place Place) {
	path := place(t)
	f := openStore(t, path, func(c *keystore.Config) { c.Retention = 10 * day })
	old, secret := f.key(f.account().ID, func(k *keystore.NewKey) { k.Expires = policy.Never() })
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
	wantResults(t, f.imports(keystore.Import{AccountID: old.AccountID, Secrets: []policy.Secret{secret}}), keystore.ImportDead)
}
