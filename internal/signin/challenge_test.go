package signin

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// Requests of one user can go to several servers in turn, whose clocks differ.
func TestPasskey_EachServerChecksAnswersToTheChallengesOfAll(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"clocks that agree": 0, "a clock ahead": time.Minute, "a clock behind": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := newFixture(t)
			other := openFixture(t, one.place)
			session := one.tanaka()
			other.advance(ahead)
			user, _ := other.user(session)
			a := one.authenticator()
			if err := other.AddPasskey(t.Context(), other.try, theSite(t), user, a.Create(one.offer(session)), session); err != nil {
				t.Fatalf("a passkey: %v", err)
			}
			answer := a.Get(one.ask())
			if _, err := other.present(answer); err != nil {
				t.Fatalf("a sign-in: %v", err)
			}
			for name, server := range map[string]*fixture{"the server that made the challenge": one, "the server that the answer came to": other} {
				if _, err := server.present(answer); !errors.Is(err, ErrPasskey) {
					t.Errorf("%s takes the answer again: %v", name, err)
				}
			}
			one.advance(2 * time.Minute) // a use at a server whose clock is ahead ends the challenges of this one
			if _, err := one.present(a.Get(one.ask())); err != nil {
				t.Errorf("a sign-in at one server: %v", err)
			}
		})
	}
}

// A challenge is good for what it was made for, in its time, with no other byte, and with its keystore.
func TestPasskey_AChallengeIsThatOfAServer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	session := f.tanaka()
	user, _ := f.user(session)
	for _, p := range []purpose{{ceremony: signInPasskey, site: theSite(t)}, {addPasskey, theSite(t), user, session}} {
		made, err := p.challenge(t.Context(), f.try, "laptop")
		if err != nil {
			t.Fatal(err)
		}
		opens := func(p purpose, at time.Duration, challenge string) bool {
			t.Helper()
			try := f.try
			try.Now = try.Now.Add(at)
			begun, text, err := p.open(t.Context(), try, challenge)
			if err != nil && !errors.Is(err, ErrPasskey) || err == nil && (begun != f.try.Now || text != "laptop") {
				t.Errorf("%d %q %v", begun, text, err)
			}
			return err == nil
		}
		text := base64.RawURLEncoding.EncodeToString(made)
		for at, want := range map[time.Duration]bool{
			0: true, challengeTime - time.Millisecond: true, challengeTime: false, -challengeTime + time.Millisecond: true, -challengeTime: false,
		} {
			if opens(p, at, text) != want {
				t.Errorf("%s after it was made, the challenge is good: %t", at, !want)
			}
		}
		site, err := NewSite("https://console.example.com:8443", "Speechgate")
		if err != nil {
			t.Fatal(err)
		}
		another := *user
		another.ID = "suzuki"
		for name, other := range map[string]purpose{
			"another ceremony": {"another", p.site, p.user, p.session},
			"another site":     {p.ceremony, site, p.user, p.session},
			"another user":     {p.ceremony, p.site, &another, p.session},
			"another session":  {p.ceremony, p.site, user, policy.NewSecret("another")},
		} {
			if opens(other, 0, text) {
				t.Errorf("the challenge is good for %s", name)
			}
		}
		if _, _, err := p.open(t.Context(), newFixture(t).try, text); !errors.Is(err, ErrPasskey) {
			t.Errorf("with another keystore: %v", err)
		}
		rapid.Check(t, func(t *rapid.T) {
			changed := append([]byte{}, made...)
			switch rapid.IntRange(0, 2).Draw(t, "change") {
			case 0:
				changed[rapid.IntRange(0, len(changed)-1).Draw(t, "at")] ^= rapid.ByteRange(1, 255).Draw(t, "bits")
			case 1:
				changed = changed[:rapid.IntRange(0, len(changed)-1).Draw(t, "length")]
			case 2:
				changed = append(changed, rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "more")...)
			}
			if opens(p, 0, base64.RawURLEncoding.EncodeToString(changed)) {
				t.Fatal("a changed challenge is good")
			}
		})
		for _, wrong := range []string{"", "AAAA", text + "=", text + "!", "=" + text} {
			if opens(p, 0, wrong) {
				t.Errorf("%q is good", wrong)
			}
		}
	}
}

// Nobody can know a challenge before it is made.
func TestPasskey_NoTwoChallengesAreEqual(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	seen := make(map[string]bool)
	for range challengeRule.Failures {
		options, err := f.AskPasskey(t.Context(), f.try, theSite(t))
		if err != nil {
			t.Fatal(err)
		}
		var asked struct {
			PublicKey struct{ Challenge string }
		}
		if err := json.Unmarshal(options, &asked); err != nil || asked.PublicKey.Challenge == "" || seen[asked.PublicKey.Challenge] {
			t.Fatalf("%v: %s", err, options)
		}
		seen[asked.PublicKey.Challenge] = true
	}
}
