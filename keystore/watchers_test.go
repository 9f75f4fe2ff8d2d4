package keystore

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// watch counts the notifications of a watcher of the key.
func (f fixture) watch(secret policy.Secret) (told *atomic.Int64, r *Record, cancel func()) {
	f.t.Helper()
	told = new(atomic.Int64)
	r = f.find(secret)
	return told, r, f.Watch(r, func() { told.Add(1) })
}

func TestWatch_NotifiesOfTheEndOfAKey(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(f, other fixture, k policy.Key) error{
		"revoked": func(f, _ fixture, k policy.Key) error {
			_, err := f.RevokeKey(f.t.Context(), start, operator, k.ID, "")
			return err
		},
		"revoked by another process": func(_, other fixture, k policy.Key) error {
			_, err := other.RevokeKey(other.t.Context(), start, operator, k.ID, "")
			return err
		},
		"deleted": func(_, other fixture, k policy.Key) error {
			_, err := other.DeleteKey(other.t.Context(), start, operator, k.ID)
			return err
		},
		"account closed": func(_, other fixture, k policy.Key) error {
			_, err := other.CloseAccount(other.t.Context(), start, operator, k.AccountID)
			return err
		},
		"rotated": func(_, other fixture, k policy.Key) error {
			_, err := other.RotateKey(other.t.Context(), start, operator, k.ID, time.Hour)
			return err
		},
		"with its tree": func(f, _ fixture, k policy.Key) error {
			_, _, err := f.RevokeTree(f.t.Context(), start, operator, k.IssuerID, "")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			other := openStore(t, path, commandLine)
			a, b := other.account(), other.account()
			root, _ := other.key(a.ID, func(k *NewKey) { k.Issuable = true })
			k, secret := other.key(a.ID)
			if name == "with its tree" {
				k, secret = other.child(root)
			}
			_, strangers := other.key(b.ID)
			f := openStore(t, path) // opened after the setup, so it sees only the changes below
			told, r, cancel := f.watch(secret)
			defer cancel()
			toldOther, _, cancelOther := f.watch(strangers)
			defer cancelOther()
			if err := end(f, other, k); err != nil {
				t.Fatal(err)
			}
			testutil.Eventually(t, "the watcher is told", func() bool { return told.Load() > 0 })
			now, err := f.Reread(t.Context(), r)
			if err != nil || statusOf(&now, start.Add(time.Hour-1)) == "active" && now.Key().RevokeFrom.IsZero() {
				t.Errorf("read again it is %+v, %v", now, err)
			}
			if n := toldOther.Load(); n > 0 {
				t.Errorf("the watcher of another account's key was told %d times", n)
			}
		})
	}
}

func TestWatch_NotifiesIfAnyRecordMayHaveChanged(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path := newPath(t)
	f := openStore(t, path)
	_, secret := f.key(f.account().ID)
	told, r, cancel := f.watch(secret)
	defer cancel()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the watcher is told that the file is gone", func() bool { return told.Load() > 0 })
	if _, err := f.Reread(t.Context(), r); err == nil {
		t.Error("a store without a file has records")
	}
}

// While the store is silent, a watcher reads nothing: so it is notified again when the silence has ended.
func TestWatch_NotifiesWhenTheStoreFallsSilentAndWhenItHearsAgain(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.takeOverPolling()
	_, secret := f.key(f.account().ID)
	f.feed.poll(t.Context())
	told, _, cancel := f.watch(secret)
	defer cancel()
	want := func(when string, times int64, silence time.Duration) {
		t.Helper()
		if n, s := told.Load(), f.Silence(); n != times || s < silence || silence == 0 && s != 0 {
			t.Errorf("%s: told %d times, silent for %s; want %d and %s", when, n, s, times, silence)
		}
	}
	f.feed.noteStale()
	want("at first", 0, 0)
	f.advance(DefaultMaxStaleness)
	want("before a poll", 0, 0)
	f.feed.noteStale()
	want("after a poll that has failed", 1, DefaultMaxStaleness)
	f.feed.noteStale()
	want("after another one", 1, DefaultMaxStaleness)
	f.feed.poll(t.Context())
	want("after one that has not", 2, 0)
	f.feed.poll(t.Context())
	want("after another one", 2, 0)
}

func TestWatch_EndsWithCancel(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	k, secret := f.key(f.account().ID)
	told, _, cancel := f.watch(secret)
	cancel()
	cancel()
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Fatal(err)
	}
	if told.Load() != 0 || len(f.watchers.all) != 0 || len(f.watchers.byKey) != 0 {
		t.Errorf("told %d times, %d watchers left", told.Load(), len(f.watchers.all))
	}
}

// A failover can lose a key, whose secret is then imported into another account. A stream of the lost key
// must not go on as the other key: its watcher hears of the lost account only.
func TestReread_TakesNoOtherKeyWithTheSecret(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a, b := f.account(), f.account()
	k, secret := f.key(a.ID)
	r := f.find(secret)
	err := f.write(t.Context(), func(t *txn) error {
		t.exec(`UPDATE api_keys SET id = $1, account_id = $2 WHERE id = $3`, "key_of_another_account", b.ID, k.ID)
		return t.changed(start, changedStore, []byte{})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Reread(t.Context(), r); !isNotFound(err) {
		t.Errorf("the record is read again as that of another key: %v", err)
	}
	other := f.find(secret)
	if _, err := f.Reread(t.Context(), other); err != nil {
		t.Errorf("the other key's record: %v", err)
	}
}
