package keystore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
)

// On a full disk, the replica gets older, and says so once. What the gateway has heard to be revoked does not come from
// it. When there is room again, it goes on.
func TestReplica_AFullDisk(t *testing.T) {
	t.Parallel()
	disk := testutil.SmallDisk(t, 16<<20)
	if disk == "" {
		return
	}
	server := postgrestest.New(t)
	dsn, dir, junk := server.NewDatabase(t), filepath.Join(disk, "replica"), filepath.Join(disk, "junk")
	other := openStore(t, "", inPostgres(dsn))
	revoked, revokedSecret := other.key(other.account().ID)
	_, secret := other.key(revoked.AccountID)
	var logs *observer.ObservedLogs
	f := openStore(t, "", inPostgres(dsn), withReplica(dir), logTo(&logs))
	f.waitForReplica()
	f.takeOverPolling()
	const failing = "the replica cannot be brought up to date"
	step := func() {
		f.advance(2 * replicaEvery)
		f.feed.poll(t.Context())
		f.replica.step(t.Context())
	}
	fillDisk(t, junk)
	for logs.FilterMessage(failing).Len() == 0 { // the file of the log has some room
		other.key(revoked.AccountID)
		step()
	}
	age := f.Stats().Replica.Age
	if _, err := other.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		step()
	}
	if told := logs.FilterMessage(failing).All(); len(told) != 1 || !strings.Contains(told[0].ContextMap()["error"].(string), "its disk or quota is full") {
		t.Errorf("the log has %v", told)
	}
	if now := f.Stats().Replica; now.Age < age+6*replicaEvery || !now.Readable {
		t.Errorf("the replica is %s old, readable %t; before, it was %s old", now.Age, now.Readable, age)
	}

	server.Stop(t)
	f.beAway()
	f.advance(2 * replicaEvery)
	f.replica.step(t.Context())
	f.wantFound("a key", secret, keyActive)
	f.wantUnavailable("a key that was revoked on the full disk", revokedSecret)
	late, _, err := tryStore("", inPostgres(dsn), withReplica(dir))
	if err == nil {
		_ = late.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "its disk or quota is full") {
		t.Errorf("a start on the full disk: %v, want that the disk is full", err)
	}
	news := make([]change, maxReplicaNews)
	for i := range news {
		d := digest{0: byte(i), 1: byte(i >> 8)}
		news[i] = change{kind: changedKey, ref: d[:]}
	}
	f.replica.note(news)
	f.wantUnavailable("a key after too many changes", secret)

	if err := os.Remove(junk); err != nil {
		t.Fatal(err)
	}
	server.StartAgain(t)
	testutil.Eventually(t, "the replica goes on", func() bool {
		step()
		r, err := f.replica.key(t.Context(), f.hash.secret(revokedSecret), fault(errAway))
		return err == nil && statusOf(&r, start) == "revoked"
	})
	if n := logs.FilterMessageSnippet("the replica is brought up to date again").Len(); n != 1 {
		t.Errorf("the log says %d times that the replica goes on", n)
	}
}
