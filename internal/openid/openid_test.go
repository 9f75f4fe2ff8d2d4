package openid

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/openid/openidtest"
	"github.com/speechgate/speechgate/policy"
)

const (
	start    policy.Time = 1_900_000_000_000
	redirect             = "https://asr.example.com/console/oidc/callback"
)

// fixture is a Provider, and the provider of the test that it asks.
type fixture struct {
	*Provider

	t    *testing.T
	now  policy.Time
	peer *openidtest.Provider
}

func newFixture(t *testing.T, claim string) *fixture {
	t.Helper()
	f := &fixture{t: t, now: start, peer: openidtest.Start(t)}
	f.peer.Now = func() time.Time { return f.now.Std() }
	var err error
	f.Provider, err = New(Settings{Issuer: f.peer.URL, ClientID: openidtest.ClientID, ClientSecret: policy.NewSecret(openidtest.Secret), Claim: claim})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// toProvider begins a sign-in, and returns what the provider answers through the browser.
func (f *fixture) toProvider(flow policy.Secret) url.Values {
	f.t.Helper()
	to, err := f.Begin(f.t.Context(), f.now, flow, redirect)
	if err != nil {
		f.t.Fatal(err)
	}
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := browser.Get(to)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	back, query, _ := strings.Cut(resp.Header.Get("Location"), "?")
	answer, err := url.ParseQuery(query)
	if err != nil || back != redirect {
		f.t.Fatalf("the provider answers %d, %q, %v: %s", resp.StatusCode, resp.Header.Get("Location"), err, text)
	}
	return answer
}

func (f *fixture) finish(flow policy.Secret, answer url.Values) (Person, error) {
	return f.Finish(f.t.Context(), f.now, flow, redirect, answer)
}

func (f *fixture) signIn() (Person, error) {
	f.t.Helper()
	flow := NewFlow()
	return f.finish(flow, f.toProvider(flow))
}

func TestFinish_ReturnsThePersonWhomTheProviderVouchesFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claim  string
		change func(*openidtest.Provider)
		want   string
	}{
		"the email address":              {"", nil, "tanaka@example.com"},
		"the subject":                    {ClaimSubject, nil, "user-1"},
		"the subject without an address": {ClaimSubject, func(p *openidtest.Provider) { delete(p.User, "email") }, "user-1"},
		"email_verified as a text":       {"", func(p *openidtest.Provider) { p.User["email_verified"] = "true" }, "tanaka@example.com"},
		"two audiences, and azp": {"", func(p *openidtest.Provider) {
			p.Claims = func(c map[string]any) {
				c["aud"], c["azp"] = []string{"project", openidtest.ClientID}, openidtest.ClientID
			}
		}, "tanaka@example.com"},
		"the address at userinfo": {"", func(p *openidtest.Provider) {
			p.Claims = func(c map[string]any) { delete(c, "email"); delete(c, "email_verified") }
			p.UserInfo = func(map[string]any) {}
		}, "tanaka@example.com"},
		"the secret in the form": {"", func(p *openidtest.Provider) {
			p.Document = func(d map[string]any) { d["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"} }
		}, "tanaka@example.com"},
		"a clock that is ahead": {"", func(p *openidtest.Provider) {
			p.Claims = func(c map[string]any) { c["iat"], c["nbf"] = start.Std().Unix()+59, start.Std().Unix()+59 }
		}, "tanaka@example.com"},
		"a clock that is behind": {"", func(p *openidtest.Provider) {
			p.Claims = func(c map[string]any) { c["iat"], c["exp"] = start.Std().Unix()-90, start.Std().Unix()-59 }
		}, "tanaka@example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, c.claim)
			if c.change != nil {
				c.change(f.peer)
			}
			got, err := f.signIn()
			if want := (Person{f.peer.URL, "user-1", c.want}); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func claim(name string, value any) func(*openidtest.Provider) {
	return func(p *openidtest.Provider) { p.Claims = func(c map[string]any) { c[name] = value } }
}

func isToken(err error) bool   { _, ok := errors.AsType[*TokenError](err); return ok }
func isAway(err error) bool    { _, ok := errors.AsType[*AwayError](err); return ok }
func isNoEmail(err error) bool { return errors.Is(err, ErrNoEmail) }

func TestFinish_RefusesWhatTheProviderMustNotSay(t *testing.T) {
	t.Parallel()
	at := start.Std().Unix()
	for name, c := range map[string]struct {
		lie    func(*openidtest.Provider)
		right  func(error) bool
		reason string
	}{
		"the nonce of another sign-in":    {claim("nonce", "another"), isToken, "nonce"},
		"no nonce":                        {claim("nonce", ""), isToken, "nonce"},
		"another issuer":                  {claim("iss", "https://evil.example"), isToken, "different provider"},
		"another client":                  {claim("aud", "another"), isToken, "audience"},
		"two audiences without azp":       {claim("aud", []string{openidtest.ClientID, "another"}), isToken, "azp"},
		"the azp of another client":       {claim("azp", "another"), isToken, "azp"},
		"an empty azp":                    {claim("azp", ""), isToken, "azp"},
		"expired":                         {claim("exp", at-60), isToken, "expired"},
		"without an expiry":               {func(p *openidtest.Provider) { p.Claims = func(c map[string]any) { delete(c, "exp") } }, isToken, "expired"},
		"an old token":                    {claim("iat", at-601), isToken, "more than 10m0s ago"},
		"without an instant":              {func(p *openidtest.Provider) { p.Claims = func(c map[string]any) { delete(c, "iat") } }, isToken, "ago"},
		"from the future":                 {claim("iat", at+61), isToken, "future"},
		"not yet valid":                   {claim("nbf", at+62), isToken, "future"},
		"no subject":                      {claim("sub", ""), isToken, "sub"},
		"a subject with a line break":     {claim("sub", "user\n1"), isToken, "sub"},
		"a long subject":                  {claim("sub", strings.Repeat("x", 256)), isToken, "sub"},
		"no signature":                    {func(p *openidtest.Provider) { p.Algorithm = "none" }, isToken, "algorithm"},
		"a signature by the secret":       {func(p *openidtest.Provider) { p.Algorithm = "HS256" }, isToken, "algorithm"},
		"the signature of a stranger":     {func(p *openidtest.Provider) { p.Stranger = true }, isToken, "signature"},
		"an unverified address":           {claim("email_verified", false), isNoEmail, ""},
		"an address, unverified as text":  {claim("email_verified", "false"), isNoEmail, ""},
		"an address, verified as 1":       {claim("email_verified", 1), isNoEmail, ""},
		"an address without verification": {func(p *openidtest.Provider) { delete(p.User, "email_verified") }, isNoEmail, ""},
		"no address":                      {func(p *openidtest.Provider) { delete(p.User, "email") }, isNoEmail, ""},
		"an address that is no text":      {claim("email", []string{"tanaka@example.com"}), isToken, "email"},
		"userinfo about another user": {func(p *openidtest.Provider) {
			p.Claims = func(c map[string]any) { delete(c, "email") }
			p.UserInfo = func(c map[string]any) { c["sub"] = "user-2" }
		}, isToken, "another user"},
		"an unverified address at userinfo": {func(p *openidtest.Provider) {
			p.Claims = func(c map[string]any) { delete(c, "email") }
			p.UserInfo = func(c map[string]any) { c["email_verified"] = false }
		}, isNoEmail, ""},
		"an answer without an ID token": {func(p *openidtest.Provider) {
			p.AnswerWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/token" {
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, `{"access_token":"access","token_type":"Bearer"}`)
				}
				return r.URL.Path == "/token"
			})
		}, isToken, ""},
		"no keys": {func(p *openidtest.Provider) {
			p.AnswerWith(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/keys" {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return r.URL.Path == "/keys"
			})
		}, isAway, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, "")
			c.lie(f.peer)
			person, err := f.signIn()
			if !c.right(err) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("%+v, %v; want an error with %q", person, err, c.reason)
			}
		})
	}
}

func TestFinish_AnAnswerIsForOneSignInOfOneBrowser(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "")
	mine, other := NewFlow(), NewFlow()
	answer := f.toProvider(mine)
	with := func(name string, values ...string) url.Values {
		changed := maps.Clone(answer)
		if changed.Del(name); len(values) > 0 {
			changed[name] = values
		}
		return changed
	}
	for name, c := range map[string]struct {
		flow   policy.Secret
		answer url.Values
	}{
		"another browser":            {other, answer},
		"no browser that has begun":  {policy.Secret{}, answer},
		"no state":                   {mine, with("state")},
		"two states":                 {mine, with("state", answer.Get("state"), "x")},
		"two codes":                  {mine, with("code", answer.Get("code"), "x")},
		"an error of nobody's state": {other, with("error", "access_denied")},
	} {
		if person, err := f.finish(c.flow, c.answer); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %+v, %v; want ErrForeign", name, person, err)
		}
	}
	for want, answer := range map[string]url.Values{
		"iss is https://evil.example, and the issuer of the configuration is " + f.peer.URL: with("iss", "https://evil.example"),
		"it has neither a code nor an error":                                                with("code"),
	} {
		_, err := f.finish(mine, answer)
		if wrong, ok := errors.AsType[*AnswerError](err); !ok || wrong.Error() != "the answer of the provider is refused: "+want {
			t.Errorf("%v; want an AnswerError: %s", err, want)
		}
	}
	if n := f.peer.Asked("/token"); n != 0 {
		t.Errorf("the provider was asked for %d tokens", n)
	}
	if _, err := f.finish(mine, with("iss", f.peer.URL)); err != nil {
		t.Errorf("the answer itself: %v", err)
	}
	refused := func(what string, flow policy.Secret, answer url.Values, want string) {
		t.Helper()
		if _, err := f.finish(flow, answer); err == nil || err.Error() != "the provider refuses the sign-in: "+want {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	refused("the answer again", mine, answer, "invalid_grant")
	refused("a code of another sign-in", mine, with("code", f.toProvider(other).Get("code")), "invalid_grant")
	refused("no from the user", mine, with("error", "access_denied"), "access_denied")
	refused("another text", mine, with("error", "Call 555-0100 <now>"), "another error")
}

// A provider that names itself in its answers must do it in each of them (RFC 9207).
func TestFinish_WantsTheNameThatTheProviderPromises(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "")
	f.peer.Document = func(d map[string]any) { d["authorization_response_iss_parameter_supported"] = true }
	flow := NewFlow()
	answer := f.toProvider(flow)
	_, err := f.finish(flow, answer)
	if wrong, ok := errors.AsType[*AnswerError](err); !ok || !strings.Contains(wrong.Error(), "iss is missing") {
		t.Errorf("without the name: %v", err)
	}
	answer.Set("iss", f.peer.URL)
	if _, err := f.finish(flow, answer); err != nil {
		t.Error(err)
	}
}

// Check asks again each time, and stops with its context.
func TestCheck_AsksTheProvider(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "")
	for range 2 {
		if err := f.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.peer.Asked("/.well-known/openid-configuration"); n != 2 {
		t.Errorf("the provider was asked %d times, want 2", n)
	}
	f.peer.Document = func(d map[string]any) { d["token_endpoint"] = "http://id.example.com/token" }
	if err := f.Check(t.Context()); !isAway(err) || !strings.Contains(err.Error(), "token_endpoint") {
		t.Errorf("a token endpoint without TLS: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Check(gone); !isAway(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func TestNew_ASettingThatIsNotSafeIsRefused(t *testing.T) {
	t.Parallel()
	good := Settings{Issuer: "https://id.example.com/realms/one", ClientID: "speechgate", ClientSecret: policy.NewSecret("a secret of the test")}
	for name, c := range map[string]struct {
		change func(*Settings)
		want   string
	}{
		"nothing changed":  {func(*Settings) {}, ""},
		"this machine":     {func(s *Settings) { s.Issuer = "http://127.0.0.1:5556/dex" }, ""},
		"this machine, v6": {func(s *Settings) { s.Issuer = "http://[::1]:5556/dex" }, ""},
		"localhost":        {func(s *Settings) { s.Issuer = "http://localhost:5556/dex" }, ""},
		"no issuer":        {func(s *Settings) { s.Issuer = "" }, "issuer: want"},
		"no encryption":    {func(s *Settings) { s.Issuer = "http://id.example.com" }, "want https://"},
		"like localhost":   {func(s *Settings) { s.Issuer = "http://localhost.example.com" }, "want https://"},
		"no URL":           {func(s *Settings) { s.Issuer = "id.example.com" }, "want a URL"},
		"a query":          {func(s *Settings) { s.Issuer = "https://id.example.com/?a=b" }, "want a URL"},
		"the document":     {func(s *Settings) { s.Issuer = "https://id.example.com/.well-known/openid-configuration" }, "without /.well-known"},
		"no client":        {func(s *Settings) { s.ClientID = "" }, "client_id"},
		"no secret":        {func(s *Settings) { s.ClientSecret = policy.Secret{} }, "client_secret"},
		"another claim":    {func(s *Settings) { s.Claim = "preferred_username" }, "want email or sub"},
		"a scope":          {func(s *Settings) { s.Scopes = []string{"email profile"} }, "scopes"},
	} {
		s := good
		c.change(&s)
		if _, err := New(s); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestFinish_NoErrorHasTheAccessToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "")
	f.peer.Claims = func(c map[string]any) { delete(c, "email") }
	f.peer.UserInfo = func(map[string]any) {}
	f.peer.AnswerWith(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/userinfo" {
			http.Error(w, "no such token: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
		}
		return r.URL.Path == "/userinfo"
	})
	if _, err := f.signIn(); !isAway(err) || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), "Bearer access") {
		t.Errorf("%v; want an error without the token", err)
	}
}

func TestFinish_NoErrorHasASecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "")
	for name, instead := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"the request as an error": func(w http.ResponseWriter, r *http.Request) bool {
			body, _ := io.ReadAll(r.Body)
			http.Error(w, string(body)+r.Header.Get("Authorization"), http.StatusBadRequest)
			return true
		},
		"a connection that ends": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		flow := NewFlow()
		f.peer.AnswerWith(nil)
		answer := f.toProvider(flow)
		f.peer.AnswerWith(instead)
		_, err := f.finish(flow, answer)
		if !isAway(err) {
			t.Errorf("%s: %v", name, err)
		}
		for what, secret := range map[string]string{"the code": answer.Get("code"), "the flow": flow.Reveal(), "the verifier": derive(flow, "verifier"), "the client's secret": "the+secret"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %s is in %v", name, what, err)
			}
		}
	}
}
