package keystore

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestNoteUse_OncePerKeyAndMinute(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	key, secret := f.key(f.account().ID)
	db := rawDB(t, path)
	used := func() policy.Time {
		k, err := f.Key(t.Context(), key.ID)
		if err != nil {
			t.Fatal(err)
		}
		return k.LastUsedAt
	}
	feed := count(t, db, `SELECT COUNT(*) FROM feed`)
	mustExec(t, db, `CREATE TABLE writes (n INTEGER)`)
	for _, event := range []string{`INSERT`, `UPDATE`} {
		trigger(t, path, `AFTER `+event+` ON last_uses`, `TRUE`, `INSERT INTO writes VALUES (1)`)
	}
	for _, c := range []struct {
		after  time.Duration
		want   time.Duration
		writes int
		fresh  bool // as another process, or after the record was dropped
	}{
		{0, 0, 1, false},
		{59 * time.Second, 0, 1, false},
		{59 * time.Second, 0, 1, true},
		{60 * time.Second, 60 * time.Second, 2, false},
		{61 * time.Second, 60 * time.Second, 2, true},
	} {
		r := f.find(secret)
		if c.fresh {
			r.lastUsed = 0
			f.cache.keys.Drop(r.digest())
		}
		for range 100 {
			f.NoteUse(r, start.Add(c.after))
		}
		f.uses.flush(t.Context(), 0)
		if got, writes := used(), count(t, db, `SELECT COUNT(*) FROM writes`); got != start.Add(c.want) || writes != c.writes {
			t.Errorf("after %s: last used at %s in %d writes, want %s in %d", c.after, got, writes, start.Add(c.want), c.writes)
		}
	}
	if n := count(t, db, `SELECT COUNT(*) FROM feed`); n != feed || len(actions(t, f, "", "key_use")) != 0 {
		t.Error("bookkeeping is in the feed or the audit trail")
	}
	f.NoteUse(f.find(secret), start.Add(day))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `SELECT COUNT(*) FROM last_uses WHERE at = $1`, start.Add(day)); n != 1 {
		t.Error("closing did not write the last use")
	}
}

func TestNoteUse_NeverWaits(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	release := f.hold()
	defer release()
	for i := range 3 * maxUses {
		r, err := newRecord(&policy.Key{ID: strconv.Itoa(i)}, digest{byte(i), byte(i >> 8), byte(i >> 16)})
		if err != nil {
			t.Fatal(err)
		}
		f.NoteUse(&r, start)
	}
	if n := len(f.uses.queue); n != maxUses {
		t.Errorf("%d uses are noted, want no more than %d", n, maxUses)
	}
}

// A use that found no space is noted at the next request. Keys in constant use leave space
// for keys that are rarely used, so that these do not look unused.
func TestNoteUse_WithoutSpace(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	_, often := f.key(a.ID)
	_, seldom := f.key(a.ID)
	db := rawDB(t, path)
	written := func(at policy.Time) int {
		f.uses.flush(t.Context(), 0)
		return count(t, db, `SELECT COUNT(*) FROM last_uses WHERE at = $1`, at)
	}
	f.NoteUse(f.find(often), start)
	if n := written(start); n != 1 {
		t.Fatal("the first use was not written")
	}

	now := start.Add(2 * useInterval)
	for len(f.uses.queue) < maxUses/2 {
		f.uses.add(digest{}, now)
	}
	f.NoteUse(f.find(often), now)
	f.NoteUse(f.find(seldom), now)
	if n := written(now); n != 1 {
		t.Errorf("with half of the room taken, %d uses were written, want that of the key without any", n)
	}
	now = now.Add(time.Second)
	f.NoteUse(f.find(often), now)
	if n := written(now); n != 1 {
		t.Error("what had found no room was not noted at the next use")
	}

	now = start.Add(useRare + 3*useInterval)
	for len(f.uses.queue) < maxUses/2 {
		f.uses.add(digest{}, now)
	}
	f.NoteUse(f.find(seldom), now)
	if n := written(now); n != 1 {
		t.Errorf("with half of the room taken, %d uses were written, want that of the key that had none for an hour", n)
	}

	now = now.Add(useRare + useInterval)
	for f.uses.add(digest{}, now) {
	}
	f.NoteUse(f.find(seldom), now)
	if n := written(now); n != 0 {
		t.Error("a use was written that found no room at all")
	}
	now = now.Add(time.Second)
	f.NoteUse(f.find(seldom), now)
	if n := written(now); n != 1 {
		t.Error("what had found no room at all was not noted at the next use")
	}
}

// Last uses need not be durable, so the relaxed connection writes them.
func TestNoteUse_IsRelaxed(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	_, secret := f.key(f.account().ID)
	f.NoteUse(f.find(secret), start.Add(time.Hour))
	db, _ := f.database()
	backup, err := f.Backup(t.Context(), filepath.Join(t.TempDir(), "backup.db"))
	if err != nil {
		t.Fatal(err)
	}
	// Attach takes the only durable connection.
	if err := db.Attach(t.Context(), backup.Path, func(beginFunc) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		f.uses.flush(ctx, 0)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM last_uses`); n != 1 {
		t.Error("the last use was not written without the durable connection")
	}
}

func TestNoteUse_ClosingWritesAll(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	const many = 2*useBatch + 1
	for range many {
		_, secret := f.key(a.ID)
		f.NoteUse(f.find(secret), start.Add(time.Hour))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM last_uses WHERE at = $1`, start.Add(time.Hour)); n != many {
		t.Errorf("%d of %d last uses were written", n, many)
	}
}

// The last use of a key is removed with the key. A use of a removed key is not written.
func TestNoteUse_IsRemovedWithItsKey(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	lasting, secret := f.key(a.ID, func(k *NewKey) { k.Expires = policy.Never() })
	_, passing := f.key(a.ID)
	used := start.Add(time.Minute)
	f.NoteUse(f.find(secret), used)
	gone := f.find(passing)
	f.NoteUse(gone, used)
	f.uses.flush(t.Context(), 0)
	db := rawDB(t, path)
	if n := count(t, db, `SELECT COUNT(*) FROM last_uses`); n != 2 {
		t.Fatalf("%d last uses are written, want 2", n)
	}

	if err := f.Prune(t.Context(), start.Add(100*day)); err != nil {
		t.Fatal(err)
	}
	f.NoteUse(gone, start.Add(100*day))
	f.NoteUse(f.find(secret), start.Add(2*time.Minute)) // in the same batch
	f.uses.flush(t.Context(), 0)
	if len(f.uses.pending) != 0 {
		t.Error("the use of a key that is gone is never done with")
	}
	if n := count(t, db, `SELECT COUNT(*) FROM last_uses`); n != 1 {
		t.Errorf("%d last uses are left, want that of the key that is", n)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	f = openStore(t, path, withPepper("salt")) // which changes all digests
	if k, err := f.Key(t.Context(), lasting.ID); err != nil || k.LastUsedAt != start.Add(2*time.Minute) {
		t.Errorf("with a pepper: last used at %s, %v", k.LastUsedAt, err)
	}
	if k := f.find(secret).Key(); k.LastUsedAt != start.Add(2*time.Minute) {
		t.Errorf("as it is looked up: last used at %s", k.LastUsedAt)
	}
}

// The later of two uses counts, whichever was noted first.
func TestNoteUse_TheLaterOneCounts(t *testing.T) {
	t.Parallel()
	u := newUseRecorder(nil)
	d := digest{1}
	for _, at := range []policy.Time{start + 5, start + 9, start} {
		u.add(d, at)
	}
	if !u.take() || u.pending[d] != start+9 {
		t.Errorf("pending is %v, want %s", u.pending, start+9)
	}
}

// take leaves in the queue what has no space among the uses to write.
func TestNoteUse_TakesAsManyAsItMayHold(t *testing.T) {
	t.Parallel()
	u := newUseRecorder(nil)
	for i := range maxUses - 1 {
		u.pending[digest{1, byte(i), byte(i >> 8)}] = start
	}
	u.add(digest{2}, start)
	u.add(digest{3}, start)
	if !u.take() || len(u.pending) != maxUses || len(u.queue) != 1 {
		t.Errorf("%d are taken and %d are left, want %d and 1", len(u.pending), len(u.queue), maxUses)
	}
	if u := newUseRecorder(nil); u.take() {
		t.Error("there is something to write without a use")
	}
}

// A use that cannot be written stays pending, and is written later.
func TestNoteUse_StaysPendingAfterAFailure(t *testing.T) {
	t.Parallel()
	fails := true
	u := newUseRecorder(func(context.Context, func(*txn) error) error {
		if fails {
			return errNoRoom
		}
		return nil
	})
	u.add(digest{1}, start)
	u.flush(t.Context(), 0)
	if len(u.pending) != 1 {
		t.Fatalf("%d uses are pending after a failure, want 1", len(u.pending))
	}
	fails = false
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	u.flush(ended, time.Hour) // the pause ends with the context
	if len(u.pending) != 0 {
		t.Errorf("%d uses are pending, want none", len(u.pending))
	}
}
