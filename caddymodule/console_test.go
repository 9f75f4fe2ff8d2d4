package caddymodule_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

const consolePassword = "a password of the test"

// invite returns the path of a set-up link for the gateway's account.
func (g *gateway) invite() (path, token string) {
	g.t.Helper()
	secret, _, err := g.keys.InviteConsoleUser(g.t.Context(), now(), operator, keystore.ActorAccount, g.account.ID)
	if err != nil {
		g.t.Fatal(err)
	}
	return "/console/setup/" + secret.Reveal(), secret.Reveal()
}

// page asks for a page of the console, with these header lines.
func (g *gateway) page(method, path, form string, header ...string) reply {
	g.t.Helper()
	body := ""
	if form != "" {
		body = "Content-Type: application/x-www-form-urlencoded\r\n"
	}
	return g.send(method + " " + path + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\n" + body + strings.Join(header, "") +
		"Content-Length: " + strconv.Itoa(len(form)) + "\r\n\r\n" + form)
}

func TestConsole_AnswersItsPathOnly(t *testing.T) {
	g := newGatewayWith(t, &gateway{site: "speechgate_console /mypage\n" + defaultSite})
	if got := g.page("GET", "/mypage", ""); got.status != http.StatusPermanentRedirect || got.header.Get("Location") != "/mypage/" {
		t.Errorf("/mypage: %d %v", got.status, got.header)
	}
	if got := g.page("GET", "/mypage/", ""); got.status != http.StatusSeeOther || got.header.Get("Location") != "/mypage/sign-in" {
		t.Errorf("/mypage/: %d %v", got.status, got.header)
	}
	if got := g.page("GET", "/mypage/sign-in", ""); got.status != http.StatusOK || !strings.Contains(got.body, "<h1>Sign in</h1>") {
		t.Errorf("the sign-in: %d %s", got.status, got.body)
	}
	for _, path := range []string{"/console/", "/mypages/", "/Mypage/", "/"} {
		if got := g.page("GET", path, ""); got.status != http.StatusNotFound || got.body != "{}" {
			t.Errorf("%s: %d %q, want the gate's refusal", path, got.status, got.body)
		}
	}
}

// The token of a set-up link and passwords are in no log, also without the log filter.
func TestR18_Console_NoLogHasASecret(t *testing.T) {
	g := newGatewayWith(t, &gateway{site: "speechgate_console\n" + defaultSite})
	link, token := g.invite()
	if got := g.page("GET", link, ""); got.status != http.StatusOK {
		t.Fatalf("the link: %d %s", got.status, got.body)
	}
	form := url.Values{"password": {consolePassword}, "repeat": {consolePassword}}.Encode()
	got := g.page("POST", link, form, "Sec-Fetch-Site: same-origin\r\n", "Referer: http://"+g.addr+link+"\r\n")
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	if got.status != http.StatusSeeOther || cookie == "" {
		t.Fatalf("setting the password: %d %v %s", got.status, got.header, got.body)
	}
	if got := g.page("GET", "/console/keys", "", "Cookie: "+cookie+"\r\n"); got.status != http.StatusOK {
		t.Errorf("the keys: %d %s", got.status, got.body)
	}
	_, session, _ := strings.Cut(cookie, "=")
	eventually(t, func() bool { return strings.Contains(g.log(), `"uri":"/console/keys"`) })
	log := g.log()
	for name, secret := range map[string]string{"the token": token, "the password": consolePassword, "the session": session, "the form": form} {
		if strings.Contains(log, secret) {
			t.Errorf("%s is in the log:\n%s", name, log)
		}
	}
	if strings.Contains(log, "/console/setup/") { // the log filter masks the token: without it, the line would have the token
		t.Errorf("the log has a request for the link:\n%s", log)
	}
}

// A proxy is believed that it speaks TLS only if it is a trusted one.
func TestConsole_TheCookieIsSecureBehindATrustedProxy(t *testing.T) {
	for name, c := range map[string]struct{ proxies, proto, want string }{
		"a trusted proxy with TLS":    {"127.0.0.1/32", "https", "__Host-speechgate_session"},
		"a trusted proxy without TLS": {"127.0.0.1/32", "http", "speechgate_session"},
		"another client":              {"192.0.2.1/32", "https", "speechgate_session"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGatewayWith(t, &gateway{site: "speechgate_console\n" + defaultSite, proxies: c.proxies})
			link, _ := g.invite()
			form := url.Values{"password": {consolePassword}, "repeat": {consolePassword}}.Encode()
			got := g.page("POST", link, form, "Sec-Fetch-Site: same-origin\r\n", "X-Forwarded-Proto: "+c.proto+"\r\n")
			if cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), "="); cookie != c.want {
				t.Errorf("the cookie is %q, want %q", cookie, c.want)
			}
		})
	}
}
