package signin

import (
	"errors"
	"testing"
)

func TestPasskey_OpenChallengesAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.asked = newCeremonies(2)
	a := f.addPasskey(f.tanaka())
	one, two, three := f.ask(), f.ask(), f.ask()
	if n := len(f.asked.byChallenge); n != 2 || f.asked.order.Len() != 2 {
		t.Errorf("%d challenges are open, want 2", n)
	}
	if _, err := f.present(a.Get(one)); !errors.Is(err, ErrPasskey) {
		t.Errorf("the oldest challenge: %v", err)
	}
	for _, options := range [][]byte{two, three} {
		if _, err := f.present(a.Get(options)); err != nil {
			t.Error(err)
		}
	}
	f.ask()
	f.advance(ceremonyTime)
	f.ask()
	if n := len(f.asked.byChallenge); n != 1 || f.asked.order.Len() != 1 {
		t.Errorf("%d challenges are open, want the new one", n)
	}
}
