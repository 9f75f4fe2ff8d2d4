package signin

import (
	"errors"
	"strings"
	"testing"
	"unsafe"
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

// The name in an open challenge is no part of the form, which can be large.
func TestPasskey_AnOfferKeepsTheNameOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	session := f.tanaka()
	user, _ := f.user(session)
	form := "laptop&" + strings.Repeat("x", 1<<16)
	if _, err := f.OfferPasskey(t.Context(), f.try, theSite(t), user, form[:6], secret(aPassword), session); err != nil {
		t.Fatal(err)
	}
	begun := ceremonyOf(f.offered.order.Front())
	if begun.name != "laptop" || unsafe.StringData(begun.name) == unsafe.StringData(form) {
		t.Errorf("the name %q is a part of the form", begun.name)
	}
}
