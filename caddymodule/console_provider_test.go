package caddymodule_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/openid/openidtest"
	"github.com/speechgate/speechgate/keystore"
)

const tanaka = "tanaka@example.com"

// consoleAt is the site of a gateway whose operators can sign in at a provider.
func consoleAt(t *testing.T, p *openidtest.Provider, options string) *gateway {
	t.Helper()
	t.Setenv("OIDC_SECRET", openidtest.Secret)
	return &gateway{site: "speechgate_console {\n oidc {\n issuer " + p.URL + "\n client_id " + openidtest.ClientID + "\n client_secret {env.OIDC_SECRET}\n" + options + " }\n }\n" + defaultSite}
}

// The way to the provider and back works through Caddy, and no log has what the provider sends.
func TestConsole_OIDC_NoLogHasTheAnswerOfTheProvider(t *testing.T) {
	p := openidtest.Start(t)
	g := newGatewayWith(t, consoleAt(t, p, ""))
	if _, _, err := g.keys.InviteConsoleUser(t.Context(), now(), operator, keystore.ActorOperator, tanaka); err != nil {
		t.Fatal(err)
	}
	got := g.page("GET", "/console/oidc", "")
	flow, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	to := got.header.Get("Location")
	if got.status != http.StatusSeeOther || !strings.HasPrefix(to, p.URL+"/auth?") {
		t.Fatalf("the way there: %d %q %s", got.status, to, got.body)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	back, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || back.Host != g.addr || back.Path != "/console/oidc/callback" {
		t.Fatalf("the way back: %q, %v", resp.Header.Get("Location"), err)
	}
	got = g.page("GET", back.RequestURI(), "", "Cookie: "+flow+"\r\n", "Referer: "+p.URL+"/\r\n")
	session := ""
	for _, cookie := range got.header.Values("Set-Cookie") {
		if text, _, _ := strings.Cut(cookie, ";"); strings.HasPrefix(text, "speechgate_session=") {
			session = text
		}
	}
	if got.status != http.StatusOK || session == "" {
		t.Fatalf("the answer: %d %v %s", got.status, got.header, got.body)
	}
	if got := g.page("GET", "/console/", "", "Cookie: "+session+"\r\n"); got.status != http.StatusOK || !strings.Contains(got.body, tanaka) {
		t.Errorf("the start page: %d %s", got.status, got.body)
	}
	if got := g.page("GET", back.RequestURI(), "", "Cookie: "+flow+"\r\n"); got.status != http.StatusForbidden {
		t.Errorf("the answer again: %d %s", got.status, got.body)
	}
	g.page("GET", "/console/sign-in", "")
	eventually(t, func() bool { return strings.Contains(g.log(), `"uri":"/console/sign-in"`) })
	log := g.log()
	for name, secret := range map[string]string{
		"the code": back.Query().Get("code"), "the session": strings.TrimPrefix(session, "speechgate_session="),
		"the flow": strings.TrimPrefix(flow, "speechgate_oidc="), "the client's secret": openidtest.Secret,
	} {
		if strings.Contains(log, secret) {
			t.Errorf("%s is in the log:\n%s", name, log)
		}
	}
	if !strings.Contains(log, "invalid_grant") {
		t.Error("the log does not say why the second answer was refused")
	}
}

// A configuration is loaded while its provider is away.
func TestConsole_OIDC_StartsWhileTheProviderIsAway(t *testing.T) {
	p := openidtest.Start(t)
	p.AnswerWith(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	g := newGatewayWith(t, consoleAt(t, p, "operator_claim sub\n scopes profile\n"))
	if got := g.page("GET", "/console/sign-in", ""); got.status != http.StatusOK || !strings.Contains(got.body, "Operators: sign in at") {
		t.Errorf("the sign-in: %d %s", got.status, got.body)
	}
	if got := g.page("GET", "/console/oidc", ""); got.status != http.StatusServiceUnavailable {
		t.Errorf("the way there: %d %s", got.status, got.body)
	}
}
