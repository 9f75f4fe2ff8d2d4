package caddymodule_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/sandbox"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// consoleGateway returns a gateway with a console, and the header of an operator's requests.
func consoleGateway(t *testing.T) (g *gateway, session string) {
	t.Helper()
	g = newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: "speechgate_console\n" + defaultSite})
	g.backend.respond(sandbox.NewAmiVoice(sandbox.Config{Key: backendKey}).ServeHTTP)
	token, _, err := g.keys.InviteConsoleUser(t.Context(), now(), operator, keystore.ActorOperator, "tanaka")
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"password": {consolePassword}, "repeat": {consolePassword}}.Encode()
	got := g.page("POST", "/console/setup/"+token.Reveal(), form, "Sec-Fetch-Site: same-origin\r\n")
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	if got.status != http.StatusSeeOther || cookie == "" {
		t.Fatalf("setting the password: %d %v %s", got.status, got.header, got.body)
	}
	return g, "Cookie: " + cookie + "\r\nSec-Fetch-Site: same-origin\r\n"
}

func TestConsole_AnOperatorSeesRefusalsAndWhy(t *testing.T) {
	g, session := consoleGateway(t)
	set, err := policy.ParseAddrSet("192.0.2.0/24")
	if err != nil {
		t.Fatal(err)
	}
	key, secret := g.issue(keystore.NewKey{Allow: set})
	if got := g.page("GET", "/console/operator/refusals", "", session); strings.Contains(got.body, key.ID) {
		t.Fatal("the refusal is there before it happens")
	}
	g.poll("unknown", secret)
	got := g.page("GET", "/console/operator/refusals", "", session)
	for _, want := range []string{key.ID, "address_refused", "read_job", "127.0.0.1"} {
		if got.status != http.StatusOK || !strings.Contains(got.body, want) {
			t.Errorf("%d, want %s in %s", got.status, want, got.body)
		}
	}
	form := url.Values{"key": {secret}, "client-ip": {"127.0.0.1"}, "method": {"GET"}, "path": {"/v2/recognitions/unknown"}, "dialect": {"amivoice"}}.Encode()
	if got := g.page("POST", "/console/operator/explain", form, session); got.status != http.StatusOK || !strings.Contains(got.body, "address_refused") || strings.Contains(got.body, secret) {
		t.Errorf("explain: %d %s", got.status, got.body)
	}
}

func TestConsole_AnOperatorCutsALiveStream(t *testing.T) {
	g, session := consoleGateway(t)
	key, secret := g.issue(keystore.NewKey{})
	c := g.dialStream("").upgraded()
	c.start(secret)
	c.WantText("s")
	id := g.streams()[0].ID
	if got := g.page("GET", "/console/operator/streams", "", session); got.status != http.StatusOK || !strings.Contains(got.body, id) || !strings.Contains(got.body, key.ID) {
		t.Errorf("the streams: %d %s", got.status, got.body)
	}
	if got := g.page("POST", "/console/operator/streams/cut", url.Values{"id": {id}}.Encode(), session); got.header.Get("Location") != "/console/operator/streams?done=stream-cut" {
		t.Errorf("the cut: %d %v", got.status, got.header)
	}
	c.WantText(cutText)
	_ = c.Close()
	g.wantNoStreams(t)
	eventually(t, func() bool { return g.audited("stream_cut", id) == 1 })
}

// A key that an operator pastes ends with its children, and is in no log: neither from the body of a
// form nor from the URL of a search.
func TestR18_Console_AKeyThatAnOperatorPastesIsInNoLog(t *testing.T) {
	g, session := consoleGateway(t)
	key, secret := g.issue(keystore.NewKey{Origin: policy.OriginConsole, Issuable: true})
	child, _ := g.issue(keystore.NewKey{Issuer: key.ID, Origin: policy.OriginAPI})
	if got := g.page("GET", "/console/operator/keys?search="+secret, "", session); got.status != http.StatusBadRequest {
		t.Errorf("a search for a key: %d %s", got.status, got.body)
	}
	if got := g.page("POST", "/console/operator/leaked", url.Values{"key": {secret}}.Encode(), session); got.status != http.StatusOK || !strings.Contains(got.body, key.ID) || strings.Contains(got.body, secret) {
		t.Errorf("a leaked key: %d %s", got.status, got.body)
	}
	if got := g.page("POST", "/console/operator/keys/"+key.ID+"/revoke", "children=yes&reason=leaked", session); got.status != http.StatusSeeOther {
		t.Errorf("the revocation: %d %s", got.status, got.body)
	}
	for _, id := range []string{key.ID, child.ID} {
		if k, err := g.keys.Key(t.Context(), id); err != nil || k.Status(now()) != "revoked" {
			t.Errorf("key %s is %s, %v", id, k.Status(now()), err)
		}
	}
	if got := g.poll("unknown", secret); got.status != http.StatusUnauthorized {
		t.Errorf("the gate answers %d", got.status)
	}
	eventually(t, func() bool { return strings.Contains(g.log(), "/revoke") })
	if strings.Contains(g.log(), secret) {
		t.Errorf("the log has the key:\n%s", g.log())
	}
}
