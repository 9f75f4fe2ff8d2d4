package signin

import (
	"errors"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestSignIn_EveryFailureIsTheSameAndHashes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, _ = f.holder("Example Corp.")
	closed, closedSession := f.holder("Closed")
	suspended, suspendedSession := f.holder("Suspended")
	f.invite(keystore.ActorAccount, f.account("Invited").ID)
	if _, err := f.store.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.SuspendAccount(t.Context(), start, operator, suspended.ID, ""); err != nil {
		t.Fatal(err)
	}
	tries := [][2]string{
		{"Example Corp.", another},
		{"nobody", aPassword},
		{"", ""},
		{"Closed", aPassword},
		{"Suspended", aPassword},
		{"Invited", aPassword},
		{"Invited", ""},
		{"Invited", f.passwords.decoy},
	}
	for _, try := range tries {
		if err := f.refused(try[0], try[1]); !errors.Is(err, ErrWrong) {
			t.Errorf("%q: %v, want ErrWrong", try[0], err)
		}
	}
	for name, session := range map[string]policy.Secret{"closed": closedSession, "suspended": suspendedSession} {
		if _, err := f.Session(t.Context(), f.try, session); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("the session of the %s account: %v, want ErrNotFound", name, err)
		}
	}
	empty := f.fillQueue()
	for _, try := range tries { // no answer without a place in the queue of hashes
		if err := f.refused(try[0], try[1]); !errors.Is(err, ErrBusy) {
			t.Errorf("%q without hashing: %v, want ErrBusy", try[0], err)
		}
	}
	empty()
	if _, passed := f.signIn("Example Corp.", aPassword, policy.Secret{}); !passed {
		t.Error("a user without a second factor must give a code")
	}
}

func TestSignIn_AThrottledNameOrAddressWaitsAndNothingIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		what  string
		try   func(f *fixture, i int) (name string)
		other func(f *fixture) (name string) // a try that is not throttled
	}{
		{"name", func(f *fixture, i int) string {
			f.try.From = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			return "tanaka"
		}, func(*fixture) string { return "sato" }},
		{"address", func(_ *fixture, i int) string {
			return "nobody" + strconv.Itoa(i)
		}, func(f *fixture) string { f.try.From = netip.MustParseAddr("192.0.2.8"); return "tanaka" }},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.tanaka()
			for i := range 30 {
				if err := f.refused(c.try(f, i), another); !errors.Is(err, ErrWrong) {
					t.Fatalf("try %d: %v", i, err)
				}
			}
			f.advance(time.Minute - 1500*time.Millisecond)
			empty := f.fillQueue() // what is checked is busy
			for _, password := range []string{aPassword, another} {
				wait, ok := errors.AsType[*WaitError](f.refused("tanaka", password))
				if !ok || wait.Seconds != 2 {
					t.Errorf("a throttled try: %+v, want 2 seconds", wait)
				}
			}
			from := f.try.From
			if err := f.refused(c.other(f), aPassword); !errors.Is(err, ErrBusy) {
				t.Errorf("a try with another %s: %v, want ErrBusy", c.what, err)
			}
			f.try.From = from
			empty()
			f.advance(1499 * time.Millisecond)
			if _, ok := errors.AsType[*WaitError](f.refused("tanaka", aPassword)); !ok {
				t.Error("a millisecond before the end of the window, there is no wait")
			}
			f.advance(time.Millisecond)
			f.signIn("tanaka", aPassword, policy.Secret{})
		})
	}
}

// Tries that wait for a hash while others fail are not checked after the limit is reached.
func TestSignIn_TriesAtTheSameTimeKeepTheLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.passwords = newPasswords(hashing) // a failure counts a moment after its slot is free, which is short beside a whole hash
	f.passwords.slots, f.passwords.waiting = make(chan struct{}, 1), make(chan struct{}, 100)
	f.tanaka()
	for range nameRule.Failures - 2 {
		f.try.From = f.try.From.Next()
		if err := f.refused("tanaka", another); !errors.Is(err, ErrWrong) {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	errs := make(chan error, 40)
	for range cap(errs) {
		f.try.From = f.try.From.Next()
		try := f.try
		all.Go(func() {
			_, _, err := f.SignIn(t.Context(), try, "tanaka", secret(another), policy.Secret{})
			errs <- err
		})
	}
	all.Wait()
	close(errs)
	checked := 0
	for err := range errs {
		if _, waits := errors.AsType[*WaitError](err); !waits {
			checked++
		}
	}
	if checked < 2 || checked > 12 {
		t.Errorf("%d passwords were checked, want few more than 2", checked)
	}
}

func TestSignIn_ABusyTryCountsAsNoFailure(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	token := f.tanaka()
	setup := f.invite(keystore.ActorOperator, "sato")
	user, _ := f.user(token)
	empty := f.fillQueue()
	for range nameRule.Failures + 1 {
		if err := f.refused("tanaka", another); !errors.Is(err, ErrBusy) {
			t.Fatalf("sign-in: %v", err)
		}
		if err := f.Confirm(t.Context(), f.try, user, secret(another)); !errors.Is(err, ErrBusy) {
			t.Fatalf("confirm: %v", err)
		}
	}
	if _, err := f.SetUp(t.Context(), f.try, setup, secret(aPassword), policy.Secret{}); !errors.Is(err, ErrBusy) {
		t.Errorf("set-up: %v", err)
	}
	empty()
	f.signIn("tanaka", aPassword, policy.Secret{})
	if err := f.Confirm(t.Context(), f.try, user, secret(aPassword)); err != nil {
		t.Errorf("confirm: %v", err)
	}
	if _, err := f.SetUp(t.Context(), f.try, setup, secret(aPassword), policy.Secret{}); err != nil {
		t.Errorf("the set-up link is lost: %v", err)
	}
}

// No name that a stranger gives at the sign-in uses up the tries of a signed-in user.
func TestConfirm_HasALimitOfItsOwn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user, _ := f.user(f.tanaka())
	for range nameRule.Failures {
		if err := f.refused("operator\x00tanaka", another); !errors.Is(err, ErrWrong) {
			t.Fatal(err)
		}
	}
	if err := f.Confirm(t.Context(), f.try, user, secret(aPassword)); err != nil {
		t.Errorf("after failures of a stranger: %v", err)
	}
	for range nameRule.Failures {
		if err := f.Confirm(t.Context(), f.try, user, secret(another)); !errors.Is(err, ErrWrong) {
			t.Fatal(err)
		}
	}
	if wait, ok := errors.AsType[*WaitError](f.Confirm(t.Context(), f.try, user, secret(aPassword))); !ok || wait.Seconds != 60 {
		t.Errorf("after 30 failures: %+v, want 60 seconds", wait)
	}
}

func TestSession_ASignInReplacesTheToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.tanaka()
	second, _ := f.signIn("tanaka", aPassword, first)
	if _, err := f.Session(t.Context(), f.try, first); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the old token: %v, want ErrNotFound", err)
	}
	if user, passed := f.user(second); user.ID != "tanaka" || !passed || second.Reveal() == first.Reveal() {
		t.Errorf("the new token is of %s, passed %t", user.ID, passed)
	}
	if err := f.refused("tanaka", another); !errors.Is(err, ErrWrong) {
		t.Error(err)
	}
	f.user(second) // a failed sign-in ends nothing
	for _, token := range []policy.Secret{{}, secret("sgc_chosen"), secret(second.Reveal() + "x")} {
		if _, err := f.Session(t.Context(), f.try, token); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("the token %q: %v, want ErrNotFound", token.Reveal(), err)
		}
	}
}

func TestSession_EndsAtTheInstant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ended := func(token policy.Secret) bool {
		_, err := f.Session(t.Context(), f.try, token)
		if err != nil && !errors.Is(err, keystore.ErrNotFound) {
			t.Fatal(err)
		}
		return err != nil
	}
	idle := f.tanaka()
	f.advance(Idle)
	if !ended(idle) {
		t.Error("a session goes on after its idle time")
	}
	f.advance(-time.Millisecond)
	if ended(idle) {
		t.Error("a session has ended before its idle time")
	}
	f.advance(Idle - time.Millisecond) // it was seen
	if ended(idle) {
		t.Error("a request has not prolonged the session")
	}

	f.try.Now = start
	used := f.tanaka()
	for range int(Lifetime/Idle)*2 - 1 {
		f.advance(Idle / 2)
		if ended(used) {
			t.Fatalf("a session that is used has ended at %s", f.try.Now)
		}
	}
	f.advance(Idle/2 - time.Millisecond)
	if ended(used) {
		t.Error("a session has ended before its lifetime")
	}
	f.advance(time.Millisecond)
	if !ended(used) {
		t.Error("a session goes on after its lifetime")
	}
}

func TestChangePassword_EndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	own := f.tanaka()
	other, _ := f.signIn("tanaka", aPassword, policy.Secret{})
	user, _ := f.user(own)
	if err := f.ChangePassword(t.Context(), f.try, user, secret(another), secret(another), own); !errors.Is(err, ErrWrong) {
		t.Errorf("with a wrong password: %v", err)
	}
	if err := f.ChangePassword(t.Context(), f.try, user, secret(aPassword), secret("short"), own); !errors.Is(err, ErrShort) {
		t.Errorf("to a short password: %v", err)
	}
	f.user(other) // no session has ended
	if err := f.ChangePassword(t.Context(), f.try, user, secret(aPassword), secret(another), own); err != nil {
		t.Fatal(err)
	}
	f.user(own)
	if _, err := f.Session(t.Context(), f.try, other); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the other session: %v, want ErrNotFound", err)
	}
	if err := f.refused("tanaka", aPassword); !errors.Is(err, ErrWrong) {
		t.Errorf("the old password: %v", err)
	}
	f.signIn("tanaka", another, policy.Secret{})
}

func TestSetUp_ALinkWorksOnceForADay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	setUp := func(setup policy.Secret, password string) error {
		token, err := f.SetUp(t.Context(), f.try, setup, secret(password), policy.Secret{})
		if (err == nil) == token.Empty() {
			t.Errorf("token %t with %v", !token.Empty(), err)
		}
		return err
	}
	session := f.tanaka()
	earlier, link := f.invite(keystore.ActorOperator, "tanaka"), f.invite(keystore.ActorOperator, "tanaka")
	f.user(session) // an invitation alone ends no session
	for name, setup := range map[string]policy.Secret{"earlier": earlier, "empty": {}, "unknown": secret("sgi_unknown")} {
		if err := setUp(setup, another); !errors.Is(err, ErrNoSetup) {
			t.Errorf("the %s link: %v, want ErrNoSetup", name, err)
		}
	}
	f.advance(keystore.InvitationTime)
	if err := setUp(link, another); !errors.Is(err, ErrNoSetup) {
		t.Errorf("the link after a day: %v, want ErrNoSetup", err)
	}
	f.advance(-time.Millisecond)
	if err := setUp(link, "short"); !errors.Is(err, ErrShort) { // a mistake does not use the link up
		t.Errorf("a short password: %v", err)
	}
	if err := setUp(link, another); err != nil {
		t.Errorf("the link before the end of the day: %v", err)
	}
	if err := setUp(link, aPassword); !errors.Is(err, ErrNoSetup) {
		t.Errorf("the link for the second time: %v, want ErrNoSetup", err)
	}
	f.try.Now = start
	if _, err := f.Session(t.Context(), f.try, session); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the session before the set-up: %v, want ErrNotFound", err)
	}
	f.signIn("tanaka", another, policy.Secret{})
}

func TestSetUp_NotForASuspendedAccount(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("Example Corp.")
	setup := f.invite(keystore.ActorAccount, a.ID)
	if _, err := f.store.SuspendAccount(t.Context(), start, operator, a.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetUp(t.Context(), f.try, setup, secret(aPassword), policy.Secret{}); !errors.Is(err, ErrNoSetup) {
		t.Fatalf("a suspended account: %v, want ErrNoSetup", err)
	}
	if _, err := f.store.ResumeAccount(t.Context(), start, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.SetUp(t.Context(), f.try, setup, secret(aPassword), policy.Secret{}); err != nil {
		t.Error(err)
	}
}
