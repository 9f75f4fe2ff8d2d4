package caddymodule_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// request returns a request without a body, with this request line and these headers.
func (g *gateway) request(line string, headers ...string) reply {
	g.t.Helper()
	return g.send(line + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\n" + strings.Join(headers, "") + "\r\n")
}

func TestR15_WhatIsNotListedIsRefused(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey+"\n also_allow GET /v1/engines\n also_allow POST /v1/words")
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	bearer := "Authorization: Bearer " + secret + "\r\n"

	for _, line := range []string{
		"GET /", "GET /v1/recognize", "HEAD /v1/recognitions/j", "DELETE /v1/recognitions/j", "PUT /v1/recognitions/j",
		"post /v1/recognize", "GET /v1/recognitions", "POST /v3/recognitions", "OPTIONS /v1/recognize", "TRACE /v1/recognize",
		"GET //v1/recognitions/j", "GET /v1//recognitions/j", "GET /v1/./recognitions/j", "GET /v1/x/../recognitions/j",
		"GET /v1/recognitions/%2e%2e/recognize", "GET /v1/recognitions/a%2fb", "GET /v1/recognitions/j%00", "GET /v1/recognitions/j;x",
		"GET /v1/recognitions/j/", "GET /V1/recognitions/j", "GET /v1/recognitions/j%5c", "GET /v1%2frecognitions/j",
		"POST /issue_service_authorization", "GET /v1/", "GET /v1/nolog/", "POST /v1/engines", "HEAD /v1/engines", "GET /v1/engines/",
		"GET /v1/engines/../recognitions/j",
	} {
		t.Run(line, func(t *testing.T) {
			g.t = t
			got := g.request(line+"?u="+secret, bearer)
			want := `{}`
			if strings.HasPrefix(line, "HEAD") {
				want = ""
			}
			if got.status != http.StatusNotFound || got.body != want && got.body != "" {
				t.Errorf("status %d, body %q", got.status, got.body)
			}
			if sent := g.backend.received(); sent != "" {
				t.Errorf("the backend got %q", sent)
			}
		})
	}
	t.Run("a body on a poll", func(t *testing.T) {
		g.t = t
		smuggled := "DELETE /v1/escalation HTTP/1.1\r\nHost: x\r\nX-Swallow: "
		for _, framing := range []string{
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(smuggled), smuggled),
			fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled),
		} {
			got := g.send("GET /v1/recognitions/j HTTP/1.1\r\nHost: " + g.addr + "\r\n" + bearer + framing)
			if got.status != http.StatusBadRequest || !strings.Contains(got.raw, "Connection: close") {
				t.Errorf("status %d, header %v", got.status, got.header)
			}
		}
		if sent := g.backend.received(); sent != "" {
			t.Errorf("the backend got %q", sent)
		}
	})
	t.Run("also_allow opens its path to valid keys", func(t *testing.T) {
		g.t = t
		g.backend.respondText(http.StatusOK, "engines")
		if got := g.request("GET /v1/engines", bearer); got.status != http.StatusOK || got.body != "engines" {
			t.Errorf("status %d, body %q", got.status, got.body)
		}
		if sent := g.backend.received(); !strings.Contains(sent, "Authorization: Bearer "+backendKey) || strings.Contains(sent, secret) {
			t.Errorf("the backend got\n%s", sent)
		}
		g.send(g.form("/v1/words", [2]string{"u", secret}, [2]string{"w", "word"}))
		if sent := g.backend.received(); strings.Contains(sent, secret) || strings.Count(sent, backendKey) != 1 {
			t.Errorf("of a form the backend got\n%s", sent)
		}
		if got := g.send(strings.Replace(g.form("/v1/words", [2]string{"u", "other"}, [2]string{"w", "word"}),
			"Content-Length", bearer+"Content-Length", 1)); got.status != http.StatusNotFound {
			t.Errorf("two keys: status %d", got.status)
		}
		if got := g.request("GET /v1/engines?u=nobody"); got.status != http.StatusNotFound {
			t.Errorf("an unknown key: status %d", got.status)
		}
		if sent := g.backend.received(); sent != "" {
			t.Errorf("the backend got %q", sent)
		}
	})
}

// The log says which request the API does not list. A key in the path, as of a client that
// forgot the question mark, is not in the log, and neither is the query.
func TestR15_TheLogHasMethodAndPathOfUnlistedRequests(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey + "\n also_allow GET /profilewords/-a-general/{speechgate.account_id}",
		site:    "speechgate_issue\n" + defaultSite,
	})
	_, secret := g.issue(keystore.NewKey{})
	const foreign = "5f2b8c0d9e7a4b6c8d1e3f5a7b9c2d4e" // a key of another form than the gateway's
	bearer := "Authorization: Bearer " + secret + "\r\n"
	for request, want := range map[string]string{
		"GET /v1/engines?u=" + foreign:                       `"method":"GET","path":"/v1/engines","detail"`,
		"DELETE /v1/recognize":                               `"method":"DELETE","path":"/v1/recognize","detail"`,
		"POST /v1/recognize/" + foreign:                      `"method":"POST","path":"/v1/recognize/REDACTED","detail"`,
		"POST /v1/recognize/u=" + secret:                     `"method":"POST","path":"/v1/recognize/REDACTED","detail"`,
		"POST /v1/recognize&u=" + foreign:                    `"method":"POST","path":"/v1/REDACTED","detail"`,
		"GET /v1/recognitions/" + secret + "/x":              `"method":"GET","path":"/v1/recognitions/REDACTED/x","detail"`,
		"GET /" + backendKey:                                 `"method":"GET","path":"/REDACTED","detail"`,
		"GET /profilewords/-a-general/acc_abcdefghij0123456": `"method":"GET","path":"/profilewords/-a-general/REDACTED","detail"`,
		strings.ToUpper(foreign) + " /v1/engines":            `"method":"REDACTED","path":"/v1/engines","detail"`,
		"PUT /issue_service_authorization":                   `"method":"PUT","path":"/issue_service_authorization","detail"`,
	} {
		t.Run(request, func(t *testing.T) {
			g.t = t
			logged := len(g.log())
			g.request(request, bearer)
			log := g.log()[logged:]
			refused := false
			for line := range strings.Lines(log) {
				if strings.Contains(line, `"msg":"refused"`) {
					refused = true
					if !strings.Contains(line, want) || !strings.Contains(line, `"reason":"operation_unlisted"`) {
						t.Errorf("want %s in the line\n%s", want, line)
					}
					for _, key := range []string{secret, foreign, strings.ToUpper(foreign), backendKey} {
						if strings.Contains(line, key) {
							t.Errorf("a key is in the line\n%s", line)
						}
					}
				}
			}
			if !refused {
				t.Errorf("no refusal is in the log\n%s", log)
			}
		})
	}
	logged := len(g.log())
	g.request("GET /v2/recognitions/0123456789abcdef0123456789abcdef", bearer)
	if log := g.log()[logged:]; !strings.Contains(log, `"reason":"job_unknown"`) || strings.Contains(log, `"path":`) {
		t.Errorf("a refusal for another reason has no path; the log:\n%s", log)
	}
}

// A WebSocket handshake on another path than a stream's is refused, with a detail in the log. On
// the path of a stream, only a complete handshake is let through.
func TestR15_OnlyStreamsChangeProtocols(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey+"\n also_allow GET /v1/engines")
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	bearer := "Authorization: Bearer " + secret + "\r\n"
	webSocketKey := "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, test := range []struct{ path, fields, detail string }{
		{"/v1/recognitions/j", "Upgrade: websocket\r\n", "a WebSocket handshake, and the path is not a stream's"},
		{"/v1/engines", "Upgrade: WebSocket\r\n", "a WebSocket handshake, and the path is not a stream's"},
		{"/v1/engines", "Upgrade: h2c, websocket/13\r\n", "a WebSocket handshake, and the path is not a stream's"},
		{"/v1/engines", "Upgrade: h2c\r\nUpgrade: \twebsocket\r\n", "a WebSocket handshake, and the path is not a stream's"},
		{"/v1/", "Upgrade: h2c\r\n", "the request is no WebSocket handshake"},
		{"/v1/", "Upgrade: websocket, h2c\r\n", "the request is no WebSocket handshake"},
		{"/v1/nolog/", "Upgrade: websocket\r\nContent-Length: 1\r\n", "the request is no WebSocket handshake"},
		{"/v1/", "", "the request is no WebSocket handshake"},
		{"/v1/recognize", "", "lists the path with another method"},
		{"/v1/recognitions/a%2Fb", "", "the path has an escape such as %2F"},
		{"/v9/", "", "does not list the path"},
	} {
		t.Run(test.path+" "+strings.TrimSpace(test.fields), func(t *testing.T) {
			g.t = t
			logged := len(g.log())
			connection := "Connection: Upgrade\r\n"
			got := g.send("GET " + test.path + " HTTP/1.1\r\nHost: " + g.addr + "\r\n" + connection + bearer + webSocketKey + test.fields + "\r\n")
			if got.status != http.StatusNotFound {
				t.Errorf("status %d", got.status)
			}
			if sent := g.backend.received(); sent != "" {
				t.Errorf("the backend got %q", sent)
			}
			if log := g.log()[logged:]; !strings.Contains(log, `"operation_unlisted"`) || !strings.Contains(log, test.detail) {
				t.Errorf("the log has no detail %q:\n%s", test.detail, log)
			}
		})
	}
}

// A server may ignore Upgrade (RFC 9110, section 7.8). The gate does not send the field upstream,
// nor the fields that belong to it.
func TestR15_OtherOffersToChangeProtocolsAreIgnored(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey + "\n also_allow GET /v1/engines",
		site:    "speechgate_issue\n" + defaultSite,
	})
	key, secret := g.issue(keystore.NewKey{Issuable: true})
	g.recordJob("j", key, now())
	for name, fields := range map[string]string{
		"as the JDK's client": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\n",
		"TLS":                 "Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n",
		"without Connection":  "Upgrade: h2c\r\n",
		"without Upgrade":     "Connection: keep-alive, Upgrade\r\n",
		"a name that is near": "Connection: Upgrade\r\nUpgrade: websocketx, x-websocket\r\n",
		"empty":               "Connection: Upgrade\r\nUpgrade: \r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			bearer := func(key string) string { return "Authorization: Bearer " + key + "\r\n" + fields + "\r\n" }
			post := func(path, key string) reply {
				return g.send(strings.Replace(g.form(path, [2]string{"u", key}, [2]string{"a", audio}), "Connection: close\r\n", fields, 1))
			}
			get := func(path, key string) reply {
				return g.send("GET " + path + " HTTP/1.1\r\nHost: " + g.addr + "\r\n" + bearer(key))
			}
			for _, path := range []string{"/v1/recognize", "/v1/nolog/recognize"} {
				if got := post(path, secret); got.status != http.StatusOK || !strings.Contains(got.body, "hello") {
					t.Errorf("%s: status %d, body %q", path, got.status, got.body)
				}
			}
			for _, path := range []string{"/v1/recognitions/j", "/v1/engines"} {
				if got := get(path, secret); got.status != http.StatusOK {
					t.Errorf("%s: status %d", path, got.status)
				}
			}
			sent := g.backend.received()
			if head := strings.ToLower(sent); strings.Count(head, "\r\nhost: ") != 4 || strings.Contains(head, "upgrade") ||
				strings.Contains(head, "settings") || strings.Contains(head, "websocket") {
				t.Errorf("the backend got\n%s", sent)
			}
			if got := post("/v1/recognize", "nobody"); got.status != http.StatusOK || got.body != deniedBody {
				t.Errorf("a bad key: status %d, body %q", got.status, got.body)
			}
			if got := get("/v1/recognitions/j", "nobody"); got.status != http.StatusUnauthorized {
				t.Errorf("a poll with a bad key: status %d", got.status)
			}
			issue := func(key string) reply {
				return g.send("POST /issue_service_authorization HTTP/1.1\r\nHost: " + g.addr + "\r\nContent-Length: 0\r\n" + bearer(key))
			}
			if got := issue(secret); got.status != http.StatusOK || !strings.HasPrefix(got.body, "sgk_") {
				t.Errorf("issuing a key: status %d", got.status)
			}
			if got := issue("nobody"); got.status != http.StatusUnauthorized {
				t.Errorf("issuing a key with a bad one: status %d", got.status)
			}
			if sent := g.backend.received(); sent != "" {
				t.Errorf("the backend got %q", sent)
			}
		})
	}
	t.Run("a WebSocket that is not a GET", func(t *testing.T) {
		g.t = t
		request := g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"a", audio})
		got := g.send(strings.Replace(request, "Connection: close\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n", 1))
		if sent := g.backend.received(); got.status != http.StatusOK || strings.Contains(strings.ToLower(sent), "upgrade") {
			t.Errorf("status %d; the backend got\n%s", got.status, sent)
		}
	})
}

func TestR15_PreflightsAreAnsweredByTheGate(t *testing.T) {
	preflight := []string{"Origin: https://app.example.com\r\n", "Access-Control-Request-Method: POST\r\n", "Access-Control-Request-Headers: authorization\r\n"}
	for name, test := range map[string]struct{ options, allowed string }{
		"by default to every origin":  {"", "*"},
		"to a listed origin":          {"cors https://app.example.com https://b.example", "https://app.example.com"},
		"not to one that is unlisted": {"cors https://b.example", ""},
		"not at all if switched off":  {"cors off", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, "upstream_key "+backendKey+"\n"+test.options)
			got := g.request("OPTIONS /v1/recognize", preflight...)
			wantStatus := http.StatusNoContent
			if test.allowed == "" {
				wantStatus = http.StatusNotFound
			}
			if got.status != wantStatus || got.header.Get("Access-Control-Allow-Origin") != test.allowed {
				t.Errorf("status %d, allowed %q", got.status, got.header.Get("Access-Control-Allow-Origin"))
			}
			if test.allowed != "" && (got.header.Get("Access-Control-Allow-Methods") != "POST" ||
				!strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "Authorization")) {
				t.Errorf("header %v", got.header)
			}
			if got := g.request("OPTIONS /v1/nothing", preflight...); got.status != http.StatusNotFound {
				t.Errorf("a path that is not listed: status %d", got.status)
			}
			if sent := g.backend.received(); sent != "" {
				t.Errorf("the backend got %q", sent)
			}

			_, key := g.issue(keystore.NewKey{})
			g.backend.respond(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Access-Control-Allow-Origin", "https://backend.example")
			})
			for what, got := range map[string]reply{
				"an answer":  g.request("POST /v1/recognize?u="+key, preflight[0]),
				"a refusal ": g.request("POST /v1/recognize", preflight[0]),
			} {
				want := test.allowed
				if test.options == "cors off" && what == "an answer" {
					want = "https://backend.example"
				}
				if origins := strings.Join(got.header.Values("Access-Control-Allow-Origin"), "|"); origins != want {
					t.Errorf("%s allows %q, want %q", what, origins, want)
				}
				if exposed := got.header.Get("Access-Control-Expose-Headers"); (test.allowed != "") != (exposed == "X-Session-ID") {
					t.Errorf("%s exposes %q", what, exposed)
				}
			}
		})
	}
}

func TestR15_PreflightsAllowTheFieldsThatPagesSend(t *testing.T) {
	const tracing = "authorization, traceparent,baggage,sentry-trace , x-datadog-trace-id"
	for name, test := range map[string]struct{ options, asked, want string }{
		"every field that is asked for":         {"", tracing, "Authorization, Content-Type, traceparent, baggage, sentry-trace, x-datadog-trace-id"},
		"the API's own where none is asked for": {"", "", "Authorization, Content-Type"},
		"nothing that is no field's name":       {"", "a b, *, tracestate, x\"y", "Authorization, Content-Type, tracestate"},
		"those of the configuration":            {"cors_headers traceparent Baggage", tracing, "Authorization, Content-Type, traceparent, Baggage"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, "upstream_key "+backendKey+"\n"+test.options)
			asked := "Access-Control-Request-Headers: " + test.asked + "\r\n"
			if test.asked == "" {
				asked = ""
			}
			got := g.request("OPTIONS /v1/recognize", "Origin: https://app.example.com\r\n", "Access-Control-Request-Method: POST\r\n", asked)
			if allowed := got.header.Get("Access-Control-Allow-Headers"); got.status != http.StatusNoContent || allowed != test.want {
				t.Errorf("status %d, the fields %q, want %q", got.status, allowed, test.want)
			}
		})
	}
}

func TestR4_AddressIsTheOneThatCaddyFinds(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.issue(keystore.NewKey{Allow: g.allow("203.0.113.9, 2001:db8::/32, 198.51.100.10-198.51.100.20")})
	for header, allowed := range map[string]bool{
		"":                                                                      false,
		"X-Forwarded-For: 203.0.113.9\r\n":                                      true,
		"X-Forwarded-For: 203.0.113.8\r\n":                                      false,
		"X-Forwarded-For: 198.51.100.15\r\n":                                    true,
		"X-Forwarded-For: 198.51.100.21\r\n":                                    false,
		"X-Forwarded-For: 2001:DB8:0:0::1\r\n":                                  true,
		"X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n":                           false, // the one that the proxy saw counts
		"X-Forwarded-For: 192.0.2.1, 203.0.113.9\r\n":                           true,
		"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 192.0.2.1\r\n":        false,
		"X-Real-IP: 203.0.113.9\r\n":                                            false,
		"Forwarded: for=203.0.113.9\r\n":                                        false,
		"CF-Connecting-IP: 203.0.113.9\r\n":                                     false,
		"True-Client-IP: 203.0.113.9\r\n":                                       false,
		"X-Forwarded-For: 203.0.113.9\r\nConnection: X-Forwarded-For\r\n":       true,
		"X_Forwarded_For: 203.0.113.9\r\n":                                      false,
		"X-Forwarded-For: unknown\r\n":                                          false,
		"X-Forwarded-For: 203.0.113.9, junk\r\nX-Forwarded-For: 192.0.2.77\r\n": false,
		"X-Forwarded-For: \r\n":                                                 false,
		"X-Forwarded-For: ::ffff:203.0.113.9\r\n":                               true,
		"X-Forwarded-For: 0203.0.113.9\r\n":                                     false,
		"X-Forwarded-For: 203.0.113.9%eth0\r\n":                                 true, // and a zone
		"X-Forwarded-For: [2001:db8::1]:443\r\n":                                true, // Caddy takes the port off
		"X-Forwarded-For: 203.0.113.9:443\r\n":                                  true,
		"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.9\r\n":      true,
		"X-Forwarded-For: 127.0.0.1, 203.0.113.9, 127.0.0.1\r\n":                true,
	} {
		t.Run(strings.TrimSpace(header), func(t *testing.T) {
			g.t = t
			got := g.request("POST /v1/recognize?u="+secret, header)
			if passed := strings.Contains(g.backend.received(), backendKey); passed != allowed {
				t.Errorf("passed is %v (status %d, body %q)", passed, got.status, got.body)
			}
		})
	}
}

func TestR17_ErrorOfTheStoreIsNotARefusedKey(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	g.place.Spoil(t)
	eventually(t, func() bool { return g.poll("j", secret).status == http.StatusServiceUnavailable })
	g.backend.received()

	got := g.poll("j", secret)
	if got.body != `{"message":"service temporarily unavailable"}` || got.header.Get("Retry-After") == "" {
		t.Errorf("a poll: status %d, body %q, header %v", got.status, got.body, got.header)
	}
	got = g.send(requestForms["curl's form with u"](g, secret))
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" ||
		!strings.HasPrefix(got.body, `{"results":[{`) || !strings.HasSuffix(got.body, "\r\n") || !strings.Contains(got.raw, "\r\nX-Session-ID: ") {
		t.Errorf("a recognition: status %d, body %q\n%s", got.status, got.body, got.raw)
	}
	if sent := g.backend.received(); sent != "" {
		t.Errorf("the backend got %q", sent)
	}
	if !strings.Contains(g.log(), `"reason":"store_unavailable"`) {
		t.Error("the log does not name the reason")
	}
}
