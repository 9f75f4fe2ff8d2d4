package console

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/openid"
	"github.com/speechgate/speechgate/internal/openid/openidtest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const tanaka = "tanaka@example.com"

// newProviderFixture returns a console whose operators can sign in at a provider of the test.
func newProviderFixture(t *testing.T) (*fixture, *openidtest.Provider) {
	t.Helper()
	peer := openidtest.Start(t)
	provider, err := openid.New(openid.Settings{Issuer: peer.URL, ClientID: openidtest.ClientID, ClientSecret: policy.NewSecret(openidtest.Secret)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(provider.Close)
	f := newFixtureAt(t, provider)
	peer.Now = func() time.Time { return f.Now().Std() }
	return f, peer
}

func (f *fixture) inviteOperator(name string) manage.OperatorInvitation {
	f.t.Helper()
	i, err := f.operator().InviteOperator(f.t.Context(), name, "/console/")
	if err != nil {
		f.t.Fatal(err)
	}
	return i
}

// toProvider sends the browser to the provider, and returns the path and the query that it
// comes back to.
func (b *browser) toProvider(query string) string {
	b.f.t.Helper()
	got := b.want(b.get("oidc"+query), http.StatusSeeOther)
	resp, err := b.Get(got.header.Get("Location"))
	if err != nil {
		b.f.t.Fatal(err)
	}
	defer resp.Body.Close()
	back, ok := strings.CutPrefix(resp.Header.Get("Location"), b.f.server.URL)
	if !ok {
		b.f.t.Fatalf("the provider answers %d and leads to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	return back
}

// signInAt signs a browser in at the provider, and returns the last answer. The browser brings
// no strict cookie on the way back.
func (b *browser) signInAt(query string) answer {
	b.f.t.Helper()
	return b.fromProvider(b.toProvider(query))
}

// fromProvider makes the request with which a browser comes back.
func (b *browser) fromProvider(back string) answer {
	b.f.t.Helper()
	own := b.header
	b.header = http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}}
	got := b.get(back)
	b.header = own
	return got
}

func TestProvider_AnInvitedOperatorSignsIn(t *testing.T) {
	t.Parallel()
	f, peer := newProviderFixture(t)
	f.inviteOperator(tanaka)
	b := f.browser()
	host := strings.TrimPrefix(peer.URL, "http://")
	b.want(b.get("sign-in?next=usage"), 200, "Operators: sign in at "+host, `href="/console/oidc?next=usage"`)

	got := b.want(b.signInAt("?next=usage"), 200, `<meta http-equiv="refresh" content="0; url=/console/usage">`, `href="/console/usage"`)
	cookies := strings.Join(got.header.Values("Set-Cookie"), "\n")
	if !regexp.MustCompile(`speechgate_session=sgc_\w+; Path=/console/; HttpOnly; SameSite=Strict`).MatchString(cookies) || !strings.Contains(cookies, "speechgate_oidc=; Path=/console/; Max-Age=0; HttpOnly; SameSite=Lax") {
		t.Errorf("the cookies are\n%s", cookies)
	}
	if got.header.Get("Referrer-Policy") != "strict-origin" {
		t.Error("the next page learns the code")
	}
	b.want(b.get(""), 200, tanaka)
	b.want(b.get("settings"), 200, "You sign in at "+peer.URL)
	b.wantRedirect(b.get("oidc"), "") // signed in already
	b.wantRedirect(b.post("sign-out"), "sign-in?done=signed-out")
	b.wantRedirect(b.get("usage"), "sign-in?next=usage")

	f.advance(keystore.InvitationTime)
	b.want(b.signInAt(""), 200, `url=/console/"`)
	b.want(b.get(""), 200, tanaka)
	all, err := f.operator().Operators(t.Context())
	if err != nil || len(all) != 1 || all[0].Provider == nil || *all[0].Provider != peer.URL || all[0].Status != "active" {
		t.Errorf("%+v, %v", all, err)
	}
	for action, n := range map[string]int{"console_setup": 1, "console_sign_in": 2} {
		if got := f.audited(action); got != n {
			t.Errorf("%d entries %s, want %d", got, action, n)
		}
	}
	if _, err := f.operator().RemoveOperator(t.Context(), tanaka, true); err != nil {
		t.Fatal(err)
	}
	b.wantRedirect(b.get("usage"), "sign-in?next=usage")
	b.want(b.signInAt(""), http.StatusForbidden, "no operator signs in there by this name")
}

// The cookie of a sign-in is lax, so that it comes back from the provider, and is for this host.
func TestProvider_TheCookieOfASignIn(t *testing.T) {
	t.Parallel()
	f, _ := newProviderFixture(t)
	cookie := func() string {
		got := f.browser().get("oidc?next=usage").header.Get("Set-Cookie")
		return regexp.MustCompile(`=[A-Z2-7]{26}\.`).ReplaceAllString(got, "=FLOW.")
	}
	f.wantCookies(cookie,
		"speechgate_oidc=FLOW.usage; Path=/console/; Max-Age=600; HttpOnly; SameSite=Lax",
		"__Host-speechgate_oidc=FLOW.usage; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax")
}

func TestProvider_StrangersStayOutside(t *testing.T) {
	t.Parallel()
	f, peer := newProviderFixture(t)
	refused := func(what string) {
		t.Helper()
		b := f.browser()
		got := b.want(b.signInAt(""), http.StatusForbidden, "no operator signs in there by this name")
		if strings.Contains(strings.Join(got.header.Values("Set-Cookie"), ""), "sgc_") {
			t.Errorf("%s: there is a session", what)
		}
	}
	refused("nobody was invited")
	f.inviteOperator(strings.ToUpper(tanaka))
	refused("an operator of another name")

	f.operatorBrowser(tanaka) // sets a password
	refused("an operator with a password")
	b := f.browser()
	b.wantRedirect(b.signIn(tanaka, aPassword), "")

	f.inviteOperator(tanaka)
	f.advance(keystore.InvitationTime)
	refused("an invitation that has expired")

	f.inviteOperator(tanaka)
	b.want(b.signInAt(""), 200)
	peer.User["sub"] = "user-2"
	refused("another person with the same address")
	f.inviteOperator(tanaka)
	second := f.browser()
	second.want(second.signInAt(""), 200)
	b.wantRedirect(b.get("usage"), "sign-in?next=usage") // the sessions of the person before end
	peer.User["sub"] = "user-1"
	refused("the person before")
}

// An invitation decides how an operator signs in from then on.
func TestProvider_ReplacesThePassword(t *testing.T) {
	t.Parallel()
	f, _ := newProviderFixture(t)
	old := f.operatorBrowser(tanaka)
	old.addSecond()
	link := f.inviteOperator(tanaka).SetupURL.Reveal()
	b := f.browser()
	b.want(b.get(link), 200, "you can sign in there instead", `href="/console/oidc"`)
	b.want(b.signInAt(""), 200)
	old.wantRedirect(old.get("usage"), "sign-in?next=usage")
	b.want(f.browser().signIn(tanaka, aPassword), http.StatusUnauthorized)
	b.want(f.browser().signIn(tanaka, ""), http.StatusUnauthorized)
	b.want(f.browser().get(link), http.StatusNotFound)
	b.want(b.get(""), 200)
	for path, form := range map[string][]string{
		"settings/password":      {"current", "", "password", aPassword, "repeat", aPassword},
		"settings/second-factor": {"password", "", "secret", strings.Repeat("A", 32), "code", "000000"},
	} {
		b.want(b.post(path, form...), http.StatusUnprocessableEntity)
	}

	again := f.operatorBrowser(tanaka) // by another link
	b.wantRedirect(b.get("usage"), "sign-in?next=usage")
	again.want(again.get(""), 200)
	b.want(b.signInAt(""), http.StatusForbidden)
}

func TestProvider_AnAnswerIsForTheBrowserThatHasBegun(t *testing.T) {
	t.Parallel()
	f, peer := newProviderFixture(t)
	f.inviteOperator(tanaka)
	victim, attacker := f.browser(), f.browser()
	back := attacker.toProvider("")
	const foreign = "This browser has not begun the sign-in"
	victim.want(victim.fromProvider(back), http.StatusBadRequest, foreign)
	victim.toProvider("")
	victim.want(victim.fromProvider(back), http.StatusBadRequest, foreign)
	victim.wantRedirect(victim.get("usage"), "sign-in?next=usage")
	if n := peer.Asked("/token"); n != 0 {
		t.Errorf("the provider was asked for %d tokens", n)
	}
	own := victim.toProvider("?next=//evil.example")
	victim.want(victim.send(http.MethodHead, own, nil), http.StatusNotFound)
	victim.want(victim.fromProvider(own), 200, `url=/console/"`)
	victim.want(victim.fromProvider(own), http.StatusBadRequest, foreign) // the answer again
}

func TestProvider_FailuresAreCountedAndTold(t *testing.T) {
	t.Parallel()
	f, peer := newProviderFixture(t)
	f.mayFail.Store(true)
	b := f.browser()
	status := func(path, want string, code int) {
		t.Helper()
		peer.AnswerWith(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == path {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return r.URL.Path == path
		})
		b.want(b.signInAt(""), code, want)
	}
	b.want(b.fromProvider(b.toProvider("")+"&error=access_denied"), http.StatusForbidden, "refuses the sign-in: access_denied")
	peer.Claims = func(c map[string]any) { c["email_verified"] = false }
	b.want(b.signInAt(""), http.StatusForbidden, "no verified email address")
	peer.Claims = func(c map[string]any) { c["nonce"] = "another" }
	b.want(b.signInAt(""), http.StatusForbidden, "log says why")
	peer.Claims = nil
	for _, wrong := range []string{"&iss=https://evil.example", "&x=1&iss="} {
		b.want(b.fromProvider(b.toProvider("")+wrong), http.StatusForbidden, "log says why")
	}
	if f.failed.Load() != 3 {
		t.Errorf("the log was told %d times, want 3 times", f.failed.Load())
	}
	for range 40 { // the provider's faults do not count
		status("/token", "cannot be reached right now", http.StatusServiceUnavailable)
	}
	for range 40 { // another site can send the reader's browser here, so these do not count
		b.want(b.fromProvider("oidc/callback?code=guessed&state=guessed"), http.StatusBadRequest)
		b.want(b.fromProvider("setup/guessed"), http.StatusNotFound)
	}
	for range 25 {
		b.want(b.fromProvider(b.toProvider("")+"&error=access_denied"), http.StatusForbidden)
	}
	b.want(b.signInAt(""), http.StatusTooManyRequests, "Wait 60 seconds")
	f.client.Store(netip.MustParseAddr("192.0.2.8"))
	b.want(b.fromProvider(b.toProvider("")+"&error=access_denied"), http.StatusForbidden)
}

// While the provider is away, users with a password sign in.
func TestProvider_Away(t *testing.T) {
	t.Parallel()
	f, peer := newProviderFixture(t)
	f.mayFail.Store(true)
	f.operatorBrowser("sato")
	peer.AnswerWith(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	b := f.browser()
	b.want(b.get("sign-in"), 200, "Operators: sign in at")
	b.want(b.get("oidc"), http.StatusServiceUnavailable, "cannot be reached right now", "Users with a password can sign in")
	b.wantRedirect(b.signIn("sato", aPassword), "")
}

func TestProvider_WithoutOneThereIsNoWayThere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser()
	for _, path := range []string{"oidc", "oidc/callback?code=x&state=y"} {
		b.want(b.get(path), http.StatusNotFound)
	}
	if got := b.get("sign-in"); strings.Contains(got.body, "oidc") {
		t.Error("the page shows a way to a provider")
	}
}

// What a provider sends back is in the query, and a redirect of the console is for its host.
func TestProvider_TheRedirectURLIsThatOfTheConsole(t *testing.T) {
	t.Parallel()
	f, _ := newProviderFixture(t)
	got := f.browser().get("oidc").header.Get("Location")
	to, err := url.Parse(got)
	if err != nil || to.Query().Get("redirect_uri") != f.server.URL+"/console/oidc/callback" || to.Query().Get("scope") != "openid email" {
		t.Errorf("%q, %v", got, err)
	}
}

// A session is good while the configuration names the provider that has vouched for the operator.
func TestProvider_ASessionNeedsItsProvider(t *testing.T) {
	t.Parallel()
	f, _ := newProviderFixture(t)
	f.inviteOperator(tanaka)
	b, password := f.browser(), f.operatorBrowser("sato")
	b.want(b.signInAt(""), 200)
	b.want(b.get(""), 200)
	another, err := openid.New(openid.Settings{Issuer: "https://id.example.com", ClientID: "x", ClientSecret: policy.NewSecret("a secret of the test")})
	if err != nil {
		t.Fatal(err)
	}
	own := f.console.settings.Provider
	for _, provider := range []*openid.Provider{nil, another} {
		f.console.settings.Provider = provider
		b.wantRedirect(b.get("usage"), "sign-in?next=usage")
		password.want(password.get(""), 200)
	}
	f.console.settings.Provider = own
	b.want(b.get(""), 200)
}
