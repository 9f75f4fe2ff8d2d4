package caddymodule_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// proxyVerifySite has an endpoint for each proxy, which the path or, for Envoy, a header field
// chooses. Caddy takes 127.0.0.1 for a trusted proxy too, as when one server has a gate and the
// endpoint.
const proxyVerifySite = `
	speechgate_verify /nginx amivoice {
		callers 127.0.0.1 10.9.9.9
		proxy nginx
	}
	speechgate_verify /traefik amivoice {
		callers 127.0.0.1 10.9.9.9
		proxy traefik
	}
	speechgate_verify /caddy amivoice {
		callers 127.0.0.1 10.9.9.9
		proxy caddy
	}
	@envoy header X-Ask envoy
	speechgate_verify @envoy amivoice {
		callers 127.0.0.1 10.9.9.9
		proxy envoy
	}
	speechgate_verify /openai openai {
		callers 127.0.0.1
		proxy nginx
	}
	speechgate_verify /foreign amivoice {
		callers 192.0.2.1
		proxy nginx
	}
	log_append verified_key {speechgate.key_id}
	` + defaultSite

func newProxyVerifier(t *testing.T) *gateway {
	t.Helper()
	return newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: proxyVerifySite})
}

// asking has the names of the proxies, and of the status with which each lets a request pass.
var asking = map[string]int{"nginx": 204, "traefik": 204, "caddy": 204, "envoy": 200}

// askFor asks as a proxy does about the request of a client with this address and these header fields.
// The address is empty if the proxy does not tell it.
func (g *gateway) askFor(proxy, line, client string, headers ...string) reply {
	g.t.Helper()
	method, uri, _ := strings.Cut(line, " ")
	address := "X-Forwarded-For: " + client + "\r\n"
	question := "GET /" + proxy
	switch proxy {
	case "nginx", "openai", "foreign":
		address = "X-Real-IP: " + client + "\r\n"
		headers = append(headers, "X-Original-Method: "+method+"\r\n", "X-Original-URI: "+uri+"\r\n")
	case "envoy":
		question = line
		headers = append(headers, "X-Ask: envoy\r\n")
	default:
		headers = append(headers, "X-Forwarded-Method: "+method+"\r\n", "X-Forwarded-Uri: "+uri+"\r\n")
	}
	if client != "" {
		headers = append(headers, address)
	}
	return g.request(question, headers...)
}

// wantProxyPassed checks the answer that lets a request pass.
func wantProxyPassed(t *testing.T, proxy string, got reply, key policy.Key) {
	t.Helper()
	if got.status != asking[proxy] || got.body != "" || got.header.Get("Cache-Control") != "no-store" ||
		got.header.Get("Speechgate-Key-Id") != key.ID || got.header.Get("Speechgate-Account-Id") != key.AccountID {
		t.Errorf("%s: want %d and the key %s, got\n%s\n%s", proxy, asking[proxy], key.ID, got.raw, got.body)
	}
}

// wantProxyDenied checks a refusal. The argument status is the one of the API.
func wantProxyDenied(t *testing.T, proxy string, got reply, status int, body string) {
	t.Helper()
	want := status
	if status == 200 {
		want = 401
	}
	if proxy == "nginx" || proxy == "openai" {
		if want != 401 {
			want = 403
		}
		if got.header.Get("Speechgate-Status") != fmt.Sprint(status) || got.header.Get("Speechgate-Body") != strings.TrimSpace(got.body) {
			t.Errorf("%s: the fields for the configuration of nginx are wrong: %v", proxy, got.header)
		}
	} else if got.header.Get("Speechgate-Reason") != "" {
		t.Errorf("%s: the client sees the reason: %v", proxy, got.header)
	}
	if got.status != want || !strings.Contains(got.body, body) || got.header.Get("Content-Type") != "application/json" ||
		got.header.Get("Speechgate-Key-Id") != "" || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s: want %d %s, got\n%s\n%s", proxy, want, body, got.raw, got.body)
	}
}

const (
	deniedRecognition = `"code":"-","message":"received illegal service authorization"`
	deniedPoll        = `{"message":"received illegal service authorization"}`
)

func TestVerify_AProxyAsksAboutAKeyInTheHeaderOrTheQuery(t *testing.T) {
	g := newProxyVerifier(t)
	key, secret := g.issue(keystore.NewKey{})
	_, other := g.issue(keystore.NewKey{})
	_, expired := g.expired()
	bearer := func(secret string) string { return "Authorization: Bearer " + secret + "\r\n" }
	form := "Content-Type: multipart/form-data; boundary=b\r\n"
	for proxy := range asking {
		t.Run(proxy, func(t *testing.T) {
			g.t = t
			wantProxyPassed(t, proxy, g.askFor(proxy, "POST /v1/recognize?d=-a-general&u="+secret, "192.0.2.1", form), key)
			wantProxyPassed(t, proxy, g.askFor(proxy, "POST /v1/nolog/recognize?d=-a-general%20authorization%3D"+secret, "192.0.2.1"), key)
			wantProxyPassed(t, proxy, g.askFor(proxy, "POST /v1/recognize?d=-a-general", "", bearer(secret), form, "Origin: https://app.example.com\r\n"), key)

			for name, headers := range map[string]string{
				"an expired key": bearer(expired), "an unknown key": bearer("unknown"), "two keys": bearer(secret) + bearer(other), "no key": form,
				"a password": "Authorization: Basic dXNlcjpwYXNz\r\n",
			} {
				got := g.askFor(proxy, "POST /v1/recognize", "192.0.2.1", headers, "Origin: https://app.example.com\r\n")
				if wantProxyDenied(t, proxy, got, 200, deniedRecognition); t.Failed() {
					t.Fatal(name)
				}
			}
			wantProxyDenied(t, proxy, g.askFor(proxy, "POST /v1/recognize?u="+other, "", bearer(secret)), 200, deniedRecognition)
			wantProxyDenied(t, proxy, g.askFor(proxy, "GET /v1/recognitions/j", "", bearer("unknown")), 401, deniedPoll)
			for _, line := range []string{
				"GET /v1/recognize", "POST /v1/words", "OPTIONS /v1/recognize", "POST /V1/recognize", "POST /v1//recognize", "POST /v1/./recognize",
				"POST /v1/%72ecognize", "POST /v1/recognize/", "POST //v1/recognize", "CONNECT /v1/recognize",
			} {
				if wantProxyDenied(t, proxy, g.askFor(proxy, line, "", bearer(secret)), 404, `{}`); t.Failed() {
					t.Fatal(line)
				}
			}
		})
	}
	g.t = t
	if sent := g.backend.received(); sent != "" {
		t.Errorf("a handler behind the endpoint ran: the backend got %q", sent)
	}
	log := g.log()
	for _, secret := range []string{secret, other, expired} {
		if strings.Contains(log, secret) {
			t.Error("the log shows a key")
		}
	}
	if !strings.Contains(log, `"X-Original-Uri":["/v1/recognize?d=-a-general&u=REDACTED"]`) || !strings.Contains(log, `"verified_key":"`+key.ID+`"`) {
		t.Error("the log does not show the questions")
	}
	if !strings.Contains(log, "speechgate_verify sees no bodies and no messages of streams") {
		t.Error("the log does not say that a key in a body is not seen")
	}
}

// A client can send every field that its proxy does not replace. The endpoint reads none of them.
func TestVerify_AClientCannotSpeakForItsProxy(t *testing.T) {
	g := newProxyVerifier(t)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	all := map[string]string{
		"a job": "Speechgate-Job: j\r\n", "nginx's fields": "X-Original-Method: GET\r\nX-Original-URI: /v1/recognitions/j?u=" + secret + "\r\n",
		"the fields of Traefik and Caddy": "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /v1/recognitions/j?u=" + secret + "\r\n",
		"Envoy's fields":                  "X-Envoy-Original-Path: /v1/recognitions/j?u=" + secret + "\r\n",
	}
	for proxy := range asking {
		for name, fields := range all {
			own := proxy == "nginx" && name == "nginx's fields" || (proxy == "traefik" || proxy == "caddy") && strings.HasPrefix(name, "the fields")
			t.Run(proxy+" "+name, func(t *testing.T) {
				g.t = t
				if own { // the proxy replaces the field; if it does not, there are two
					wantProxyDenied(t, proxy, g.askFor(proxy, "POST /v1/recognize?u="+secret, "", fields), 400, `{"message":"received unreadable request"}`)
					return
				}
				wantProxyDenied(t, proxy, g.askFor(proxy, "POST /v1/recognize", "", fields), 200, deniedRecognition)
			})
		}
	}
	g.t = t
	for _, question := range []string{
		"X-Original-Method: POST\r\n", "X-Original-URI: /v1/recognize?u=" + secret + "\r\n", "X-Original-Method: POST\r\nX-Original-URI: \r\n",
		"X-Original-Method: POST\r\nX-Original-URI: http://asr.example.com/v1/recognize?u=" + secret + "\r\n",
		"X-Original-Method: POST\r\nX-Original-URI: *\r\n",
	} {
		wantProxyDenied(t, "nginx", g.request("GET /nginx", question), 400, "unreadable")
	}
	wantProxyDenied(t, "nginx", g.askFor("nginx", "POST /v1/recognize?d=a b&u="+secret, ""), 200, "unreadable")
	if log := g.log(); !strings.Contains(log, "the question has 0 fields X-Original-Uri: want one") || strings.Contains(log, secret) {
		t.Error("the log does not say what is wrong with a question, or shows a key")
	}
}

func TestR4_VerifyTakesTheAddressThatTheProxyHasSeen(t *testing.T) {
	g := newProxyVerifier(t)
	bound, secret := g.issue(keystore.NewKey{Allow: g.allow("203.0.113.7 2001:db8::7")})
	line := "POST /v1/recognize?u=" + secret
	for proxy := range asking {
		t.Run(proxy, func(t *testing.T) {
			g.t = t
			for _, client := range []string{"203.0.113.7", "2001:db8::7", "::ffff:203.0.113.7"} {
				wantProxyPassed(t, proxy, g.askFor(proxy, line, client), bound)
			}
			for _, client := range []string{"203.0.113.8", "", "unknown", "203.0.113.7:443", "127.0.0.1"} {
				wantProxyDenied(t, proxy, g.askFor(proxy, line, client), 200, deniedRecognition)
			}
			if proxy == "nginx" { // nginx lets a client's own X-Forwarded-For through
				wantProxyDenied(t, proxy, g.askFor(proxy, line, "203.0.113.8", "X-Forwarded-For: 203.0.113.7\r\n"), 200, deniedRecognition)
				wantProxyDenied(t, proxy, g.askFor(proxy, line, "203.0.113.7", "X-Real-IP: 203.0.113.7\r\n"), 200, deniedRecognition)
				return
			}
			// A chain of proxies: each appends the address that it sees.
			wantProxyPassed(t, proxy, g.askFor(proxy, line, "198.51.100.1, 203.0.113.7, 10.9.9.9"), bound)
			wantProxyPassed(t, proxy, g.askFor(proxy, line, "203.0.113.7, 10.9.9.9, 127.0.0.1"), bound)
			wantProxyPassed(t, proxy, g.askFor(proxy, line, "203.0.113.7", "X-Forwarded-For: 198.51.100.1\r\n"), bound)
			for _, forged := range []string{"203.0.113.7, 198.51.100.1", "203.0.113.7, unknown, 10.9.9.9", "203.0.113.7, , 10.9.9.9"} {
				wantProxyDenied(t, proxy, g.askFor(proxy, line, forged), 200, deniedRecognition)
			}
		})
	}
	g.t = t
	if log := g.log(); !strings.Contains(log, `"reason":"address_unknown"`) || !strings.Contains(log, `"client_ip":"198.51.100.1","backend":"amivoice","caller":"127.0.0.1"`) {
		t.Error("the log does not show the address that was judged")
	}
}

func TestVerify_AnswersOnlyTheProxiesAmongTheCallers(t *testing.T) {
	g := newProxyVerifier(t)
	_, secret := g.issue(keystore.NewKey{})
	// The address of the connection counts: 127.0.0.1 is a trusted proxy, and Caddy takes 192.0.2.1 for
	// the client.
	got := g.askFor("foreign", "POST /v1/recognize?u="+secret, "192.0.2.1", "X-Forwarded-For: 192.0.2.1\r\n")
	if got.status != http.StatusNotFound || got.body != `{}` || got.header.Get("Speechgate-Reason") != "" {
		t.Errorf("want 404 {}, got\n%s\n%s", got.raw, got.body)
	}
	got = g.requestFrom("127.0.0.2", "GET /traefik", "X-Forwarded-Method: POST\r\n", "X-Forwarded-Uri: /v1/recognize?u="+secret+"\r\n", "X-Forwarded-For: 127.0.0.1\r\n")
	if got.status != http.StatusNotFound || got.body != `{}` {
		t.Errorf("want 404 {}, got\n%s\n%s", got.raw, got.body)
	}
	if !strings.Contains(g.log(), "the address does not belong to the callers") {
		t.Error("the log does not say why")
	}
}

// The endpoint does not see the backend's answers. So it refuses what the gate lets through only
// because it reads or changes the answer.
func TestVerify_AProxyCannotCreateOrListJobs(t *testing.T) {
	g := newProxyVerifier(t)
	key, secret := g.issue(keystore.NewKey{})
	old, oldSecret := g.expired()
	other := g.newAccount("Other")
	_, stranger := g.issue(keystore.NewKey{AccountID: other.ID})
	g.recordJob("j", key, now())
	g.recordJob("old", old, now().Add(-90*time.Minute))
	bearer := func(secret string) string { return "Authorization: Bearer " + secret + "\r\n" }

	got := g.askFor("nginx", "POST /v1/recognitions?u="+secret, "")
	if got.status != http.StatusForbidden || got.header.Get("Speechgate-Reason") != "operation_unlisted" {
		t.Errorf("the creation of a job: got\n%s\n%s", got.raw, got.body)
	}
	for line, status := range map[string]int{
		"POST /v1/realtime/client_secrets": 403, "GET /v1/models": 204, "POST /v1/audio/transcriptions": 204, "GET /v1/realtime?model=m": 204,
		"GET /v1/realtime?model=m&call_id=c": 403,
	} {
		if got := g.askFor("openai", line, "", bearer(secret)); got.status != status {
			t.Errorf("OpenAI's %s: want %d, got\n%s\n%s", line, status, got.raw, got.body)
		}
	}
	if got := g.askFor("openai", "GET /v1/realtime?model=m", "", "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key."+secret+"\r\n"); got.status != http.StatusNoContent {
		t.Errorf("a key in a subprotocol: got\n%s\n%s", got.raw, got.body)
	}
	if !strings.Contains(g.log(), "the operation create_job needs the directive speechgate") {
		t.Error("the log does not say what is needed")
	}

	// A job that a gate has recorded is decided as on the gate.
	wantProxyPassed(t, "nginx", g.askFor("nginx", "GET /v1/recognitions/j", "", bearer(secret)), key)
	got = g.askFor("nginx", "GET /v1/recognitions/old", "", bearer(oldSecret))
	if wantProxyPassed(t, "nginx", got, old); got.header.Get("Speechgate-Grace-Until") == "" || got.header.Get("Speechgate-Reason") != "allowed_by_grace" {
		t.Errorf("a job in its grace: got\n%s", got.raw)
	}
	for id, secret := range map[string]string{"j": stranger, "unknown": secret} {
		wantProxyDenied(t, "nginx", g.askFor("nginx", "GET /v1/recognitions/"+id, "", bearer(secret)), 404, `{"message":"not found"}`)
	}
}

// The proxy forwards all fields of its client. A gate strips those with which a backend takes another
// method or path than was checked.
func TestVerify_RefusesARequestThatOverridesItsMethodOrPath(t *testing.T) {
	g := newProxyVerifier(t)
	_, secret := g.issue(keystore.NewKey{})
	for proxy := range asking {
		for _, field := range []string{
			"X-HTTP-Method: DELETE", "x-http-method-override: DELETE", "X-Method-Override: DELETE", "X-Original-URL: /v1/recognitions", "X-Rewrite-URL: /v1/recognitions",
		} {
			wantProxyDenied(t, proxy, g.askFor(proxy, "POST /v1/recognize?u="+secret, "", field+"\r\n"), 400, `{"message":"received unreadable request"}`)
		}
	}
	if !strings.Contains(g.log(), "the client's request has the field X-Http-Method-Override") {
		t.Error("the log does not name the field")
	}
}

func TestVerify_ARequestOfAProxyIsAUseOfItsKey(t *testing.T) {
	g := newProxyVerifier(t)
	used, secret := g.issue(keystore.NewKey{})
	refused, elsewhere := g.issue(keystore.NewKey{Allow: g.allow("192.0.2.99")})
	wantProxyPassed(t, "nginx", g.askFor("nginx", "POST /v1/recognize?u="+secret, "192.0.2.1"), used)
	wantProxyDenied(t, "nginx", g.askFor("nginx", "POST /v1/recognize?u="+elsewhere, "192.0.2.1"), 200, deniedRecognition)
	g.stop()
	keys, _, err := g.keys.Keys(t.Context(), keystore.KeyList{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if noted := key.LastUsedAt != 0; noted != (key.ID == used.ID) {
			t.Errorf("the key %s (used %s, refused %s) was last used at %s", key.ID, used.ID, refused.ID, key.LastUsedAt)
		}
	}
}

func TestVerify_AProxyTellsEarlyData(t *testing.T) {
	g := newProxyVerifier(t)
	_, secret := g.issue(keystore.NewKey{})
	for proxy := range asking {
		wantProxyDenied(t, proxy, g.askFor(proxy, "POST /v1/recognize?u="+secret, "", "Early-Data: 1\r\n"), 425, `{}`)
	}
}

func TestVerify_TheLogNamesTheOptionProxy(t *testing.T) {
	g := newVerifier(t)
	wantAnswer(t, g.request("GET /verify", "X-Original-Method: POST\r\nX-Original-URI: /v1/recognize\r\n"), http.StatusNotFound, policy.JobUnknown)
	if !strings.Contains(g.log(), "write the option proxy, such as proxy nginx") {
		t.Error("the log does not say that the option is missing")
	}
}

// The endpoint does not see when a request ends, so what is at a time is not limited.
func TestVerify_AProxysRequestsCountAMinute(t *testing.T) {
	g := newProxyVerifier(t)
	key, secret := g.limitedKey("requests=3/m concurrent=1 operations=recognize")
	for range 3 {
		wantProxyPassed(t, "caddy", g.askFor("caddy", "POST /v1/recognize?u="+secret, ""), key)
	}
	wantTooMany(t, g.askFor("caddy", "POST /v1/recognize?u="+secret, ""), 1, 60)
}
