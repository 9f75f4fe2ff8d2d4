package signin

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/speechgate/speechgate/internal/openid"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// StrangerError says that a provider has vouched for a person who may not sign in.
type StrangerError struct {
	Name string // the operator's name that the provider has told
}

// Error returns a sentence for the log.
func (e *StrangerError) Error() string {
	return "no operator of the name that the provider tells may sign in there"
}

// SignInAt begins a session for the operator whom an OpenID Connect provider has vouched for, as
// finish says. The first sign-in needs an open invitation, and binds the operator to the person
// at the provider; every later one must be by the same person. The session with the token old
// ends, if there is one. The error is a StrangerError, ErrBusy, a WaitError, an error of finish,
// or an error of the keystore.
func (s *Service) SignInAt(ctx context.Context, t Try, finish func(context.Context) (openid.Person, error), old policy.Secret) (token policy.Secret, err error) {
	network := policy.NetworkOf(t.From)
	if seconds := s.addresses.Wait(network, t.Now); seconds > 0 {
		return policy.Secret{}, &WaitError{seconds}
	}
	person, err := finish(ctx)
	if err != nil {
		if isTry(ctx, err) {
			s.addresses.Fail(network, t.Now)
		}
		return policy.Secret{}, err
	}
	user, err := operatorOf(ctx, t, &person)
	if stranger, ok := errors.AsType[*StrangerError](err); ok {
		s.addresses.Fail(network, t.Now)
		s.failAt(ctx, t, &user, stranger.Name)
	}
	if err != nil {
		return policy.Secret{}, err
	}
	token, err = t.Store.BeginConsoleSession(ctx, t.Now, t.actor(), &user, true, t.Now.Add(Lifetime), old)
	if errors.Is(err, keystore.ErrInvalid) { // the user was changed just now
		err = &StrangerError{person.Name}
	}
	return token, err
}

// isTry reports whether a sign-in at a provider that has ended with err counts as a failed try. An
// answer to a sign-in that this browser has not begun does not: any page can send its readers'
// browsers here with one, nothing was asked of the provider, and nobody can guess the state.
func isTry(ctx context.Context, err error) bool {
	switch _, away := errors.AsType[*openid.AwayError](err); {
	case errors.Is(err, openid.ErrBusy), errors.Is(err, openid.ErrForeign):
		return false
	case away:
		// A client that leaves before the provider answers could try without a limit otherwise.
		return errors.Is(ctx.Err(), context.Canceled)
	}
	return true
}

// operatorOf returns the operator that a person is. If the error is a StrangerError, user is the
// operator whose name the person has, if there is one.
func operatorOf(ctx context.Context, t Try, person *openid.Person) (user keystore.ConsoleUser, err error) {
	identity := keystore.Identity{Issuer: person.Issuer, Subject: person.Subject}
	user, err = t.Store.ConsoleUser(ctx, keystore.ActorOperator, person.Name)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return keystore.ConsoleUser{}, &StrangerError{person.Name}
	case err != nil:
		return user, err
	case user.Identity == identity && user.Reached():
		return user, nil
	}
	bound, err := t.Store.SetUpConsoleIdentity(ctx, t.Now, t.actor(), person.Name, identity)
	if errors.Is(err, keystore.ErrNotFound) { // no invitation is open
		return user, &StrangerError{person.Name}
	}
	return bound, err
}

// failAt notes a failed sign-in at a provider, as fail does.
func (s *Service) failAt(ctx context.Context, t Try, user *keystore.ConsoleUser, name string) {
	nameKey := sha256.Sum256([]byte("provider\x00" + name))
	first := s.names.Count(nameKey, t.Now) == 0
	s.names.Fail(nameKey, t.Now)
	if user.ID == "" || !first {
		return
	}
	detail := "the provider has vouched for this name, and no invitation is open; more failures within a minute have no entry"
	if user.Identity != (keystore.Identity{}) {
		detail = "the provider has vouched for this name, and for another person; more failures within a minute have no entry"
	}
	note(ctx, t, user, detail)
}
