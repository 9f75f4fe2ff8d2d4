package signin

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/passkeytest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// theSite returns the site of the tests.
func theSite(t testing.TB) Site {
	t.Helper()
	site, err := NewSite("https://console.example.com", "Speechgate")
	if err != nil {
		t.Fatal(err)
	}
	return site
}

// authenticator returns an authenticator at the site of the tests.
func (f *fixture) authenticator() *passkeytest.Authenticator {
	return passkeytest.New(f.t, "https://console.example.com", "console.example.com")
}

// offer returns the options for a new passkey of the user of a session.
func (f *fixture) offer(session policy.Secret) []byte {
	f.t.Helper()
	user, _ := f.user(session)
	options, err := f.OfferPasskey(f.t.Context(), f.try, theSite(f.t), user, " laptop ", secret(aPassword), session)
	if err != nil {
		f.t.Fatal(err)
	}
	return options
}

// addPasskey adds a passkey to the user of a session.
func (f *fixture) addPasskey(session policy.Secret) *passkeytest.Authenticator {
	f.t.Helper()
	a := f.authenticator()
	user, _ := f.user(session)
	if err := f.AddPasskey(f.t.Context(), f.try, theSite(f.t), user, a.Create(f.offer(session)), session); err != nil {
		f.t.Fatal(err)
	}
	return a
}

// ask returns the options for a sign-in with a passkey. The user takes a millisecond, or more.
func (f *fixture) ask() []byte {
	f.t.Helper()
	options, err := f.AskPasskey(f.t.Context(), f.try, theSite(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	f.advance(time.Millisecond)
	return options
}

// present signs in with an answer. Its token is empty if and only if there is an error.
func (f *fixture) present(answer string) (policy.Secret, error) {
	f.t.Helper()
	token, err := f.SignInWithPasskey(f.t.Context(), f.try, theSite(f.t), answer, policy.Secret{})
	if (err == nil) == token.Empty() {
		f.t.Errorf("token %t with %v", !token.Empty(), err)
	}
	return token, err
}

func TestPasskey_IsBothFactorsOfItsUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	account, ofHolder := f.holder("Example Corp.")
	operator := f.tanaka()
	other, _ := f.signIn("tanaka", aPassword, policy.Secret{})
	for id, session := range map[string]policy.Secret{account.ID: ofHolder, "tanaka": operator} {
		a := f.addPasskey(session)
		f.enrol(session)
		for range 3 {
			f.advance(time.Minute)
			token, err := f.present(a.Get(f.ask()))
			if err != nil {
				t.Fatalf("sign-in as %s: %v", id, err)
			}
			user, passed := f.user(token)
			if user.ID != id || !passed || user.Passkeys != 1 {
				t.Errorf("the passkey of %s begins a session of %s, passed %t, with %d passkeys", id, user.ID, passed, user.Passkeys)
			}
			passkeys, err := f.store.Passkeys(t.Context(), user)
			if err != nil || len(passkeys) != 1 {
				t.Fatalf("%d passkeys, %v", len(passkeys), err)
			}
			if p := passkeys[0]; p.Name != "laptop" || p.Site != "console.example.com" || p.UsedAt != f.try.Now || p.AddedAt >= p.UsedAt || p.SignCount != a.Count-1 {
				t.Errorf("the passkey is %+v, count %d", p, a.Count)
			}
		}
	}
	if _, err := f.Session(t.Context(), f.try, other); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("a session from before the passkey goes on: %v", err)
	}
}

func TestPasskey_AChallengeIsAnsweredOnceAndSoon(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	session := f.tanaka()
	a := f.addPasskey(session)
	before, options := f.ask(), f.ask()
	answer := a.Get(options)
	if _, err := f.present(answer); err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]string{
		"the same answer": answer, "another answer to the same challenge": a.Get(options), "an answer to an earlier challenge": a.Get(before),
	} {
		if _, err := f.present(again); !errors.Is(err, ErrPasskey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	late := f.ask()
	f.advance(challengeTime - time.Millisecond)
	if _, err := f.present(a.Get(late)); !errors.Is(err, ErrPasskey) {
		t.Errorf("a late answer: %v", err)
	}
	early := f.ask()
	f.advance(challengeTime - 2*time.Millisecond)
	if _, err := f.present(a.Get(early)); err != nil {
		t.Errorf("an answer in time: %v", err)
	}

	user, _ := f.user(session)
	offer := f.offer(session)
	f.advance(challengeTime)
	if err := f.AddPasskey(t.Context(), f.try, theSite(t), user, f.authenticator().Create(offer), session); !errors.Is(err, ErrPasskey) {
		t.Errorf("a late passkey: %v", err)
	}
	// A challenge for adding a passkey cannot be answered by a sign-in.
	if _, err := f.present(a.Get(f.offer(session))); !errors.Is(err, ErrPasskey) {
		t.Errorf("a sign-in with the challenge of a new passkey: %v", err)
	}
}

// Another user, and the same user in another session, cannot add a passkey to an offer.
func TestPasskey_AnOfferIsForOneSession(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, own := f.holder("Example Corp.")
	operator := f.tanaka()
	second, _ := f.signIn("tanaka", aPassword, policy.Secret{})
	for name, session := range map[string]policy.Secret{"another user": own, "another session": second} {
		user, _ := f.user(session)
		err := f.AddPasskey(t.Context(), f.try, theSite(t), user, f.authenticator().Create(f.offer(operator)), session)
		if !errors.Is(err, ErrPasskey) {
			t.Errorf("%s: %v, want ErrPasskey", name, err)
		}
	}
	user, _ := f.user(operator)
	elsewhere, err := NewSite("https://other.example.com", "Speechgate")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.AddPasskey(t.Context(), f.try, elsewhere, user, f.authenticator().Create(f.offer(operator)), operator); !errors.Is(err, ErrPasskey) {
		t.Errorf("another site: %v", err)
	}
	a := f.addPasskey(operator)
	if _, err := f.SignInWithPasskey(t.Context(), f.try, elsewhere, a.Get(f.ask()), policy.Secret{}); !errors.Is(err, ErrPasskey) {
		t.Errorf("a sign-in at another site: %v", err)
	}
	// Also where only the port differs.
	port, err := NewSite("https://console.example.com:8443", "Speechgate")
	if err != nil {
		t.Fatal(err)
	}
	a.Origin = port.origin
	if _, err := f.SignInWithPasskey(t.Context(), f.try, port, a.Get(f.ask()), policy.Secret{}); !errors.Is(err, ErrPasskey) {
		t.Errorf("a sign-in at another port: %v", err)
	}
	made := f.authenticator()
	made.Origin = port.origin
	if err := f.AddPasskey(t.Context(), f.try, port, user, made.Create(f.offer(operator)), operator); !errors.Is(err, ErrPasskey) {
		t.Errorf("a passkey at another port: %v", err)
	}
	// The passkey of the first site is nothing at the other one, whatever the request says.
	options, err := f.AskPasskey(t.Context(), f.try, elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	a.Origin, a.Site = "https://other.example.com", "other.example.com"
	if _, err := f.SignInWithPasskey(t.Context(), f.try, elsewhere, a.Get(options), policy.Secret{}); !errors.Is(err, ErrPasskey) {
		t.Errorf("a passkey of another site: %v", err)
	}
}

func TestPasskey_OneOfAnotherUserIsNotAdded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, own := f.holder("Example Corp.")
	operator := f.tanaka()
	a := f.addPasskey(operator)
	user, _ := f.user(own)
	if err := f.AddPasskey(t.Context(), f.try, theSite(t), user, a.Create(f.offer(own)), own); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	if user, _ := f.user(own); user.Passkeys != 0 {
		t.Error("the user has the passkey of another user")
	}
}

func TestPasskey_ChangesNeedThePassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, foreign := f.holder("Example Corp.")
	session := f.tanaka()
	a := f.addPasskey(session)
	user, _ := f.user(session)
	if _, err := f.OfferPasskey(t.Context(), f.try, theSite(t), user, "laptop", secret(another), session); !errors.Is(err, ErrWrong) {
		t.Errorf("an offer with a wrong password: %v", err)
	}
	for _, name := range []string{"", "  ", strings.Repeat("x", 201), "line\nline"} {
		if _, err := f.OfferPasskey(t.Context(), f.try, theSite(t), user, name, secret(aPassword), session); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	if err := f.RemovePasskey(t.Context(), f.try, user, secret(another), a.ID, session); !errors.Is(err, ErrWrong) {
		t.Errorf("removing with a wrong password: %v", err)
	}
	stranger, _ := f.user(foreign)
	if err := f.RemovePasskey(t.Context(), f.try, stranger, secret(aPassword), a.ID, foreign); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("removing the passkey of another user: %v", err)
	}
	used, err := f.present(a.Get(f.ask()))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.RemovePasskey(t.Context(), f.try, user, secret(aPassword), a.ID, session); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Session(t.Context(), f.try, used); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("the session of the removed passkey: %v", err)
	}
	f.user(session)
	if _, err := f.present(a.Get(f.ask())); !errors.Is(err, ErrPasskey) {
		t.Errorf("a removed passkey: %v", err)
	}
}

func TestPasskey_AUserHasALimitedNumber(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	session := f.tanaka()
	for range keystore.MostPasskeys - 1 {
		f.addPasskey(session)
	}
	one, two := f.offer(session), f.offer(session)
	user, _ := f.user(session)
	if err := f.AddPasskey(t.Context(), f.try, theSite(t), user, f.authenticator().Create(one), session); err != nil {
		t.Fatal(err)
	}
	if err := f.AddPasskey(t.Context(), f.try, theSite(t), user, f.authenticator().Create(two), session); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("one passkey too many: %v", err)
	}
	user, _ = f.user(session)
	if _, err := f.OfferPasskey(t.Context(), f.try, theSite(t), user, "laptop", secret(aPassword), session); !errors.Is(err, ErrManyPasskeys) {
		t.Errorf("an offer of one too many: %v", err)
	}
}

func TestPasskey_AUserWhoIsKeptOutCannotSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	suspended, one := f.holder("Suspended")
	closed, two := f.holder("Closed")
	reset, three := f.holder("Reset")
	passkeys := map[string]*passkeytest.Authenticator{
		"suspended": f.addPasskey(one), "closed": f.addPasskey(two), "set up again": f.addPasskey(three), "removed": f.addPasskey(f.tanaka()),
	}
	_, err1 := f.store.SuspendAccount(t.Context(), f.try.Now, operator, suspended.ID, "")
	_, err2 := f.store.CloseAccount(t.Context(), f.try.Now, operator, closed.ID)
	_, err3 := f.SetUp(t.Context(), f.try, f.invite(keystore.ActorAccount, reset.ID), secret(another), policy.Secret{})
	_, _, err4 := f.store.RemoveConsoleOperator(t.Context(), f.try.Now, operator, "tanaka", true, nil)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	for name, a := range passkeys {
		if _, err := f.present(a.Get(f.ask())); !errors.Is(err, ErrPasskey) {
			t.Errorf("a user who is %s: %v", name, err)
		}
	}
	if _, err := f.store.ResumeAccount(t.Context(), f.try.Now, operator, suspended.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.present(passkeys["suspended"].Get(f.ask())); err != nil {
		t.Errorf("an account that was resumed: %v", err)
	}
	// An operator who is invited again has no passkeys from before.
	if _, err := f.SetUp(t.Context(), f.try, f.invite(keystore.ActorOperator, "tanaka"), secret(another), policy.Secret{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.present(passkeys["removed"].Get(f.ask())); !errors.Is(err, ErrPasskey) {
		t.Errorf("a passkey from before an operator was removed: %v", err)
	}
}

func TestPasskey_FailuresAndChallengesAreThrottled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.addPasskey(f.tanaka())
	for range addressRule.Failures {
		if _, err := f.present(`{}`); !errors.Is(err, ErrPasskey) {
			t.Fatal(err)
		}
	}
	if _, err := f.present(a.Get(f.ask())); !isWait(err, 60) {
		t.Errorf("after too many failures: %v", err)
	}
	if err := f.refused("tanaka", aPassword); !isWait(err, 60) {
		t.Errorf("a password after too many passkeys: %v", err)
	}
	f.advance(time.Minute)
	if _, err := f.present(a.Get(f.ask())); err != nil {
		t.Errorf("after a minute: %v", err)
	}
	f.advance(time.Minute)
	for range challengeRule.Failures {
		f.ask()
	}
	if _, err := f.AskPasskey(t.Context(), f.try, theSite(t)); !isWait(err, 60) {
		t.Errorf("after too many challenges: %v", err)
	}
}

func isWait(err error, seconds int) bool {
	wait, ok := errors.AsType[*WaitError](err)
	return ok && wait.Seconds == seconds
}

// The audit trail says why a passkey of a user was refused, once a minute.
func TestPasskey_TheAuditTrailSaysWhyOneWasRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.addPasskey(f.tanaka())
	refused := func() (details []string) {
		page, _, err := f.store.Audit(t.Context(), keystore.AuditList{})
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range page {
			if entry.Action == "console_sign_in_failed" {
				details = append(details, entry.Detail)
			}
		}
		return details
	}
	for n, c := range []struct {
		change func()
		want   string
	}{
		{func() { a.Count = 1 }, `the count of signatures has not grown: the passkey "laptop" may have been copied`},
		{func() { a.Count, a.Origin = 9, "https://evil.example" }, "a passkey was refused: Error validating origin"},
	} {
		for range 3 {
			c.change()
			if _, err := f.present(a.Get(f.ask())); !errors.Is(err, ErrPasskey) {
				t.Fatal(err)
			}
		}
		testutil.Eventually(t, "an entry about the refused passkey", func() bool { return len(refused()) > n }) // it is written after the answer
		if got := refused(); len(got) != n+1 || !slices.Contains(got, c.want) {
			t.Errorf("the audit trail has %q, want %d entries with %q", got, n+1, c.want)
		}
		f.advance(time.Minute)
		a.Count = 2
	}
}
