package keystore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A plan has the counts of the restore, and changes nothing.
func TestPlanRestore_IsTheRestoreWithoutItsEffect(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	a := f.account()
	_, kept := f.key(a.ID)
	ended, _ := f.key(a.ID)
	full := f.backup()
	_, late := f.key(a.ID)
	if _, err := f.RevokeKey(t.Context(), start, operator, ended.ID, ""); err != nil {
		t.Fatal(err)
	}
	head := f.verify(nil).Head
	plan, err := f.PlanRestore(t.Context(), later, operator, full.Path)
	if err != nil || plan.Keys != (RestoreCount{0, 1}) || plan.KeptEnded != 1 || plan.Before != "" {
		t.Errorf("planned %+v, %v", plan, err)
	}
	if f.find(kept) == nil || f.find(late) == nil || f.verify(nil).Head != head {
		t.Error("the plan changed the store")
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("the plan left %q, %v", left, err)
	}
	done := f.restore(full.Path, later)
	if done.Keys != plan.Keys || done.Accounts != plan.Accounts || done.Jobs != plan.Jobs || done.KeptEnded != plan.KeptEnded || done.KeptClosed != plan.KeptClosed {
		t.Errorf("planned %+v, and did %+v", plan, done)
	}
	if f.find(late) != nil {
		t.Error("the restore did nothing")
	}
	_, err = f.PlanRestore(t.Context(), later, Actor{Kind: ActorAccount, ID: a.ID}, full.Path)
	wantIs(t, err, ErrInvalid)

	to := filepath.Join(t.TempDir(), "dir", "new.db")
	fresh, err := PlanRestoreNew(t.Context(), configOf(inPlace(to)), later, operator, full.Path)
	if err != nil || fresh.Keys.Restored != 2 || fresh.Accounts.Restored != 1 {
		t.Errorf("planned %+v, %v", fresh, err)
	}
	if _, err := os.Stat(filepath.Dir(to)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the plan made a directory: %v", err)
	}
	_, err = PlanRestoreNew(t.Context(), f.cfg, later, operator, full.Path)
	wantIs(t, err, ErrInvalid)
}
