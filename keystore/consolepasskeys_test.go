package keystore

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// passkey gives a user a passkey, and returns the user and the passkey as they are stored.
func (f fixture) passkey(u *ConsoleUser, id string, count uint32) (ConsoleUser, Passkey) {
	f.t.Helper()
	if _, err := f.GiveConsoleHandle(f.t.Context(), u); err != nil {
		f.t.Fatal(err)
	}
	p := Passkey{ID: []byte(id), Site: "console.example.com", Name: "laptop", PublicKey: []byte("key"), SignCount: count, Synced: true}
	if err := f.AddPasskey(f.t.Context(), start, visitor, u, &p, policy.Secret{}); err != nil {
		f.t.Fatal(err)
	}
	user, stored, err := f.FindPasskey(f.t.Context(), p.ID)
	if err != nil {
		f.t.Fatal(err)
	}
	return user, stored
}

func TestPasskey_IsStoredWholeWithItsUser(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	u, session := f.user(ActorAccount, f.account().ID)
	got, p := f.passkey(&u, "one", 7)
	if got.ID != u.ID || got.Passkeys != 1 || len(got.Handle) != handleLen || f.signedIn(session) {
		t.Errorf("the user is %+v, signed in %t", got, f.signedIn(session))
	}
	if p.Name != "laptop" || p.Site != "console.example.com" || string(p.PublicKey) != "key" || p.SignCount != 7 || !p.Synced || p.AddedAt != start || !p.UsedAt.IsZero() {
		t.Errorf("the passkey is %+v", p)
	}
	if again, err := f.GiveConsoleHandle(t.Context(), &u); err != nil || !bytes.Equal(again, got.Handle) {
		t.Errorf("the handle has changed, %v", err)
	}
	if _, err := f.GiveConsoleHandle(t.Context(), &ConsoleUser{Kind: ActorOperator, ID: "nobody"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a handle of nobody: %v", err)
	}
	if _, _, err := f.FindPasskey(t.Context(), []byte("two")); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown passkey: %v", err)
	}
}

// A sign-in that read the passkey before it was used, removed, or its user changed, begins no
// session.
func TestPasskey_OneThatWasChangedMeanwhileBeginsNoSession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		count  uint32 // that is stored
		change func(f fixture, u *ConsoleUser, p *Passkey)
		uses   map[uint32]bool // by the count of the answer; whether it begins a session
	}{
		"nothing":                          {7, func(fixture, *ConsoleUser, *Passkey) {}, map[uint32]bool{0: false, 6: false, 7: false, 8: true}},
		"an authenticator without a count": {0, func(fixture, *ConsoleUser, *Passkey) {}, map[uint32]bool{0: true}},
		"an answer was used meanwhile": {7, func(f fixture, u *ConsoleUser, p *Passkey) {
			if _, err := f.BeginPasskeySession(f.t.Context(), start, visitor, u, p, start, 8, start.Add(time.Hour), policy.Secret{}); err != nil {
				f.t.Fatal(err)
			}
		}, map[uint32]bool{8: false}},
		"an answer without a count was used meanwhile": {0, func(f fixture, u *ConsoleUser, p *Passkey) {
			// By a server whose clock is behind that of the one that made the challenge.
			if _, err := f.BeginPasskeySession(f.t.Context(), start.Add(-time.Minute), visitor, u, p, start, 0, start.Add(time.Hour), policy.Secret{}); err != nil {
				f.t.Fatal(err)
			}
		}, map[uint32]bool{0: false}},
		"an earlier answer was used": {7, func(f fixture, u *ConsoleUser, p *Passkey) {
			if _, err := f.BeginPasskeySession(f.t.Context(), start.Add(-time.Second), visitor, u, p, start.Add(-time.Minute), 7, start.Add(time.Hour), policy.Secret{}); err == nil {
				f.t.Error("the count has not grown")
			}
			if _, err := f.BeginPasskeySession(f.t.Context(), start, visitor, u, p, start.Add(-time.Minute), 8, start.Add(time.Hour), policy.Secret{}); err != nil {
				f.t.Fatal(err)
			}
		}, map[uint32]bool{7: false, 8: false}},
		"the passkey was removed": {7, func(f fixture, u *ConsoleUser, p *Passkey) {
			if err := f.RemovePasskey(f.t.Context(), start, visitor, u, p.ID, policy.Secret{}); err != nil {
				f.t.Fatal(err)
			}
		}, map[uint32]bool{8: false}},
		"the user was set up again": {7, func(f fixture, u *ConsoleUser, _ *Passkey) {
			setup, _, err := f.InviteConsoleUser(f.t.Context(), start, operator, u.Kind, u.ID)
			if err != nil {
				f.t.Fatal(err)
			}
			if _, err := f.SetUpConsoleUser(f.t.Context(), start, visitor, setup, u.PasswordHash); err != nil { // also with the same password
				f.t.Fatal(err)
			}
		}, map[uint32]bool{8: false}},
		"the account was suspended": {7, func(f fixture, u *ConsoleUser, _ *Passkey) {
			if _, err := f.SuspendAccount(f.t.Context(), start, operator, u.ID, ""); err != nil {
				f.t.Fatal(err)
			}
		}, map[uint32]bool{8: false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openStore(t, newPath(t))
			u, _ := f.user(ActorAccount, f.account().ID)
			u, p := f.passkey(&u, "one", c.count)
			c.change(f, &u, &p)
			for _, count := range []uint32{0, 6, 7, 8} {
				want, tried := c.uses[count]
				if !tried {
					continue
				}
				_, err := f.BeginPasskeySession(t.Context(), start.Add(time.Minute), visitor, &u, &p, start, count, start.Add(time.Hour), policy.Secret{})
				if want != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
					t.Errorf("a use with the count %d: %v, want a session: %t", count, err, want)
				}
			}
		})
	}
}

func TestPasskey_ChangesNeedTheUserAsItWasRead(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	u, _ := f.user(ActorAccount, f.account().ID)
	before := u
	_, p := f.passkey(&u, "one", 7)
	if err := f.ChangeConsolePassword(t.Context(), start, visitor, &u, "$new", policy.Secret{}); err != nil {
		t.Fatal(err)
	}
	other := Passkey{ID: []byte("two"), Name: "phone", PublicKey: []byte("key")}
	if err := f.AddPasskey(t.Context(), start, visitor, &before, &other, policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("adding with the password of before: %v", err)
	}
	if err := f.RemovePasskey(t.Context(), start, visitor, &before, p.ID, policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("removing with the password of before: %v", err)
	}
	if all, err := f.Passkeys(t.Context(), &u); err != nil || len(all) != 1 {
		t.Errorf("%d passkeys, %v", len(all), err)
	}
}

// An operator who signs in at a provider has no passkeys from before, and gets none.
func TestPasskey_EndsWithThePassword(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	u, _ := f.user(ActorOperator, "tanaka")
	_, p := f.passkey(&u, "one", 7)
	if _, _, err := f.InviteConsoleUser(t.Context(), start, operator, ActorOperator, "tanaka"); err != nil {
		t.Fatal(err)
	}
	bound, err := f.SetUpConsoleIdentity(t.Context(), start, visitor, "tanaka", Identity{Issuer: "https://idp.example.com", Subject: "1"})
	if err != nil || bound.Passkeys != 0 {
		t.Fatalf("%d passkeys, %v", bound.Passkeys, err)
	}
	if _, _, err := f.FindPasskey(t.Context(), p.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("the passkey: %v", err)
	}
	if err := f.AddPasskey(t.Context(), start, visitor, &bound, &p, policy.Secret{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("another passkey: %v", err)
	}
}
