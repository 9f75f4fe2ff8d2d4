package keystore

import (
	"testing"

	"github.com/speechgate/speechgate/policy"
)

// Many children are marked in many transactions, so that other writes can run in between.
func TestRevokeTree_InBatches(t *testing.T) {
	t.Parallel()
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
