package signin

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/passkeytest"
	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Each answer but the first is wrong in one thing.
func TestPasskey_AnAnswerMustBeRightInEverything(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(f *fixture, a *passkeytest.Authenticator)
		want   error
	}{
		"nothing":                       {func(*fixture, *passkeytest.Authenticator) {}, nil},
		"a synced passkey became one":   {func(_ *fixture, a *passkeytest.Authenticator) { a.Flags |= passkeytest.Synced }, ErrPasskey},
		"another origin":                {func(_ *fixture, a *passkeytest.Authenticator) { a.Origin = "https://evil.example" }, ErrPasskey},
		"a host below":                  {func(_ *fixture, a *passkeytest.Authenticator) { a.Origin = "https://evil.console.example.com" }, ErrPasskey},
		"another port":                  {func(_ *fixture, a *passkeytest.Authenticator) { a.Origin += ":8443" }, ErrPasskey},
		"without TLS":                   {func(_ *fixture, a *passkeytest.Authenticator) { a.Origin = "http://console.example.com" }, ErrPasskey},
		"another site":                  {func(_ *fixture, a *passkeytest.Authenticator) { a.Site = "example.com" }, ErrPasskey},
		"in a frame of another site":    {func(_ *fixture, a *passkeytest.Authenticator) { a.Framed = true }, ErrPasskey},
		"the user is not verified":      {func(_ *fixture, a *passkeytest.Authenticator) { a.Flags = passkeytest.Present }, ErrPasskey},
		"nobody is present":             {func(_ *fixture, a *passkeytest.Authenticator) { a.Flags = passkeytest.Verified }, ErrPasskey},
		"the count is the same":         {func(_ *fixture, a *passkeytest.Authenticator) { a.Count-- }, ErrPasskey},
		"the count is lower":            {func(_ *fixture, a *passkeytest.Authenticator) { a.Count = 1 }, ErrPasskey},
		"the count is gone":             {func(_ *fixture, a *passkeytest.Authenticator) { a.Count = 0 }, ErrPasskey},
		"the count jumps":               {func(_ *fixture, a *passkeytest.Authenticator) { a.Count = 1 << 31 }, nil},
		"a challenge of the client":     {func(_ *fixture, a *passkeytest.Authenticator) { a.Challenge = strings.Repeat("A", 43) }, ErrPasskey},
		"an answer of another ceremony": {func(_ *fixture, a *passkeytest.Authenticator) { a.Ceremony = "webauthn.create" }, ErrPasskey},
		"no handle":                     {func(_ *fixture, a *passkeytest.Authenticator) { a.Handle = nil }, ErrPasskey},
		"the handle of another user": {func(f *fixture, a *passkeytest.Authenticator) {
			_, session := f.holder("Other")
			a.Handle = f.addPasskey(session).Handle
		}, ErrPasskey},
		"the passkey of another user": {func(f *fixture, a *passkeytest.Authenticator) {
			_, session := f.holder("Other")
			other := f.addPasskey(session)
			a.ID, a.Handle = other.ID, other.Handle
		}, ErrPasskey},
		"an unknown passkey": {func(f *fixture, a *passkeytest.Authenticator) { a.ID = f.authenticator().ID }, ErrPasskey},
		"another key": {func(f *fixture, a *passkeytest.Authenticator) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				f.t.Fatal(err)
			}
			a.Key = key
		}, ErrPasskey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			a := f.addPasskey(f.tanaka())
			if _, err := f.present(a.Get(f.ask())); err != nil {
				t.Fatal(err)
			}
			c.change(f, a)
			if _, err := f.present(a.Get(f.ask())); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// rsaKey returns a public key of RSA as a COSE_Key, with a modulus of so many bytes.
func rsaKey(modulus int) []byte {
	key := binary.BigEndian.AppendUint16([]byte{0xa4, 1, 3, 3, 0x39, 1, 0, 0x20, 0x59}, uint16(modulus))
	return slices.Concat(key, bytes.Repeat([]byte{0xff}, modulus), []byte{0x21, 0x43, 1, 0, 1})
}

// A new passkey, too, must be for this site and this user.
func TestPasskey_ANewOneMustBeRightInEverything(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(a *passkeytest.Authenticator)
		want   error
	}{
		"nothing":                              {func(*passkeytest.Authenticator) {}, nil},
		"a synced passkey":                     {func(a *passkeytest.Authenticator) { a.Flags |= passkeytest.Synced }, nil},
		"an authenticator that does not count": {func(a *passkeytest.Authenticator) { a.Count = 0 }, nil},
		"another origin":                       {func(a *passkeytest.Authenticator) { a.Origin = "https://evil.example" }, ErrPasskey},
		"another site":                         {func(a *passkeytest.Authenticator) { a.Site = "example.com" }, ErrPasskey},
		"in a frame of another site":           {func(a *passkeytest.Authenticator) { a.Framed = true }, ErrPasskey},
		"the user is not verified":             {func(a *passkeytest.Authenticator) { a.Flags = passkeytest.Present }, ErrPasskey},
		"a challenge of the client":            {func(a *passkeytest.Authenticator) { a.Challenge = strings.Repeat("A", 43) }, ErrPasskey},
		"an answer of another ceremony":        {func(a *passkeytest.Authenticator) { a.Ceremony = "webauthn.get" }, ErrPasskey},
		"an RSA key of 8192 bits":              {func(a *passkeytest.Authenticator) { a.PublicKey = rsaKey(1024) }, nil},
		"an RSA key of 16384 bits":             {func(a *passkeytest.Authenticator) { a.PublicKey = rsaKey(2048) }, ErrPasskey},
		"a credential ID that is too long":     {func(a *passkeytest.Authenticator) { a.ID = make([]byte, 1024) }, ErrPasskey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			session := f.tanaka()
			user, _ := f.user(session)
			a := f.authenticator()
			c.change(a)
			err := f.AddPasskey(t.Context(), f.try, theSite(t), user, a.Create(f.offer(session)), session)
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if c.want != nil || len(a.PublicKey) > 0 {
				return
			}
			for range 2 {
				if _, err := f.present(a.Get(f.ask())); err != nil {
					t.Errorf("the passkey does not sign in: %v", err)
				}
			}
		})
	}
}

// No bytes that anyone sends sign in, and none end the process, also if they answer an open
// challenge and name a passkey that exists.
func FuzzPasskeyAnswer(f *testing.F) {
	site := theSite(f)
	place := storetest.New(f)
	cfg := place.Config()
	cfg.Clock = func() policy.Time { return start }
	store, err := keystore.Open(f.Context(), cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = store.Close() })
	setup, _, err := store.InviteConsoleUser(f.Context(), start, operator, keystore.ActorOperator, "tanaka")
	if err != nil {
		f.Fatal(err)
	}
	user, err := store.SetUpConsoleUser(f.Context(), start, keystore.Actor{}, setup, "$hash")
	if err != nil {
		f.Fatal(err)
	}
	if user.Handle, err = store.GiveConsoleHandle(f.Context(), &user); err != nil {
		f.Fatal(err)
	}
	open := Try{Store: store, Now: start}
	// The answers of the corpus are to these challenges.
	db := place.Database(f)
	if _, err := db.ExecContext(f.Context(), `INSERT INTO meta (name, value) VALUES ('console_key', 'fixed')`); err != nil {
		f.Fatal(err)
	}
	options := func(p purpose, text string) []byte {
		body := append(binary.BigEndian.AppendUint64(nil, uint64(start)), make([]byte, nonceLen)...)
		body = append(body, text...)
		code, err := p.code(f.Context(), open, body)
		if err != nil {
			f.Fatal(err)
		}
		return fmt.Appendf(nil, `{"publicKey":{"challenge":%q}}`, base64.RawURLEncoding.EncodeToString(append(code, body...)))
	}
	ask := options(purpose{ceremony: signInPasskey, site: site}, "")
	a := passkeytest.New(f, site.origin, site.host)
	made := a.Create(options(purpose{addPasskey, site, &user, policy.Secret{}}, "laptop"))
	if err := New().AddPasskey(f.Context(), open, site, &user, made, policy.Secret{}); err != nil {
		f.Fatal(err)
	}
	f.Add(made)
	a.Handle = user.Handle
	a.Site = "evil.example"
	user.PasswordHash = "$another hash" // no further passkey is written
	f.Add(a.Get(ask))
	f.Add(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"","signature":"","userHandle":""}}`)
	f.Fuzz(func(t *testing.T, answer string) {
		s := New()
		if _, err := s.SignInWithPasskey(t.Context(), open, site, answer, policy.Secret{}); !errors.Is(err, ErrPasskey) {
			t.Errorf("a sign-in: %v", err)
		}
		if err := s.AddPasskey(t.Context(), open, site, &user, answer, policy.Secret{}); err != nil && !errors.Is(err, ErrPasskey) && !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("a passkey: %v", err)
		}
	})
}
