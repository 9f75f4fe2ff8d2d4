package keystore

import (
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// A loss of power can lose the last uses of some seconds. A backup may have them.
func TestRestore_KeepsTheLaterLastUse(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		here := place()
		f := openStore(t, "", here, commandLine)
		a := f.account()
		lost, secret := f.key(a.ID)
		later, another := f.key(a.ID)
		use := func(secret policy.Secret, at policy.Time) {
			f.NoteUse(f.find(secret), at)
			f.uses.flush(t.Context(), 0)
		}
		backedUp, since := start.Add(time.Hour), start.Add(2*time.Hour)
		use(secret, backedUp)
		use(another, backedUp)
		full := f.backup()
		mustExec(t, rawOf(t, here), `UPDATE last_uses SET at = $1`, start)
		use(another, since)
		f.restore(full.Path, since)
		for id, want := range map[string]policy.Time{lost.ID: backedUp, later.ID: since} {
			if k, err := f.Key(t.Context(), id); err != nil || k.LastUsedAt != want {
				t.Errorf("key %s was last used at %s, %v; want %s", id, k.LastUsedAt, err, want)
			}
		}
	})
}

// A key or account that only the backup has comes back suspended or not, as the last entry
// of the audit trail about it says. A service password that was rotated since does not come
// back, and an overlap that was running at the backup goes on.
func TestRestore_KeepsSuspensionsAndOverlaps(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		f := openStore(t, "", place(), commandLine)
		empty := f.backup()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		never := func(k *NewKey) { k.Expires = policy.Never() }
		var accounts, keys [4]string
		var secrets [4]policy.Secret
		for i := range accounts {
			accounts[i] = f.account().ID
			k, secret := f.key(accounts[i], never)
			keys[i], secrets[i] = k.ID, secret
		}
		suspend := func(i int) {
			_, err := f.SuspendAccount(t.Context(), start, operator, accounts[i], "why")
			must(err)
			_, err = f.SuspendKey(t.Context(), start, operator, keys[i], "why")
			must(err)
		}
		resume := func(i int) {
			_, err := f.ResumeAccount(t.Context(), start, operator, accounts[i])
			must(err)
			_, err = f.ResumeKey(t.Context(), start, operator, keys[i])
			must(err)
		}
		overlapping, password, err := f.CreateAccount(t.Context(), start, operator, "Overlap")
		must(err)
		_, _, err = f.RotateAccount(t.Context(), start, operator, overlapping.ID, 1000*day)
		must(err)
		rotated, old, err := f.CreateAccount(t.Context(), start, operator, "Rotated")
		must(err)

		suspend(0) // suspended in the backup
		suspend(1) // and resumed since
		full := f.backup()
		resume(1)
		suspend(2) // suspended since
		resume(3)
		suspend(3)
		resume(3) // and resumed
		_, _, err = f.RotateAccount(t.Context(), start, operator, rotated.ID, 1000*day)
		must(err)
		f.restore(empty.Path, later)
		f.restore(full.Path, later+1)
		for i, want := range []string{"suspended", "open", "suspended", "open"} {
			a, err := f.Account(t.Context(), accounts[i])
			must(err)
			k, err := f.Key(t.Context(), keys[i])
			must(err)
			suspended := want == "suspended"
			if a.Status() != want || !k.SuspendedAt.IsZero() != suspended || (a.SuspendReason == "why") != suspended || (k.SuspendReason == "why") != suspended {
				t.Errorf("account %d: %+v, its key %+v", i, a, k)
			}
			if got := f.status(secrets[i], later+1) == keyActive; got == suspended {
				t.Errorf("key %d can be used: %t", i, got)
			}
		}
		if _, err := f.FindService(t.Context(), later+1, overlapping.ServiceID, password); err != nil {
			t.Errorf("the service password of the overlap: %v", err)
		}
		_, err = f.FindService(t.Context(), later+1, rotated.ServiceID, old)
		wantIs(t, err, ErrNotFound)
	})
}
