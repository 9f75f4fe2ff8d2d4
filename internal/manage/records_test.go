package manage

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestManager_ClosingAnAccountNeedsConfirmation(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	for range 2 {
		newKey(t, m, NewKey{AccountID: account.ID})
	}
	_, err := m.CloseAccount(t.Context(), account.ID, false)
	want := "account " + account.ID + ` ("One") is not closed yet: that would end its 2 active keys at once and for good, with their streams and grace windows; add <confirm> to do it`
	if err == nil || Text(err, listNames{}) != want {
		t.Errorf("got the error %v, want %s", err, want)
	}
	if a := must(m.Account(t.Context(), account.ID))(t); !a.Open() {
		t.Fatal("the account was closed without confirmation")
	}
	c := must(m.CloseAccount(t.Context(), account.ID, true))(t)
	if c.Already || c.ActiveKeys != 2 || c.Status != "closed" || c.ClosedAt.Time != noon {
		t.Errorf("got %+v", c)
	}
	if c = must(m.CloseAccount(t.Context(), account.ID, false))(t); !c.Already || c.ClosedAt.Time != noon {
		t.Errorf("closed again: %+v", c)
	}
}

// All calls of a command have the same time, so the time of a change does not tell which call
// made it.
func TestManager_ASecondChangeAtTheSameTimeIsKnownAsSuch(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account, other := newAccount(t, m, "One"), newAccount(t, m, "Two")
	key := func() string { return newKey(t, m, NewKey{AccountID: other.ID}).ID }
	suspended, deleted, revoked, tree := key(), key(), key(), key()
	for _, test := range []struct {
		name string
		call func() (already bool, err error)
	}{
		{"suspend an account", func() (bool, error) {
			a, err := m.SuspendAccount(t.Context(), account.ID, "")
			return a.Already, err
		}},
		{"resume an account", func() (bool, error) {
			a, err := m.ResumeAccount(t.Context(), account.ID)
			return a.Already, err
		}},
		{"close an account", func() (bool, error) {
			a, err := m.CloseAccount(t.Context(), account.ID, true)
			return a.Already, err
		}},
		{"suspend a key", func() (bool, error) {
			k, err := m.SuspendKey(t.Context(), suspended, "")
			return k.Already, err
		}},
		{"resume a key", func() (bool, error) {
			k, err := m.ResumeKey(t.Context(), suspended)
			return k.Already, err
		}},
		{"delete a key", func() (bool, error) {
			k, err := m.DeleteKey(t.Context(), deleted)
			return k.Already, err
		}},
		{"revoke a key", func() (bool, error) {
			k, err := m.RevokeKey(t.Context(), revoked, Revocation{})
			return k.Already, err
		}},
		{"revoke a key with its children", func() (bool, error) {
			k, err := m.RevokeKey(t.Context(), tree, Revocation{WithChildren: true})
			return k.Already, err
		}},
	} {
		for _, want := range []bool{false, true} {
			if got, err := test.call(); got != want || err != nil {
				t.Errorf("%s: got already %v, %v; want %v", test.name, got, err, want)
			}
		}
	}
}

func TestManager_AccountsHaveTheirPasswordOnlyOnce(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	made := newAccount(t, m, "One")
	rotated := must(m.RotateAccount(t.Context(), made.ID, "0"))(t)
	if made.ServicePassword.Empty() || rotated.ServicePassword.Empty() || made.ServiceID == rotated.ServiceID {
		t.Errorf("got %+v and %+v", made, rotated)
	}
	elsewhere := must(m.CreateAccount(t.Context(), NewAccount{Name: "Two", ServiceID: "sid-2", ServicePassword: policy.NewSecret("password-2")}))(t)
	if elsewhere.ServiceID != "sid-2" || !elsewhere.ServicePassword.Empty() {
		t.Errorf("got %+v", elsewhere)
	}
	all := must(All(func(page Page) (List[Account], error) { return m.Accounts(t.Context(), AccountQuery{Page: page}) }))(t)
	if len(all) != 2 || !all[0].ServicePassword.Empty() || all[0].ServiceID != rotated.ServiceID && all[1].ServiceID != rotated.ServiceID {
		t.Errorf("got %+v", all)
	}
}

func TestManager_AJobOfSeveralBackendsNeedsABackend(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	key := newKey(t, m, NewKey{AccountID: newAccount(t, m, "One").ID})
	for _, backend := range []string{"amivoice", "none"} {
		job := policy.Job{ID: "j", Backend: backend, Dialect: "amivoice", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: noon}
		if err := m.Store.CreateJob(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	_, err := m.Job(t.Context(), "j", "")
	if want := `job "j" exists on 2 backends: choose one with <backend>, of amivoice, none`; err == nil || Text(err, listNames{}) != want {
		t.Errorf("got the error %v, want %s", err, want)
	}
	if j := must(m.Job(t.Context(), "j", "amivoice"))(t); j.GraceUntil.Time != noon.Add(2*time.Hour) {
		t.Errorf("got %+v", j)
	}
	if j := must(m.Job(t.Context(), "j", "none"))(t); !j.GraceUntil.IsZero() || j.ClientIP != "" {
		t.Errorf("got %+v", j)
	}
	for backend, want := range map[string]string{"": `there is no record of a job "none": `, "amivoice": `there is no record of a job "none" of backend "amivoice": `} {
		if _, err := m.Job(t.Context(), "none", backend); !errors.Is(err, keystore.ErrNotFound) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("a job without a record: %v, want %s", err, want)
		}
	}
}

func TestManager_AuditShowsTheNewestEntriesFirst(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	m.Now = noon.Add(time.Hour)
	key := newKey(t, m, NewKey{AccountID: account.ID})

	all := must(m.Audit(t.Context(), AuditQuery{AccountID: account.ID}))(t)
	if len(all.Items) != 2 || all.Items[0].Subject != key.ID || all.Items[1].Subject != account.ID || all.Items[0].ActorID != "ada" || all.Items[0].ActorIP != "" {
		t.Errorf("got %+v", all.Items)
	}
	late := must(m.Audit(t.Context(), AuditQuery{Since: "30m"}))(t)
	if len(late.Items) != 1 || late.Items[0].Subject != key.ID {
		t.Errorf("since 30 minutes: %+v", late.Items)
	}
	newest := must(m.Audit(t.Context(), AuditQuery{Page: Page{Limit: 1}}))(t)
	if len(newest.Items) != 1 || newest.Next == "" {
		t.Errorf("with a limit of 1: %+v", newest)
	}

	c := must(m.VerifyAudit(t.Context(), ""))(t)
	if c.Entries != 2 || c.First != 1 || c.Fault != "" {
		t.Errorf("got %+v", c)
	}
	if seq := must(CheckHead(c.Head))(t); seq != 2 {
		t.Errorf("the head is of entry %d", seq)
	}
	if again := must(m.VerifyAudit(t.Context(), c.Head))(t); again.Head != c.Head || again.Entries != c.Entries || again.Fault != "" {
		t.Errorf("with the head: %+v", again)
	}
	if c = must(m.VerifyAudit(t.Context(), "2:"+strings.Repeat("0", 64)))(t); c.Fault == "" {
		t.Error("a head that is not of this trail was accepted")
	}
}

func TestManager_ARestoreBringsBackWhatABackupHas(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	kept := newKey(t, m, NewKey{AccountID: account.ID})
	file := filepath.Join(t.TempDir(), "backup.db")
	b := must(m.Backup(t.Context(), file))(t)
	if b.File != file || b.Keys != 1 || b.Accounts != 1 || b.Bytes == 0 || b.AuditHead == "" {
		t.Errorf("got %+v", b)
	}
	removed := newKey(t, m, NewKey{AccountID: account.ID})
	if plan := must(m.PlanRestore(t.Context(), file))(t); plan != (Restored{KeysRemoved: 1, DryRun: true}) {
		t.Errorf("the plan is %+v", plan)
	}
	r := must(m.Restore(t.Context(), file))(t)
	if want := (Restored{KeysRemoved: 1, Before: r.Before}); r != want || r.Before == "" {
		t.Errorf("got %+v", r)
	}
	must(m.Key(t.Context(), kept.ID))(t)
	if _, err := m.Key(t.Context(), removed.ID); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the key that was issued since: %v", err)
	}

	elsewhere := storetest.New(t).CommandLine()
	if plan := must(PlanRestoreNew(t.Context(), elsewhere, noon, m.Actor, file))(t); plan != (Restored{KeysRestored: 1, AccountsRestored: 1, DryRun: true}) {
		t.Errorf("the plan elsewhere is %+v", plan)
	}
	fresh := must(RestoreNew(t.Context(), elsewhere, noon, m.Actor, file))(t)
	if fresh != (Restored{KeysRestored: 1, AccountsRestored: 1}) {
		t.Errorf("got %+v", fresh)
	}
}

func TestRestored_HasEveryCount(t *testing.T) {
	t.Parallel()
	got := restoredOf(keystore.Restored{
		Keys: keystore.RestoreCount{Restored: 1, Removed: 2}, KeptEnded: 3,
		Accounts: keystore.RestoreCount{Restored: 4, Removed: 5}, KeptClosed: 6,
		Jobs: keystore.RestoreCount{Restored: 7, Removed: 8}, Before: "before.db",
	})
	want := Restored{
		KeysRestored: 1, KeysRemoved: 2, KeysKeptEnded: 3,
		AccountsRestored: 4, AccountsRemoved: 5, AccountsKeptClosed: 6,
		JobsRestored: 7, JobsRemoved: 8, Before: "before.db",
	}
	if got != want {
		t.Errorf("got %+v", got)
	}
}

// A backup or a restore that fails says why, and has no result.
func TestManager_RestoresThatFail(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	nothing := filepath.Join(t.TempDir(), "nothing.db")
	r, err := m.Restore(t.Context(), nothing)
	if r != (Restored{}) || !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), nothing) {
		t.Errorf("into a store: %+v, %v", r, err)
	}
	place := storetest.New(t).CommandLine()
	r, err = RestoreNew(t.Context(), place, noon, m.Actor, nothing)
	if r != (Restored{}) || !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), nothing) {
		t.Errorf("into nothing: %+v, %v", r, err)
	}
	taken := must(m.Backup(t.Context(), filepath.Join(t.TempDir(), "backup.db")))(t)
	b, err := m.Backup(t.Context(), taken.File)
	if b.File != "" || !errors.Is(err, keystore.ErrInvalid) || !strings.Contains(err.Error(), taken.File) {
		t.Errorf("a backup over another: %+v, %v", b, err)
	}
}
