package keystore

import (
	"errors"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

var person = Identity{Issuer: "https://id.example.com", Subject: "user-1"}

// bind invites an operator and binds the operator to a person.
func (f fixture) bind(name string, to Identity) ConsoleUser {
	f.t.Helper()
	if _, _, err := f.InviteConsoleUser(f.t.Context(), start, operator, ActorOperator, name); err != nil {
		f.t.Fatal(err)
	}
	u, err := f.SetUpConsoleIdentity(f.t.Context(), start, visitor, name, to)
	if err != nil {
		f.t.Fatal(err)
	}
	return u
}

func (f fixture) begin(u ConsoleUser) (policy.Secret, error) {
	return f.BeginConsoleSession(f.t.Context(), start, visitor, &u, true, start.Add(time.Hour), policy.Secret{})
}

func TestIdentity_NeedsAnOpenInvitation(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.user(ActorOperator, "password")
	f.bind("bound", person)
	if _, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorOperator, "late"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorAccount, f.account().ID); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "nobody", "password", "bound", "late"} {
		u, err := f.SetUpConsoleIdentity(t.Context(), start.Add(InvitationTime), visitor, name, Identity{Issuer: "https://id.example.com", Subject: "user-2"})
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %+v, %v; want ErrNotFound", name, u, err)
		}
	}
	if u, err := f.ConsoleUser(t.Context(), ActorOperator, "bound"); err != nil || u.Identity != person || u.PasswordHash != "" || u.SetupUntil != 0 {
		t.Errorf("the operator is %+v, %v", u, err)
	}
}

func TestIdentity_ReplacesThePasswordAndThePasswordReplacesIt(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	before, session := f.user(ActorOperator, "tanaka")
	bound := f.bind("tanaka", person)
	if !bound.SecondFactor.Empty() || f.signedIn(session) {
		t.Error("the second factor or the session goes on")
	}
	if n, err := f.RecoveryCodes(t.Context(), &bound); n != 0 || err != nil {
		t.Errorf("%d recovery codes, %v", n, err)
	}
	if _, err := f.begin(before); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session with the password before: %v", err)
	}
	session, err := f.begin(bound)
	if err != nil || !f.signedIn(session) {
		t.Fatalf("a session of the person: %v", err)
	}
	other := bound
	other.Identity.Subject = "user-2"
	if _, err := f.begin(other); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session of another person: %v", err)
	}

	setup, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorOperator, "tanaka")
	if err != nil {
		t.Fatal(err)
	}
	if !f.signedIn(session) {
		t.Error("an invitation ends the session before it is used")
	}
	u, err := f.SetUpConsoleUser(t.Context(), start, visitor, setup, "$hash")
	if err != nil || u.Identity != (Identity{}) || f.signedIn(session) {
		t.Errorf("with a password, the operator is %+v, %v", u, err)
	}
	if _, err := f.begin(bound); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session of the person before: %v", err)
	}
}

// Nobody can sign in at a provider that the configuration does not name, so its operators do not count.
func TestIdentity_TheLastOperatorIsOneOfTheConfiguration(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.bind("old", Identity{Issuer: "https://old.example.com", Subject: "user-1"})
	f.bind("tanaka", person)
	configured := func(issuer string) bool { return issuer == person.Issuer }
	none := func(string) bool { return false }
	remove := func(name string, isProvider func(string) bool) (last bool, err error) {
		_, last, err = f.RemoveConsoleOperator(t.Context(), start, operator, name, false, isProvider)
		return last, err
	}
	if last, err := remove("tanaka", configured); !last || !errors.Is(err, ErrLastOperator) {
		t.Errorf("the last operator of the configuration: %t, %v", last, err)
	}
	if last, err := remove("old", configured); last || err != nil {
		t.Errorf("an operator who cannot sign in: %t, %v", last, err)
	}
	if last, err := remove("tanaka", none); last || err != nil {
		t.Errorf("an operator without a provider: %t, %v", last, err)
	}
}

func TestIdentity_EndsWithTheOperator(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.bind("other", Identity{Issuer: "https://id.example.com", Subject: "user-2"})
	bound := f.bind("tanaka", person)
	session, err := f.begin(bound)
	if err != nil {
		t.Fatal(err)
	}
	u, last, err := f.RemoveConsoleOperator(t.Context(), start, operator, "tanaka", false, nil)
	if err != nil || last || u.Identity != (Identity{}) || f.signedIn(session) {
		t.Errorf("%+v, %t, %v", u, last, err)
	}
	if _, err := f.begin(bound); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session of a removed operator: %v", err)
	}
	if _, _, err := f.RemoveConsoleOperator(t.Context(), start, operator, "other", false, nil); !errors.Is(err, ErrLastOperator) {
		t.Errorf("the last operator who can sign in: %v", err)
	}
	// An operator who was only invited has nothing to begin a session with.
	if _, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorOperator, "tanaka"); err != nil {
		t.Fatal(err)
	}
	invited, err := f.ConsoleUser(t.Context(), ActorOperator, "tanaka")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.begin(invited); !errors.Is(err, ErrInvalid) {
		t.Errorf("a session of an invited operator: %v", err)
	}
}
