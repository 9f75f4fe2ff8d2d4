package issuance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/storetest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const start policy.Time = 1_900_000_000_000 // 2030-03-17T17:46:40Z

var client = netip.MustParseAddr("192.0.2.7")

var operator = keystore.Actor{Kind: keystore.ActorOperator, ID: "test"}

// fixture is a keystore with an account, and a key of the account that may issue keys.
type fixture struct {
	*keystore.Store
	t        testing.TB
	account  policy.Account
	password policy.Secret
	issuer   policy.Key
	secret   policy.Secret
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	cfg := storetest.New(t).Config()
	cfg.Clock = func() policy.Time { return start }
	store, err := keystore.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	f := &fixture{Store: store, t: t}
	if f.account, f.password, err = store.CreateAccount(t.Context(), start, operator, "Test"); err != nil {
		t.Fatal(err)
	}
	f.issuer, f.secret = f.key(keystore.NewKey{Issuable: true, Expires: policy.ExpiresAt(start.Add(time.Hour))})
	return f
}

func (f *fixture) key(k keystore.NewKey) (policy.Key, policy.Secret) {
	f.t.Helper()
	k.AccountID, k.Origin = f.account.ID, policy.OriginConsole
	key, secret, err := f.IssueKey(f.t.Context(), start, operator, k)
	if err != nil {
		f.t.Fatal(err)
	}
	return key, secret
}

var settings = Settings{DefaultLifetime: 30 * time.Second, Zone: time.UTC}

func (f *fixture) byKey(epi, ipa string) *KeyRequest {
	return &KeyRequest{key: f.secret, epi: epi, ipa: ipa}
}

func (f *fixture) byService(epi, ipa string) *KeyRequest {
	return &KeyRequest{serviceID: f.account.ServiceID, password: f.password, epi: epi, ipa: ipa}
}

func TestIssue_LifetimesToTheMillisecond(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, tt := range map[string]struct {
		settings Settings
		call     *KeyRequest
		now      policy.Time
		want     policy.Time // 0 if refused
	}{
		"the default":                              {settings, f.byService("", ""), start, start.Add(30 * time.Second)},
		"what was asked":                           {settings, f.byService("1", ""), start, start + 1},
		"the longest":                              {Settings{DefaultLifetime: time.Second, MaxLifetime: time.Minute, Zone: time.UTC, FreeChildren: false}, f.byService("60000", ""), start, start.Add(time.Minute)},
		"a millisecond longer than that":           {Settings{DefaultLifetime: time.Second, MaxLifetime: time.Minute, Zone: time.UTC, FreeChildren: false}, f.byService("60001", ""), start, 0},
		"a date longer than that":                  {Settings{DefaultLifetime: time.Second, MaxLifetime: time.Minute, Zone: time.UTC, FreeChildren: false}, f.byService("2031/01/01", ""), start, 0},
		"the issuer's own":                         {settings, f.byKey("3600000", ""), start, start.Add(time.Hour)},
		"a millisecond beyond the issuer's":        {settings, f.byKey("3600001", ""), start, 0},
		"beyond the issuer's, which does not bind": {Settings{DefaultLifetime: time.Second, MaxLifetime: 0, Zone: time.UTC, FreeChildren: true}, f.byKey("3600001", ""), start, start + 3600001},
		"the default, shorter than the issuer's":   {settings, f.byKey("", ""), start, start.Add(30 * time.Second)},
		"the default, cut to the issuer's":         {settings, f.byKey("", ""), start.Add(time.Hour - time.Second), start.Add(time.Hour)},
		"the default, as long as the issuer's":     {settings, f.byKey("", ""), start.Add(time.Hour - 30*time.Second), start.Add(time.Hour)},
		"in the last millisecond of the issuer":    {settings, f.byKey("1", ""), start.Add(time.Hour) - 1, start.Add(time.Hour)},
		"after the issuer's end":                   {settings, f.byKey("1", ""), start.Add(time.Hour), 0},
		"in the service's own zone":                {Settings{DefaultLifetime: time.Second, MaxLifetime: 0, Zone: time.FixedZone("", 9*3600), FreeChildren: false}, f.byService("2031/01/01", ""), start, policy.At(time.Date(2031, 1, 1, 15, 0, 0, 0, time.UTC))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := New(tt.settings).Issue(t.Context(), tt.now, client, false, f, tt.call)
			if tt.want == 0 {
				if got.Status == http.StatusOK || got.Text == "" || !got.Secret.Empty() {
					t.Errorf("got %+v, want a refusal", got)
				}
				return
			}
			if at, _ := got.Key.Expires.Time(); got.Status != http.StatusOK || at != tt.want || got.Key.CreatedAt != tt.now {
				t.Errorf("%d %s: expires at %s, want %s", got.Status, got.Text, at, tt.want)
			}
		})
	}
}

// between is a keystore that changes after the caller is authenticated and before the
// key is issued.
type between struct {
	*keystore.Store
	then func()
}

func (b between) IssueKey(ctx context.Context, now policy.Time, by keystore.Actor, k keystore.NewKey) (policy.Key, policy.Secret, error) {
	b.then()
	return b.Store.IssueKey(ctx, now, by, k)
}

func TestIssue_NoKeyForACallerWhoseCredentialsHaveJustEnded(t *testing.T) {
	t.Parallel()
	revoke := func(f *fixture) error {
		_, err := f.RevokeKey(f.t.Context(), start, operator, f.issuer.ID, "")
		return err
	}
	closeAccount := func(f *fixture) error {
		_, err := f.CloseAccount(f.t.Context(), start, operator, f.account.ID)
		return err
	}
	rotate := func(f *fixture) error {
		_, _, err := f.RotateAccount(f.t.Context(), start, operator, f.account.ID, 0)
		return err
	}
	byKey := func(f *fixture) *KeyRequest { return f.byKey("1s", "") }
	byService := func(f *fixture) *KeyRequest { return f.byService("1s", "") }
	for name, tt := range map[string]struct {
		end    func(f *fixture) error
		call   func(f *fixture) *KeyRequest
		reason policy.Reason
		detail string
	}{
		"the key":                         {revoke, byKey, policy.KeyRevoked, "cannot issue keys: it has no issuance right, or is no longer active"},
		"the account of the key":          {closeAccount, byKey, policy.AccountClosed, "was closed at"},
		"the account of the service ID":   {closeAccount, byService, policy.AccountClosed, "was closed at"},
		"the service ID, by its rotation": {rotate, byService, policy.KeyRevoked, "has another service ID now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			store := between{f.Store, func() {
				if err := tt.end(f); err != nil {
					t.Error(err)
				}
			}}
			got := New(settings).Issue(t.Context(), start, client, false, store, tt.call(f))
			if got.Status != http.StatusUnauthorized || got.Reason != tt.reason || !strings.Contains(got.Detail, tt.detail) || !got.Secret.Empty() {
				t.Errorf("got %+v", got)
			}
			if !strings.HasPrefix(got.Text, "The credentials are not valid") || !got.Challenge || got.AccountID != f.account.ID {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// failing is a keystore that finds every caller, and returns an error later.
type failing struct {
	*keystore.Store
	counting, issuing error
}

func (s failing) LiveKeys(ctx context.Context, accountID string, now policy.Time, most int) (int, error) {
	if s.counting != nil {
		return 0, s.counting
	}
	return s.Store.LiveKeys(ctx, accountID, now, most)
}

func (s failing) IssueKey(ctx context.Context, now policy.Time, by keystore.Actor, k keystore.NewKey) (policy.Key, policy.Secret, error) {
	if s.issuing != nil {
		return policy.Key{}, policy.Secret{}, s.issuing
	}
	return s.Store.IssueKey(ctx, now, by, k)
}

func TestR17_AStoreErrorIsNeverABadCredential(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	limited := settings
	limited.MaxLiveKeys = 10
	for name, store := range map[string]Store{
		"finding the caller":              broken{f.Store},
		"counting the live keys":          failing{f.Store, keystore.ErrUnavailable, nil},
		"writing the key":                 failing{f.Store, nil, fmt.Errorf("%w: %w", keystore.ErrUnavailable, errDisk)},
		"writing the key to a closed one": failing{f.Store, nil, keystore.ErrClosed},
		"an error of no kind":             failing{f.Store, nil, errDisk},
	} {
		for how, call := range map[string]*KeyRequest{"key": f.byKey("1s", ""), "service": f.byService("1s", "")} {
			got := New(limited).Issue(t.Context(), start, client, false, store, call)
			if got.Status != http.StatusServiceUnavailable || got.Reason != policy.StoreUnavailable || got.RetryAfter != 5 || got.Challenge ||
				got.Text != "No key can be issued at the moment: try again." || got.Detail == "" || !got.Secret.Empty() {
				t.Errorf("%s, by %s: %+v", name, how, got)
			}
		}
	}
}

var errDisk = errors.New("disk on fire")

// broken is a keystore that returns an error.
type broken struct{ *keystore.Store }

func (broken) FindKey(context.Context, policy.Secret) (keystore.Record, error) {
	return keystore.Record{}, errDisk
}

func (broken) FindService(context.Context, policy.Time, string, policy.Secret) (policy.Account, error) {
	return policy.Account{}, errDisk
}

func TestIssue_AStoreErrorIsNotCountedAsAFailingRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	authority := New(settings)
	for range 2 * failuresAllowed {
		for _, call := range []*KeyRequest{f.byKey("", ""), f.byService("", "")} {
			got := authority.Issue(t.Context(), start, client, false, broken{f.Store}, call)
			if got.Status != http.StatusServiceUnavailable || got.RetryAfter == 0 || got.Reason != policy.StoreUnavailable || strings.Contains(got.Text, "fire") {
				t.Fatalf("got %+v", got)
			}
		}
	}
	if got := authority.Issue(t.Context(), start, client, false, f, &KeyRequest{key: policy.NewSecret("wrong")}); got.Status != http.StatusUnauthorized {
		t.Errorf("faults count as the caller's failures: %+v", got)
	}
}

func TestIssue_AChildKeyHasTheAddressesThatItAsksForOrItsIssuers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	block, err := policy.ParseAddrSet("192.0.2.0/24")
	if err != nil {
		t.Fatal(err)
	}
	_, bound := f.key(keystore.NewKey{Issuable: true, Expires: policy.Never(), Allow: block})
	free := settings
	free.FreeChildren = true
	for _, tt := range []struct {
		settings Settings
		issuer   policy.Secret
		ipa      string
		status   int
		want     string // the addresses; "any" for any address
	}{
		{settings, bound, "", http.StatusOK, "192.0.2.0/24"},
		{settings, bound, "192.0.2.9", http.StatusOK, "192.0.2.9"},
		{settings, bound, "198.51.100.9", http.StatusForbidden, ""},
		{settings, f.secret, "", http.StatusOK, "any"},
		{settings, f.secret, "198.51.100.9", http.StatusOK, "198.51.100.9"},
		{free, bound, "", http.StatusOK, "any"},
		{free, bound, "198.51.100.9", http.StatusOK, "198.51.100.9"},
	} {
		got := New(tt.settings).Issue(t.Context(), start, client, false, f, &KeyRequest{key: tt.issuer, ipa: tt.ipa})
		if got.Status != tt.status || got.Status == http.StatusOK && got.Key.Allow.String() != tt.want {
			t.Errorf("ipa %q: %d %s, a key from %s; want %d, from %q", tt.ipa, got.Status, got.Text, got.Key.Allow, tt.status, tt.want)
		}
	}
}

func TestShortened(t *testing.T) {
	t.Parallel()
	whole := strings.Repeat("x", 400)
	for text, want := range map[string]string{
		whole:                                 whole,
		whole + "y":                           whole + "...",
		strings.Repeat("x", 399) + "é beyond": strings.Repeat("x", 399) + "...",
	} {
		if got := shortened(text); got != want {
			t.Errorf("%d bytes are cut to %q", len(text), got)
		}
	}
}

// A child key never exceeds its issuer, whatever the request asks for.
func TestIssue_AChildKeyNeverExceedsItsIssuer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	lists := []string{"", "192.0.2.0/24", "192.0.2.7", "192.0.2.0/24,2001:db8::/32", "192.0.0.0/16", "0.0.0.0/0", "192.0.2.5-192.0.2.9", "nonsense", " ", ","}
	lifetimes := []string{"", "1", "1m", "1h", "2h", "1w", "2030-03-17", "9999/12/31", "nonsense", "0"}
	rapid.Check(t, func(t *rapid.T) {
		allow, err := policy.ParseAddrSet(rapid.SampledFrom(lists[:7]).Draw(t, "issuer's addresses"))
		if err != nil {
			t.Fatal(err)
		}
		k := keystore.NewKey{Issuable: true, Allow: allow, Expires: policy.Never()}
		if rapid.Bool().Draw(t, "issuer ends") {
			k.Expires = policy.ExpiresAt(start.Add(time.Duration(rapid.Int64Range(1, 7200).Draw(t, "in seconds")) * time.Second))
		}
		issuer, secret := f.key(k)
		now := start.Add(time.Duration(rapid.Int64Range(0, 7200).Draw(t, "now")) * time.Second)
		call := &KeyRequest{key: secret, epi: rapid.SampledFrom(lifetimes).Draw(t, "epi"), ipa: rapid.SampledFrom(lists).Draw(t, "ipa")}
		got := New(settings).Issue(t.Context(), now, client, false, f, call)
		if got.Status != http.StatusOK {
			if !got.Secret.Empty() || got.Text == "" || got.Reason.OK() {
				t.Fatalf("a refusal with a key, or without a word: %+v", got)
			}
			return
		}
		if issuer.Expires.Passed(now) || got.Key.Issuable || got.Key.IssuerID != issuer.ID || got.Key.AccountID != issuer.AccountID || got.Key.Expires.Passed(now) {
			t.Fatalf("issued %+v by %+v at %s", got.Key, issuer, now)
		}
		if err := policy.CheckChild(&issuer, got.Key.Expires, got.Key.Allow); err != nil {
			t.Fatalf("the child is more than its issuer: %v", err)
		}
	})
}

func TestIssue_LimitsAddressesAndErrorTexts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	authority := New(settings)
	if got := authority.Issue(t.Context(), start, client, false, f, f.byService("", strings.Repeat("192.0.2.1 ", maxAddresses))); got.Status != http.StatusOK {
		t.Errorf("as many addresses as there may be: %+v", got)
	}
	for _, ipa := range []string{strings.Repeat("192.0.2.1 ", maxAddresses+1), strings.Repeat("\x00", 5000), strings.Repeat("é", 5000)} {
		if got := authority.Issue(t.Context(), start, client, false, f, f.byService("", ipa)); got.Status != http.StatusBadRequest || len(got.Text) > 500 || !utf8.ValidString(got.Text) {
			t.Errorf("%d bytes of ipa: %d with %d bytes of text", len(ipa), got.Status, len(got.Text))
		}
	}
	// A password with characters that quoting changes is not shown either.
	password := `hunter2pass word"q\x`
	a, err := f.ImportAccount(t.Context(), start, operator, "Imported", "sid", policy.NewSecret(password))
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []*KeyRequest{{epi: password}, {ipa: password}} {
		call.serviceID, call.password = a.ServiceID, policy.NewSecret(password)
		if got := authority.Issue(t.Context(), start, client, false, f, call); got.Status != http.StatusBadRequest || strings.Contains(got.Text+got.Detail, "hunter2") {
			t.Errorf("the text tells the password: %+v", got)
		}
	}
	// Another caller's key is not shown either.
	for _, call := range []*KeyRequest{f.byService(f.secret.Reveal(), ""), f.byService("", f.secret.Reveal()), f.byService("", "192.0.2.1 "+f.secret.Reveal())} {
		got := authority.Issue(t.Context(), start, client, false, f, call)
		if got.Status != http.StatusBadRequest || strings.Contains(got.Text+got.Detail, f.secret.Reveal()) {
			t.Errorf("%d: the text tells a key", got.Status)
		}
	}
}

// TestR7_NoChildOutlivesItsIssuersScheduledEnd rotates the issuer before or after
// the call.
func TestR7_NoChildOutlivesItsIssuersScheduledEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rapid.Check(t, func(rt *rapid.T) {
		issuer, secret := f.key(keystore.NewKey{Issuable: true, Expires: policy.ExpiresAt(start.Add(time.Hour))})
		overlap := time.Duration(rapid.IntRange(1, 100_000).Draw(rt, "overlap")) * time.Millisecond
		rotate := func() {
			if _, err := f.RotateKey(t.Context(), start, operator, issuer.ID, overlap); err != nil {
				rt.Fatal(err)
			}
		}
		before := rapid.Bool().Draw(rt, "rotate before the call")
		if before {
			rotate()
		}
		epi := rapid.SampledFrom([]string{"", "1", "50000", "100000", "200000", "3600000"}).Draw(rt, "epi")
		got := New(settings).Issue(t.Context(), start, client, false, f, &KeyRequest{key: secret, epi: epi})
		if !before {
			rotate()
		}
		end := policy.ExpiresAt(start.Add(overlap))
		if got.Status != http.StatusOK {
			if asked, err := ParseExpiry(epi, start, time.UTC, 0); epi == "" || err != nil || !before || !policy.ExpiresAt(asked).After(end) {
				rt.Fatalf("epi %q, overlap %s: refused: %s", epi, overlap, got.Text)
			}
			return
		}
		record, err := f.FindKey(t.Context(), got.Secret)
		if err != nil {
			rt.Fatal(err)
		}
		if child := record.Key(); child.End().After(end) {
			rt.Fatalf("epi %q, overlap %s: the child ends at %s, its issuer at %s", epi, overlap, child.End(), end)
		}
	})
}
