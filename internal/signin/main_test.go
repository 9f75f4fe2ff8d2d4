package signin

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	start     policy.Time = 1_900_000_000_000 // at 20 seconds of a step
	aPassword             = "correct horse battery staple"
	another               = "another password"
)

var operator = keystore.Actor{Kind: keystore.ActorOperator, ID: "root"}

// fixture is a Service with a keystore. The time and the address are those of the next try.
type fixture struct {
	*Service

	t     *testing.T
	place storetest.Place
	store *keystore.Store
	try   Try
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return openFixture(t, storetest.New(t))
}

// openFixture returns a Service of its own with the keystore at a place, as another server has it.
func openFixture(t *testing.T, place storetest.Place) *fixture {
	t.Helper()
	cfg := place.Config()
	cfg.Clock = func() policy.Time { return start }
	store, err := keystore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	service := New()
	service.passwords = newPasswords(cheap)
	return &fixture{service, t, place, store, Try{Store: store, Now: start, From: netip.MustParseAddr("192.0.2.7")}}
}

func (f *fixture) advance(d time.Duration) { f.try.Now = f.try.Now.Add(d) }

// account returns a new account with this name.
func (f *fixture) account(name string) policy.Account {
	f.t.Helper()
	a, _, err := f.store.CreateAccount(f.t.Context(), f.try.Now, operator, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

// invite returns the token of a set-up link.
func (f *fixture) invite(kind, id string) policy.Secret {
	f.t.Helper()
	setup, _, err := f.store.InviteConsoleUser(f.t.Context(), f.try.Now, operator, kind, id)
	if err != nil {
		f.t.Fatal(err)
	}
	return setup
}

// tanaka sets up the operator tanaka, and returns the token of the session.
func (f *fixture) tanaka() (token policy.Secret) {
	f.t.Helper()
	token, err := f.SetUp(f.t.Context(), f.try, f.invite(keystore.ActorOperator, "tanaka"), secret(aPassword), policy.Secret{})
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}

// holder returns a new account whose holder has set a password.
func (f *fixture) holder(name string) (a policy.Account, token policy.Secret) {
	f.t.Helper()
	a = f.account(name)
	token, err := f.SetUp(f.t.Context(), f.try, f.invite(keystore.ActorAccount, a.ID), secret(aPassword), policy.Secret{})
	if err != nil {
		f.t.Fatal(err)
	}
	return a, token
}

// signIn signs in, in place of the session old, and fails the test if this is not possible.
func (f *fixture) signIn(name, password string, old policy.Secret) (token policy.Secret, passed bool) {
	f.t.Helper()
	token, passed, err := f.SignIn(f.t.Context(), f.try, name, secret(password), old)
	if err != nil {
		f.t.Fatalf("sign-in as %q: %v", name, err)
	}
	return token, passed
}

// refused returns the error of a sign-in, which must begin no session.
func (f *fixture) refused(name, password string) error {
	f.t.Helper()
	token, passed, err := f.SignIn(f.t.Context(), f.try, name, secret(password), policy.Secret{})
	if err == nil || passed || !token.Empty() {
		f.t.Errorf("sign-in as %q: token %t, passed %t, error %v; want an error only", name, !token.Empty(), passed, err)
	}
	return err
}

// user returns the user of a session, and whether the second factor was passed. It fails the
// test if the session does not go on.
func (f *fixture) user(token policy.Secret) (*keystore.ConsoleUser, bool) {
	f.t.Helper()
	session, err := f.Session(f.t.Context(), f.try, token)
	if err != nil {
		f.t.Fatalf("the session: %v", err)
	}
	return &session.User, session.Passed
}

// enrol adds a second factor to the user of a session.
func (f *fixture) enrol(token policy.Secret) (app policy.Secret, recovery []policy.Secret) {
	f.t.Helper()
	user, _ := f.user(token)
	enrolment, err := Enrol("Speechgate", user.ID, policy.Secret{})
	if err != nil {
		f.t.Fatal(err)
	}
	recovery, err = f.AddSecondFactor(f.t.Context(), f.try, user, secret(aPassword), enrolment.Secret, f.code(enrolment.Secret, 0), token)
	if err != nil {
		f.t.Fatal(err)
	}
	return enrolment.Secret, recovery
}

// code returns the code that an app shows so many steps after the current one.
func (f *fixture) code(app policy.Secret, steps int) string {
	f.t.Helper()
	code, err := totp.GenerateCode(app.Reveal(), f.try.Now.Add(time.Duration(steps)*codeStep).Std())
	if err != nil {
		f.t.Fatal(err)
	}
	return code
}

// fillQueue makes every check of a password busy until the function that it returns is called.
func (f *fixture) fillQueue() (empty func()) {
	for range cap(f.passwords.waiting) {
		f.passwords.waiting <- struct{}{}
	}
	return func() {
		for range cap(f.passwords.waiting) {
			<-f.passwords.waiting
		}
	}
}

// secret is short for policy.NewSecret.
func secret(text string) policy.Secret { return policy.NewSecret(text) }
