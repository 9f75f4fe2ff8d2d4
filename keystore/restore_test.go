package keystore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// later is when the tests restore.
const later = start + 1000

// restore restores a backup, and checks the audit trail.
func (f fixture) restore(from string, now policy.Time) Restored {
	f.t.Helper()
	r, err := f.Restore(f.t.Context(), now, operator, from)
	if err != nil {
		f.t.Fatal(err)
	}
	if c := f.verify(nil); c.Fault != "" {
		f.t.Errorf("the audit trail: %s", c.Fault)
	}
	return r
}

// restoredHead returns the head of the backup that was restored last, as the audit trail has it.
func (f fixture) restoredHead() AuditHead {
	f.t.Helper()
	entries := actions(f.t, f, "", actionStoreRestore)
	if len(entries) == 0 {
		f.t.Fatal("the audit trail has no restore")
	}
	head, err := ParseAuditHead(entries[0].Subject) // the latest entry is the first
	if err != nil {
		f.t.Fatal(err)
	}
	return head
}

// status returns the status of the key with this secret; "" if there is no such key.
func (f fixture) status(secret policy.Secret, now policy.Time) string {
	f.t.Helper()
	r := f.find(secret)
	if r == nil {
		return ""
	}
	return statusOf(r, now)
}

func TestRestore_BringsBackNothingThatEnded(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place(), commandLine, func(c *Config) { c.Retention = day })
		a, closing := f.account(), f.account()
		rotated, password, err := f.CreateAccount(t.Context(), start, operator, "Rotated")
		if err != nil {
			t.Fatal(err)
		}
		never := func(k *NewKey) { k.Expires = policy.Never() }
		_, kept := f.key(a.ID, never)
		_, orphan := f.key(closing.ID, never)
		ends := map[string]func(id string) error{
			"revoked": func(id string) error {
				_, err := f.RevokeKey(t.Context(), start, operator, id, "")
				return err
			},
			"deleted": func(id string) error { _, err := f.DeleteKey(t.Context(), start, operator, id); return err },
			"replaced": func(id string) error {
				_, err := f.RotateKey(t.Context(), start, operator, id, time.Second)
				return err
			},
			"pruned": func(id string) error {
				_, err := f.DeleteKey(t.Context(), start-policy.Time(day.Milliseconds()), operator, id)
				return err
			},
		}
		secrets, ids := map[string]policy.Secret{"orphan": orphan}, map[string]string{}
		for name := range ends {
			k, secret := f.key(a.ID, never)
			secrets[name], ids[name] = secret, k.ID
		}
		b := f.backup()
		for name, end := range ends {
			if err := end(ids[name]); err != nil {
				t.Fatal(err)
			}
		}
		_, err1 := f.CloseAccount(t.Context(), start, operator, closing.ID)
		now, next, err2 := f.RotateAccount(t.Context(), start, operator, rotated.ID, 0)
		if err := errors.Join(err1, err2, f.Prune(t.Context(), start)); err != nil {
			t.Fatal(err)
		}
		if f.find(secrets["pruned"]) != nil {
			t.Fatal("nothing was pruned")
		}
		// Keys that were issued since: those that have ended stay dead, and the others may come
		// back.
		late := f.account()
		_, lateSecret := f.key(late.ID, never)
		lateEnded, lateEndedSecret := f.key(late.ID, never)
		if _, err := f.RevokeKey(t.Context(), start, operator, lateEnded.ID, ""); err != nil {
			t.Fatal(err)
		}

		r := f.restore(b.Path, later)
		// The restore removed the two late keys, and the key that replaced another.
		if r.Keys != (RestoreCount{0, 3}) || r.KeptEnded != 5 || r.Accounts != (RestoreCount{0, 1}) || r.KeptClosed != 1 {
			t.Errorf("got %+v", r)
		}
		for name, secret := range secrets {
			if s := f.status(secret, later); s == keyActive {
				t.Errorf("the key that was %s is %s", name, s)
			}
		}
		if s := f.status(kept, later); s != keyActive {
			t.Errorf("the key that did not end is %q", s)
		}
		if f.find(lateSecret) != nil || f.find(lateEndedSecret) != nil {
			t.Error("a key that was issued since is still there")
		}
		_, err = f.FindService(t.Context(), start, rotated.ServiceID, password)
		wantIs(t, err, ErrNotFound)
		if _, err := f.FindService(t.Context(), start, now.ServiceID, next); err != nil {
			t.Errorf("the new service password: %v", err)
		}
		entries, _, err := f.Audit(t.Context(), AuditList{Limit: 1})
		if err != nil || entries[0].Action != actionStoreRestore || entries[0].Subject != b.Head.String() || entries[0].Actor != operator ||
			entries[0].Detail != "keys: 0 restored, 3 removed, 5 kept ended; accounts: 0 restored, 1 removed, 1 kept closed; jobs: 0 restored, 0 removed" {
			t.Errorf("the last entry is %+v, %v", entries, err)
		}

		// The copy from before the restore brings its records back, except ended keys.
		r = f.restore(r.Before, later+1)
		if r.Keys != (RestoreCount{2, 0}) || r.Accounts != (RestoreCount{1, 0}) {
			t.Errorf("got %+v", r)
		}
		if s := f.status(lateSecret, later); s != keyActive {
			t.Errorf("the key that was removed is %q", s)
		}
		if f.find(lateEndedSecret) != nil {
			t.Error("a key that ended came back")
		}
		im, err := f.ImportKeys(t.Context(), later, operator, Import{AccountID: a.ID, Secrets: []policy.Secret{lateEndedSecret}, Expires: policy.Never()})
		if err != nil || im[0].Result != ImportDead {
			t.Errorf("imported as %+v, %v", im, err)
		}
	})
}

const keyActive = "active"

// A key that ended before another restore removed its record stays ended.
func TestRestore_ThroughAnotherRestore(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place(), commandLine)
		a := f.account()
		empty := f.backup()
		never := func(k *NewKey) { k.Expires = policy.Never() }
		b, password, err := f.CreateAccount(t.Context(), start, operator, "B")
		if err != nil {
			t.Fatal(err)
		}
		closing := f.account()
		scheduled, scheduledSecret := f.key(a.ID, never)
		freeKey, free := f.key(b.ID, never)
		f.NoteUse(f.find(free), start.Add(time.Minute))
		f.uses.flush(t.Context(), 0)
		_, orphan := f.key(closing.ID, never)
		job := f.job(scheduled, "j")
		full := f.backup()
		_, err1 := f.RotateKey(t.Context(), start, operator, scheduled.ID, time.Hour)
		_, _, err2 := f.RotateAccount(t.Context(), start, operator, b.ID, 0)
		_, err3 := f.CloseAccount(t.Context(), start, operator, closing.ID)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		removed := f.restore(empty.Path, later)
		if removed.Keys.Removed != 4 || removed.Accounts.Removed != 2 || removed.Jobs.Removed != 1 {
			t.Errorf("removed %+v", removed)
		}
		r := f.restore(full.Path, later+1)
		if r.Keys.Restored != 1 || r.Accounts.Restored != 2 || r.KeptEnded != 2 || r.KeptClosed != 1 || r.Jobs.Restored != 0 {
			t.Errorf("restored %+v", r)
		}
		if f.status(free, later) != keyActive || f.find(scheduledSecret) != nil || f.find(orphan) != nil {
			t.Error("want one key back: not the one whose revocation was scheduled, nor the closed account's")
		}
		if k, err := f.Key(t.Context(), freeKey.ID); err != nil || k.LastUsedAt != start.Add(time.Minute) {
			t.Errorf("the key that is back was last used at %s, %v", k.LastUsedAt, err)
		}
		_, err = f.FindService(t.Context(), start, b.ServiceID, password)
		wantIs(t, err, ErrNotFound)
		if again, err := f.Account(t.Context(), closing.ID); err != nil || again.Open() {
			t.Errorf("the closed account is %+v, %v", again, err)
		}
		// The later backup has the scheduled revocation.
		if r = f.restore(removed.Before, later+2); r.Jobs.Restored != 1 {
			t.Errorf("restored %+v", r)
		}
		if record := f.find(scheduledSecret); record == nil || record.Key().RevokeFrom != start.Add(time.Hour) {
			t.Errorf("the key is %+v", record)
		}
		if _, err := f.Job(t.Context(), job.Backend, job.ID); err != nil {
			t.Errorf("its job: %v", err)
		}
	})
}

// Another restore has removed a key and an account. Meanwhile another account has got the
// key and the service ID, or the account was closed.
func TestRestore_TakenMeanwhile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	a, closing := f.account(), f.account()
	empty := f.backup()
	_, secret := f.key(a.ID)
	_, orphan := f.key(closing.ID)
	password := policy.NewSecret("old password")
	first, err := f.ImportAccount(t.Context(), start, operator, "First", "their-sid", password)
	if err != nil {
		t.Fatal(err)
	}
	full := f.restore(empty.Path, later).Before

	im, err := f.ImportKeys(t.Context(), later, operator, Import{AccountID: a.ID, Secrets: []policy.Secret{secret}, Expires: policy.Never()})
	if err != nil || im[0].Result != ImportNew {
		t.Fatalf("imported as %+v, %v", im, err)
	}
	_, err1 := f.ImportAccount(t.Context(), later, operator, "Second", "their-sid", password)
	_, err2 := f.CloseAccount(t.Context(), later, operator, closing.ID)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	db := rawDB(t, full)
	mustExec(t, db, `INSERT INTO dead_digests (digest, at) VALUES ($1, 1)`, make([]byte, 32))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	r := f.restore(full, later+1)
	if r.Keys != (RestoreCount{1, 1}) || r.Accounts != (RestoreCount{1, 1}) || r.KeptEnded != 1 {
		t.Errorf("got %+v", r)
	}
	if found, err := f.FindService(t.Context(), start, "their-sid", password); err != nil || found.ID != first.ID {
		t.Errorf("the service ID is that of %+v, %v", found, err)
	}
	if record := f.find(secret); record == nil || record.Key().ID == im[0].Key.ID || f.find(orphan) != nil {
		t.Errorf("the key is %+v", record)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM dead_digests WHERE digest = $1`, make([]byte, 32)); n != 1 {
		t.Error("a digest that was dead is not any more")
	}
}

// The audit trail has the ends of the last 400 days. If the backup is older, later ends are
// not known.
func TestRestore_OlderThanTheTrail(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	never := func(k *NewKey) { k.Expires, k.Origin = policy.Never(), policy.OriginAPI }
	a := f.account()
	_, kept := f.key(a.ID, never)
	k, secret := f.key(a.ID, never)
	b := f.backup()
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Prune(t.Context(), start.Add(91*day)), f.Prune(t.Context(), start.Add(600*day))); err != nil {
		t.Fatal(err)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM dead_digests`); n != 0 {
		t.Fatal("the digest is still known")
	}
	r := f.restore(b.Path, start.Add(601*day))
	if f.find(secret) != nil || f.find(kept) == nil || r.Keys != (RestoreCount{}) || r.KeptEnded != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestRestore_OlderSchemaAndPepper(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "versions of the schema before PostgreSQL")
	secret, gone := policy.NewSecret("one"), policy.NewSecret("two")
	plain := newHasher(policy.Secret{})
	path := newPath(t)
	makeVersion1(t, path, plain.secret(secret), plain.secret(gone))
	mustExec(t, rawDB(t, path), `UPDATE accounts SET spw_digest = zeroblob(32)`)
	old := filepath.Join(t.TempDir(), "old.db")
	vacuumInto(t, path, old)
	before, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	f := openStore(t, path, withPepper("salt"))
	if _, err := f.RevokeKey(t.Context(), start, operator, "key_2", ""); err != nil {
		t.Fatal(err)
	}
	check := func(f fixture) {
		t.Helper()
		r := f.restore(old, later)
		if head := f.restoredHead(); f.status(secret, later) != keyActive || head.Seq != 0 {
			t.Errorf("got %+v, from %s", r, head)
		}
	}
	check(f)
	if f.status(gone, later) != "revoked" {
		t.Error("a key came back")
	}
	if after, err := os.ReadFile(old); err != nil || string(after) != string(before) {
		t.Error("the backup was changed")
	}
	wantFiles(t, filepath.Dir(old), "old.db")

	// RestoreNew also upgrades the schema and adds the pepper.
	cfg := configOf(inPlace(filepath.Join(t.TempDir(), "dir", "new.db")), commandLine, withPepper("salt"))
	r, err := RestoreNew(t.Context(), cfg, later, operator, old)
	if err != nil || r.Keys.Restored != 2 || r.Accounts.Restored != 1 || r.Before != "" {
		t.Fatalf("got %+v, %v", r, err)
	}
	wantFiles(t, filepath.Dir(cfg.Path), "new.db")
	g := openStore(t, cfg.Path, withPepper("salt"))
	wantWhole(t, g.verify(nil), 2)
	if g.status(secret, later) != keyActive || g.status(gone, later) != keyActive {
		t.Error("a key is missing")
	}
	_, err = RestoreNew(t.Context(), cfg, later, operator, old)
	if wantIs(t, err, ErrInvalid); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Errorf("over another: %v", err)
	}
}
