package signin

import (
	"context"
	"errors"
	"testing"

	"github.com/speechgate/speechgate/internal/openid"
	"github.com/speechgate/speechgate/policy"
)

// A page can send its readers' browsers to the console with answers that belong to no sign-in, and with
// links that no one was invited with. These are no tries.
func TestSignInAt_NoPageUsesUpTheTriesOfItsReaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	foreign := func(context.Context) (openid.Person, error) { return openid.Person{}, openid.ErrForeign }
	for range 2 * addressRule.Failures {
		if err := f.signInAt(foreign); !errors.Is(err, openid.ErrForeign) {
			t.Fatalf("an answer of no sign-in: %v", err)
		}
		if _, err := f.Invited(t.Context(), f.try, secret("sgi_unknown")); !errors.Is(err, ErrNoSetup) {
			t.Fatalf("an unknown link: %v", err)
		}
	}
	refused := func(context.Context) (openid.Person, error) {
		return openid.Person{}, &openid.AnswerError{Cause: errors.New("it has neither a code nor an error")}
	}
	for range addressRule.Failures {
		if _, waits := errors.AsType[*WaitError](f.signInAt(refused)); waits {
			t.Fatal("a try waits too early")
		}
	}
	if _, waits := errors.AsType[*WaitError](f.signInAt(refused)); !waits {
		t.Error("answers of the provider that are refused do not count")
	}
}

// signInAt returns the error of a sign-in at a provider.
func (f *fixture) signInAt(finish func(context.Context) (openid.Person, error)) error {
	_, err := f.SignInAt(f.t.Context(), f.try, finish, policy.Secret{})
	return err
}

// A client that leaves before the provider answers has tried. A fault of the provider is no try.
func TestSignInAt_ATryCountsIfTheClientLeaves(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	away := func(ctx context.Context) (openid.Person, error) {
		return openid.Person{}, &openid.AwayError{Cause: errors.Join(errors.New("no answer"), ctx.Err())}
	}
	try := func(ctx context.Context) (waits bool) {
		_, err := f.SignInAt(ctx, f.try, away, policy.Secret{})
		_, waits = errors.AsType[*WaitError](err)
		return waits
	}
	for range 2 * addressRule.Failures {
		if try(t.Context()) {
			t.Fatal("a fault of the provider counts")
		}
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	for range addressRule.Failures {
		if try(left) {
			t.Fatal("a try waits too early")
		}
	}
	if !try(t.Context()) {
		t.Error("the tries of a client that leaves do not count")
	}
}
