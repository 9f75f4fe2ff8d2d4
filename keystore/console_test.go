package keystore

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

var visitor = Actor{}

// user returns a user of the console with a password, a second factor, a recovery code and a
// session.
func (f fixture) user(kind, id string) (u ConsoleUser, session policy.Secret) {
	f.t.Helper()
	setup, _, err := f.InviteConsoleUser(f.t.Context(), start, operator, kind, id)
	if err != nil {
		f.t.Fatal(err)
	}
	if u, err = f.SetUpConsoleUser(f.t.Context(), start, visitor, setup, "$hash of "+id); err != nil {
		f.t.Fatal(err)
	}
	if err := f.SetSecondFactor(f.t.Context(), start, visitor, &u, policy.NewSecret("SECONDFACTOR"), 7, []policy.Secret{policy.NewSecret("recover")}, policy.Secret{}); err != nil {
		f.t.Fatal(err)
	}
	if u, err = f.ConsoleUser(f.t.Context(), kind, id); err != nil {
		f.t.Fatal(err)
	}
	if session, err = f.BeginConsoleSession(f.t.Context(), start, visitor, &u, true, start.Add(time.Hour), policy.Secret{}); err != nil {
		f.t.Fatal(err)
	}
	return u, session
}

func (f fixture) signedIn(session policy.Secret) bool {
	f.t.Helper()
	_, err := f.FindConsoleSession(f.t.Context(), start, session, time.Hour)
	if err != nil && !errors.Is(err, ErrNotFound) {
		f.t.Fatal(err)
	}
	return err == nil
}

// A pepper that is added to a store goes into everything that belongs to users of the console,
// and encrypts their second factors.
func TestConsole_APepperIsAdded(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	u, session := f.user(ActorAccount, a.ID)
	setup, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorOperator, "tanaka")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = openStore(t, path, withPepper("a pepper of the test"))
	if !f.signedIn(session) {
		t.Error("the session is lost")
	}
	if _, err := f.FindSetup(t.Context(), start, setup); err != nil {
		t.Errorf("the invitation is lost: %v", err)
	}
	if ok, err := f.SpendRecoveryCode(t.Context(), start, visitor, &u, policy.NewSecret("recover")); !ok || err != nil {
		t.Errorf("the recovery code is lost: %v", err)
	}
	got, err := f.ConsoleUser(t.Context(), ActorAccount, a.ID)
	if err != nil || got.SecondFactor.Reveal() != "SECONDFACTOR" {
		t.Errorf("the second factor is lost: %v", err)
	}
	var stored []byte
	if err := rawDB(t, path).QueryRow(`SELECT second FROM console_users WHERE kind = 'account'`).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(stored, []byte("SECOND")) {
		t.Error("the second factor is not encrypted")
	}
	// A second factor does not work for another user.
	mustExec(t, rawDB(t, path), `UPDATE console_users SET second = (SELECT second FROM console_users WHERE kind = 'account') WHERE kind = 'operator'`)
	if _, err := f.ConsoleUser(t.Context(), ActorOperator, "tanaka"); !errors.Is(err, errSecondDamaged) {
		t.Errorf("a second factor of another user: %v", err)
	}
}

func TestConsole_CodesAreSpentOnce(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	u, _ := f.user(ActorAccount, a.ID)
	other, _ := f.user(ActorOperator, "tanaka")
	for _, try := range []struct {
		step int64
		want bool
	}{{6, false}, {7, false}, {8, true}, {8, false}, {7, false}, {10, true}, {9, false}} {
		if ok, err := f.SpendSecondStep(t.Context(), &u, try.step); ok != try.want || err != nil {
			t.Errorf("step %d: %t, %v; want %t", try.step, ok, err, try.want)
		}
	}
	for _, want := range []bool{true, false} {
		if ok, err := f.SpendRecoveryCode(t.Context(), start, visitor, &u, policy.NewSecret("recover")); ok != want || err != nil {
			t.Errorf("the recovery code: %t, %v; want %t", ok, err, want)
		}
	}
	if n, err := f.RecoveryCodes(t.Context(), &other); n != 1 || err != nil {
		t.Errorf("the other user has %d codes, %v", n, err)
	}
}

// A user that was changed in the meantime gets no session.
func TestConsole_AnOldPasswordBeginsNoSession(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	u, session := f.user(ActorAccount, a.ID)
	if err := f.ChangeConsolePassword(t.Context(), start, visitor, &u, "$new", policy.Secret{}); err != nil {
		t.Fatal(err)
	}
	if f.signedIn(session) {
		t.Error("the session goes on")
	}
	if _, err := f.BeginConsoleSession(t.Context(), start, visitor, &u, true, start.Add(time.Hour), policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session with the old password: %v", err)
	}
	if err := f.ChangeConsolePassword(t.Context(), start, visitor, &u, "$newer", policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a change with the old password: %v", err)
	}
	if err := f.RemoveSecondFactor(t.Context(), start, visitor, &u, policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a change of the second factor with the old password: %v", err)
	}
}

// A sign-in that read the user before a second factor was added begins no session without it.
func TestConsole_ASecondFactorAddedMeanwhileBeginsNoSession(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	with, _ := f.user(ActorAccount, f.account().ID)
	without := with
	without.SecondFactor = policy.Secret{}
	if _, err := f.BeginConsoleSession(t.Context(), start, visitor, &without, true, start.Add(time.Hour), policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session without the second factor: %v", err)
	}
	if err := f.RemoveSecondFactor(t.Context(), start, visitor, &with, policy.Secret{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.BeginConsoleSession(t.Context(), start, visitor, &with, false, start.Add(time.Hour), policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session that waits for a second factor that was removed: %v", err)
	}
	if _, err := f.BeginConsoleSession(t.Context(), start, visitor, &without, true, start.Add(time.Hour), policy.Secret{}); err != nil {
		t.Errorf("a session of a user without a second factor: %v", err)
	}
}

// A code that was checked against the second factor of before begins no session under another one.
func TestConsole_ASecondFactorReplacedMeanwhileBeginsNoSession(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), withPepper("a pepper of the test"))
	before, _ := f.user(ActorAccount, f.account().ID)
	if err := f.SetSecondFactor(t.Context(), start, visitor, &before, policy.NewSecret("ANOTHERFACTOR"), 8, nil, policy.Secret{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.BeginConsoleSession(t.Context(), start, visitor, &before, true, start.Add(time.Hour), policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session by the second factor of before: %v", err)
	}
	now, err := f.ConsoleUser(t.Context(), before.Kind, before.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.BeginConsoleSession(t.Context(), start, visitor, &now, true, start.Add(time.Hour), policy.Secret{}); err != nil {
		t.Errorf("a session by the second factor of now: %v", err)
	}
}

// A sign-in or a set-up that read its user before the user was kept out begins no session, which
// would go on once the user is let in again.
func TestConsole_AUserWhoIsKeptOutMeanwhileBeginsNoSession(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a, closed := f.account(), f.account()
	suspendedUser, _ := f.user(ActorAccount, a.ID)
	closedUser, _ := f.user(ActorAccount, closed.ID)
	removedUser, _ := f.user(ActorOperator, "tanaka")
	setup, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorAccount, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.SuspendAccount(t.Context(), start, operator, a.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.RemoveConsoleOperator(t.Context(), start, operator, "tanaka", true, nil); err != nil {
		t.Fatal(err)
	}
	gone := removedUser
	gone.ID = "sato"
	for name, u := range map[string]*ConsoleUser{"a suspended account": &suspendedUser, "a closed account": &closedUser, "an operator who was removed": &removedUser, "no user": &gone} {
		if _, err := f.BeginConsoleSession(t.Context(), start, visitor, u, true, start.Add(time.Hour), policy.Secret{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("a session of %s: %v", name, err)
		}
	}
	if _, err := f.SetUpConsoleUser(t.Context(), start, visitor, setup, "$another hash"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a set-up of a suspended account: %v", err)
	}
	if _, err := f.ResumeAccount(t.Context(), start, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.BeginConsoleSession(t.Context(), start, visitor, &suspendedUser, true, start.Add(time.Hour), policy.Secret{}); err != nil {
		t.Errorf("a session after the account was resumed: %v", err)
	}
}

func TestConsole_OnlyTheOperatorInvites(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	holder := Actor{Kind: ActorAccount, ID: a.ID}
	if _, _, err := f.InviteConsoleUser(t.Context(), start, holder, ActorAccount, a.ID); !errors.Is(err, ErrInvalid) {
		t.Errorf("a holder invites: %v", err)
	}
	if _, _, err := f.RemoveConsoleOperator(t.Context(), start, holder, "tanaka", true, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("a holder removes an operator: %v", err)
	}
	if _, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorAccount, "acc_none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an account that does not exist: %v", err)
	}
}

// Neither sessions nor invitations come back from a backup, and users of accounts that a restore
// removes go.
func TestConsole_ABackupBringsNoSessionBack(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	u, session := f.user(ActorAccount, a.ID)
	setup, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorOperator, "tanaka")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "backup.db")
	if _, err := f.Backup(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	fresh := newPath(t)
	if _, err := RestoreNew(t.Context(), bareConfig(fresh), start, operator, file); err != nil {
		t.Fatal(err)
	}
	restored := openStore(t, fresh)
	if restored.signedIn(session) {
		t.Error("the session is back")
	}
	if _, err := restored.FindSetup(t.Context(), start, setup); !errors.Is(err, ErrNotFound) {
		t.Errorf("the invitation is back: %v", err)
	}
	if got, err := restored.ConsoleUser(t.Context(), ActorAccount, a.ID); err != nil || got.PasswordHash != u.PasswordHash || got.SecondFactor.Reveal() != "SECONDFACTOR" {
		t.Errorf("the user is %+v, %v", got, err)
	}

	later := f.account()
	_, lost := f.user(ActorAccount, later.ID)
	if err := f.ChangeConsolePassword(t.Context(), start, visitor, &u, "$new", session); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Restore(t.Context(), start, operator, file); err != nil {
		t.Fatal(err)
	}
	if got, err := f.ConsoleUser(t.Context(), ActorAccount, a.ID); err != nil || got.PasswordHash != "$new" {
		t.Errorf("a restore has brought a password back: %+v, %v", got, err)
	}
	if _, err := f.ConsoleUser(t.Context(), ActorAccount, later.ID); !errors.Is(err, ErrNotFound) || f.signedIn(lost) {
		t.Errorf("the user of an account that the restore has removed: %v", err)
	}
	if !f.signedIn(session) {
		t.Error("a restore ends the sessions of users that stay")
	}
}

func TestConsole_OldSessionsArePruned(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	f.user(ActorAccount, f.account().ID)
	if err := f.Prune(t.Context(), start.Add(time.Hour-time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM console_sessions`); n != 1 {
		t.Errorf("%d sessions a millisecond before the end", n)
	}
	if err := f.Prune(t.Context(), start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM console_sessions`); n != 0 {
		t.Errorf("%d sessions at the end", n)
	}
}

func TestConsole_NamesOfOperators(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"tanaka": true, "T.Sato+x@example.com": true, "a": true, "0": true,
		"": false, ".a": false, "two words": false, "田中": false, "a/b": false, "a\x00": false,
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": false,
	} {
		if err := CheckOperatorName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Nobody removes the last operator who can sign in without saying so.
func TestConsole_TheLastOperatorIsRemovedKnowingly(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	remove := func(name string, evenLast bool) (last bool, err error) {
		_, last, err = f.RemoveConsoleOperator(t.Context(), start, operator, name, evenLast, nil)
		return last, err
	}
	f.user(ActorAccount, f.account().ID) // is no operator
	f.user(ActorOperator, "tanaka")
	f.user(ActorOperator, "suzuki")
	if _, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorOperator, "invited"); err != nil {
		t.Fatal(err)
	}
	if last, err := remove("tanaka", false); last || err != nil {
		t.Errorf("one of two: %t, %v", last, err)
	}
	_, session := f.user(ActorOperator, "suzuki")
	if last, err := remove("suzuki", false); !last || !errors.Is(err, ErrLastOperator) || !f.signedIn(session) {
		t.Errorf("the last one: %t, %v", last, err)
	}
	if last, err := remove("invited", false); last || err != nil {
		t.Errorf("one who cannot sign in: %t, %v", last, err)
	}
	if last, err := remove("suzuki", true); !last || err != nil || f.signedIn(session) {
		t.Errorf("the last one, knowingly: %t, %v", last, err)
	}
	if last, err := remove("suzuki", false); last || err != nil {
		t.Errorf("again: %t, %v", last, err)
	}
}

func TestConsole_SaysWhenAUserHasSignedInLast(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.wantSignIns()
}

// wantSignIns lets the user tanaka sign in, and the user never not. It makes sure that the store knows.
func (f fixture) wantSignIns() (wantLast func(f fixture)) {
	t := f.t
	t.Helper()
	setup, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorOperator, "never")
	if err == nil {
		_, err = f.SetUpConsoleUser(t.Context(), start, visitor, setup, "$hash")
	}
	if err != nil {
		t.Fatal(err)
	}
	u, session := f.user(ActorOperator, "tanaka")
	signIn := func(at policy.Time, passed bool) {
		t.Helper()
		if _, err := f.BeginConsoleSession(t.Context(), at, visitor, &u, passed, at.Add(time.Hour), session); err != nil {
			t.Fatal(err)
		}
	}
	wantLast = func(f fixture) {
		t.Helper()
		for name, want := range map[string]policy.Time{"tanaka": start + 1000, "never": 0} {
			if got, err := f.ConsoleUser(t.Context(), ActorOperator, name); err != nil || got.SignedInAt != want {
				t.Errorf("%s has signed in at %s, %v; want %s", name, got.SignedInAt, err, want)
			}
		}
	}
	signIn(start+1000, true)
	signIn(start+2000, false) // only the password was right
	wantLast(f)
	return wantLast
}
