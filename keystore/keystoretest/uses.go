package keystoretest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Close writes the last uses that are pending.
func testNoteUseSurvivesClosing(t *testing.T, place Place) {
	cfg := place(t)
	f := openStore(t, cfg)
	k, secret := f.key(f.account().ID)
	used := start.Add(time.Minute)
	f.NoteUse(f.find(secret), used)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if k, err := openStore(t, cfg).Key(t.Context(), k.ID); err != nil || k.LastUsedAt != used {
		t.Errorf("last used at %s, %v; want %s", k.LastUsedAt, err, used)
	}
}

// A watcher is notified of a change that another process makes, and Reread returns
// the record with the change.
func testWatchNotifiesOfAnotherProcess(t *testing.T, place Place) {
	cfg := place(t)
	f, other := openStore(t, cfg), openStore(t, cfg, commandLine)
	k, secret := f.key(f.account().ID)
	record := f.find(secret)
	var changed atomic.Int64
	defer f.Watch(record, func() { changed.Add(1) })()
	if _, err := other.RevokeKey(t.Context(), start, operator, k.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the watcher is notified", func() bool { return changed.Load() > 0 })
	r, err := f.Reread(t.Context(), record)
	if err != nil || r.Key().RevokedAt != start {
		t.Errorf("revoked at %s, %v", r.Key().RevokedAt, err)
	}
}

// A pruned key is unknown, and its secret can never become a key again.
func testPruneKeepsEndedKeysDead(t *testing.T, place Place) {
	f := openStore(t, place(t))
	a := f.account()
	k, secret := f.key(a.ID)
	kept, keptSecret := f.key(a.ID, func(k *keystore.NewKey) { k.Expires = policy.Never() })
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, "leaked"); err != nil {
		t.Fatal(err)
	}
	if err := f.Prune(t.Context(), start.Add(365*day)); err != nil {
		t.Fatal(err)
	}
	if f.find(secret) != nil {
		t.Error("the key was not pruned")
	}
	if r := f.find(keptSecret); r == nil || r.Key().ID != kept.ID {
		t.Error("a key that has not ended was pruned")
	}
	got := f.imports(keystore.Import{AccountID: a.ID, Secrets: []policy.Secret{secret}})
	wantResults(t, got, keystore.ImportDead)
}
