package keystore

import (
	"context"
	"testing"

	"github.com/speechgate/speechgate/internal/testutil"
)

// A promotion undoes changes that the standby lacked. The replica is then filled again: it answers as the new primary
// does, and never by what was undone.
func TestReplica_IsMadeAgainAfterAPromotionThatHasUndoneChanges(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	dir := t.TempDir()
	f := openStore(t, "", inPostgres(c.both), withReplica(dir))
	a := f.account()
	revoked, revokedSecret := f.key(a.ID)
	_, secret := f.key(a.ID)
	f.waitForReplica()
	c.part()
	_, undone := f.key(a.ID)
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	f.waitForReplica()
	c.failOver()
	testutil.Eventually(t, "the store reads the new primary", func() bool {
		r, err := f.FindKey(context.Background(), revokedSecret)
		return err == nil && statusOf(&r, start) == keyActive
	})
	f.waitForReplica()
	_, later := f.key(a.ID)
	f.waitForReplica()

	c.standby.Stop(t)
	waitUntilAway(f)
	check := func(f fixture) {
		t.Helper()
		f.wantFound("a key", secret, keyActive)
		f.wantFound("a key whose revocation was undone", revokedSecret, keyActive)
		f.wantFound("a key of the new primary", later, keyActive)
		f.wantUnavailable("a key that was undone", undone)
	}
	check(f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	check(openStore(t, "", inPostgres(c.both), withReplica(dir)))
}
