package signin

import (
	"context"
	"errors"
	"testing"

	"github.com/speechgate/speechgate/internal/openid"
	"github.com/speechgate/speechgate/policy"
)

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
