package caddymodule_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
)

// deepgramListen returns a request for a recording. The lines are of its header.
func (g *gateway) deepgramListen(body string, lines ...string) string {
	return fmt.Sprintf("POST /v1/listen?model=nova-3&keyterm=a%%20b;c&tag=Token+x HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		g.addr, strings.Join(append(lines, ""), "\r\n"), len(body), body)
}

func TestDeepgram_TheBackendGetsTheUpstreamKeyAndTheBodyAsItCame(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	_, key := g.issue(keystore.NewKey{})
	audio := "RIFF\x00\r\n\r\nAuthorization: Token x\r\n"
	for name, test := range map[string]struct{ body, line string }{
		"a recording":              {audio, "Content-Type: audio/wav"},
		"no content type":          {audio, "X-Deepgram-Session-Id: 1"},
		"raw bytes":                {audio, "Content-Type: application/octet-stream"},
		"raw bytes called a form":  {audio, "Content-Type: application/x-www-form-urlencoded"},
		"a URL":                    {`{"url":"https://example.com/a.wav?token=x", "u": 1}`, "Content-Type: application/json"},
		"an unfinished multipart":  {"--b\r\n", "Content-Type: multipart/form-data; boundary=b"},
		"nothing":                  {"", "Content-Type: audio/wav"},
		"a JSON that is no object": {`[`, "Content-Type: application/json; charset=utf-8"},
	} {
		for _, scheme := range []string{"Token ", "token ", "TOKEN  ", "Bearer ", "bEARER "} {
			request := g.deepgramListen(test.body, "Authorization: "+scheme+key, test.line)
			if got := g.send(request); got.status != http.StatusOK {
				t.Fatalf("%s, %s: status %d, %s", name, scheme, got.status, got.body)
			}
			got := g.backend.received()
			if !strings.HasPrefix(got, "POST /v1/listen?model=nova-3&keyterm=a%20b;c&tag=Token+x HTTP/1.1\r\n") || !strings.HasSuffix(got, "\r\n\r\n"+test.body) || !strings.Contains(got, test.line+"\r\n") {
				t.Errorf("%s, %s: the backend got %q", name, scheme, got)
			}
			if strings.Count(got, "Authorization: Token "+backendKey+"\r\n") != 1 || strings.Count(got, "Authorization") != 1+strings.Count(test.body, "Authorization") || strings.Contains(got, key) {
				t.Errorf("%s, %s: the backend got the header %q", name, scheme, got)
			}
		}
	}
	// The library for Go sends its audio in chunks.
	request := "POST /v1/listen HTTP/1.1\r\nHost: " + g.addr + "\r\nAuthorization: token " + key + "\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nRIFF\r\n0\r\n\r\n"
	if got := g.send(request); got.status != http.StatusOK {
		t.Fatalf("chunked: status %d, %s", got.status, got.body)
	}
	if got := g.backend.received(); !strings.HasSuffix(got, "\r\n\r\n4\r\nRIFF\r\n0\r\n\r\n") || strings.Contains(got, key) {
		t.Errorf("chunked: the backend got %q", got)
	}
	for _, path := range []string{"/v1/models", "/v1/models?include_outdated=true", "/v1/models/5a9dbb0c-0000-4000-8000-000000000001"} {
		if got := g.send("GET " + path + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\nAuthorization: Token " + key + "\r\n\r\n"); got.status != http.StatusOK {
			t.Errorf("%s: status %d", path, got.status)
		}
		if got := g.backend.received(); !strings.HasPrefix(got, "GET "+path+" HTTP/1.1\r\n") || !strings.Contains(got, "Authorization: Token "+backendKey+"\r\n") {
			t.Errorf("%s: the backend got %q", path, got)
		}
	}
}

func TestR16_Deepgram_RefusalsLookLikeTheVendors(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	_, expired := g.expired()
	_, bound := g.issue(keystore.NewKey{Allow: g.allow("192.0.2.1")})
	_, good := g.issue(keystore.NewKey{})
	_, other := g.issue(keystore.NewKey{})
	manage := func(method, path string) string {
		return method + " " + path + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\nAuthorization: Token " + good + "\r\nContent-Length: 0\r\n\r\n"
	}
	const audio = "RIFF"
	for name, test := range map[string]struct {
		request, code string
		status        int
	}{
		"no key":                 {g.deepgramListen(audio), "INVALID_AUTH", 401},
		"an unknown key":         {g.deepgramListen(audio, "Authorization: Token x"), "INVALID_AUTH", 401},
		"an expired key":         {g.deepgramListen(audio, "Authorization: Token "+expired), "INVALID_AUTH", 401},
		"two keys":               {g.deepgramListen(audio, "Authorization: Token "+good, "Authorization: Bearer "+other), "INVALID_AUTH", 401},
		"another address":        {g.deepgramListen(audio, "Authorization: Token "+bound), "INSUFFICIENT_PERMISSIONS", 403},
		"a list of projects":     {manage("GET", "/v1/projects"), "NOT_FOUND", 404},
		"a new key":              {manage("POST", "/v1/projects/p/keys"), "NOT_FOUND", 404},
		"a deleted project":      {manage("DELETE", "/v1/projects/p"), "NOT_FOUND", 404},
		"the requests":           {manage("GET", "/v1/projects/p/requests"), "NOT_FOUND", 404},
		"the balance":            {manage("GET", "/v1/projects/p/balances"), "NOT_FOUND", 404},
		"a project by dots":      {manage("GET", "/v1/models/../projects"), "NOT_FOUND", 404},
		"a project by an escape": {manage("GET", "/v1/models/%2e%2e%2fprojects"), "NOT_FOUND", 404},
		"speech":                 {manage("POST", "/v1/speak"), "NOT_FOUND", 404},
	} {
		got := g.send(test.request)
		id := got.header.Get("Dg-Request-Id")
		if got.status != test.status || !strings.HasPrefix(got.body, `{"err_code":"`+test.code+`","err_msg":"`) || !strings.HasSuffix(got.body, `","request_id":"`+id+`"}`) || id == "" {
			t.Errorf("%s: status %d, %s, %s", name, got.status, got.raw, got.body)
		}
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: header %v", name, got.header)
		}
	}
	if got := g.backend.received(); got != "" {
		t.Errorf("the backend got %q", got)
	}
	g.backend.respondText(http.StatusUnauthorized, `{"err_code":"INVALID_AUTH","err_msg":"Invalid credentials.","request_id":"`+backendKey+`"}`)
	if got := g.send(g.deepgramListen(audio, "Authorization: Token "+good)); got.status != http.StatusBadGateway || strings.Contains(got.body, backendKey) || !strings.Contains(got.body, `"err_code":"BAD_GATEWAY"`) {
		t.Errorf("the backend refuses the upstream key: status %d, %s", got.status, got.body)
	}
}

func TestDeepgram_AStreamTakesTheKeyOfTheHandshake(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	_, key := g.issue(keystore.NewKey{})
	const session = "x-deepgram-session-id, 7b5f0a5e-0000-4000-8000-000000000001"
	for name, test := range map[string]struct {
		lines   []string
		backend string // the subprotocol of the backend
		client  string // the subprotocol that the client gets
		offered string // what the backend is offered
	}{
		"a header":                   {lines: []string{"Authorization: Token " + key}},
		"the library for Go":         {lines: []string{"Authorization: token " + key}},
		"a bearer":                   {lines: []string{"Authorization: Bearer " + key}},
		"a subprotocol":              {[]string{"Sec-WebSocket-Protocol: token, " + key}, "", "token", ""},
		"a page of the library":      {[]string{"Sec-WebSocket-Protocol: token, " + key + ", " + session}, "", "token", session},
		"a bearer subprotocol":       {[]string{"Sec-WebSocket-Protocol: bearer," + key + "," + session}, "", "bearer", session},
		"a session before the key":   {[]string{"Sec-WebSocket-Protocol: " + session + ",token," + key}, "", "token", session},
		"lines of subprotocols":      {[]string{"Sec-WebSocket-Protocol: token", "Sec-WebSocket-Protocol: " + key}, "", "token", ""},
		"a header and a subprotocol": {[]string{"Authorization: Token " + key, "Sec-WebSocket-Protocol: token, " + key}, "", "token", ""},
		"the backend has chosen":     {[]string{"Sec-WebSocket-Protocol: token, " + key + ", x-deepgram-session-id"}, "x-deepgram-session-id", "x-deepgram-session-id", "x-deepgram-session-id"},
	} {
		for _, path := range []string{"/v1/listen?model=nova-3&interim_results=true", "/v2/listen?model=flux-general-en"} {
			t.Run(name+path[:3], func(t *testing.T) {
				_ = g.backend.received()
				g.backend.realtime(t, test.backend, echo(`{"type":"Connected"}`))
				c, header := g.dialKeyed(t, path, test.lines...)
				if got := header.Get("Sec-WebSocket-Protocol"); got != test.client || header.Get("Sec-WebSocket-Extensions") != "" {
					t.Errorf("the client gets the subprotocol %q, want %q, header %v", got, test.client, header)
				}
				c.WantText(`{"type":"Connected"}`)
				c.Send(wstest.Raw(wstest.Fin|wstest.OpText, wstest.Mask(), 0, []byte(`{"type":"KeepAlive"}`)))
				c.WantText(`echo {"type":"KeepAlive"}`)
				got := g.backend.received()
				if !strings.HasPrefix(got, "GET "+path+" HTTP/1.1\r\n") || strings.Count(got, "Authorization: Token "+backendKey+"\r\n") != 1 || strings.Contains(got, key) || strings.Contains(got, "permessage-deflate") {
					t.Errorf("the backend got %q", got)
				}
				_, offered, _ := strings.Cut(got, "Sec-WebSocket-Protocol: ")
				offered, _, _ = strings.Cut(offered, "\r\n")
				if strings.ReplaceAll(offered, " ", "") != strings.ReplaceAll(test.offered, " ", "") || test.offered == "" && strings.Contains(got, "Sec-WebSocket-Protocol") {
					t.Errorf("the backend is offered %q, want %q", offered, test.offered)
				}
				_ = c.Close()
				g.wantNoStreams(t)
			})
		}
	}
	if text := g.log(); strings.Contains(text, key) || strings.Contains(text, backendKey) {
		t.Error("the log has a key")
	}
}

func TestR14_Deepgram_AStreamEndsWithItsKey(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	for path, want := range map[string]string{
		"/v1/listen": `"variant":"INVALID_AUTH"`,
		"/v2/listen": `"sequence_id":0,"code":"INVALID_AUTH"`,
	} {
		key, secret := g.issue(keystore.NewKey{})
		g.backend.realtime(t, "", say("{}"))
		c, _ := g.dialKeyed(t, path, "Authorization: Token "+secret)
		c.WantText("{}")
		g.revoke(key)
		wantLast(t, c, 1000, `{"type":"Error",`, want)
		g.wantNoStreams(t)
		c = wstest.Dial(t, g.addr, g.keyedHandshake(path, "Authorization: Token "+secret))
		if got := readReply(t, c.Conn); got.status != http.StatusUnauthorized {
			t.Errorf("%s: a new stream with the key: %s", path, got.raw)
		}
	}
}

func TestR21_Deepgram_NoStreamWithoutAKeyReachesTheBackend(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "max_streams 1")
	_, expired := g.expired()
	_, bound := g.issue(keystore.NewKey{Allow: g.allow("192.0.2.1")})
	_, good := g.issue(keystore.NewKey{})
	_, other := g.issue(keystore.NewKey{})
	for name, test := range map[string]struct {
		status int
		lines  []string
	}{
		"no key":                {401, nil},
		"an unknown key":        {401, []string{"Sec-WebSocket-Protocol: token, nobody"}},
		"a key without a name":  {401, []string{"Sec-WebSocket-Protocol: " + good}},
		"a name without a key":  {401, []string{"Sec-WebSocket-Protocol: token"}},
		"the key in a session":  {401, []string{"Sec-WebSocket-Protocol: x-deepgram-session-id, " + good}},
		"an expired key":        {401, []string{"Authorization: Token " + expired}},
		"two keys":              {401, []string{"Authorization: Token " + good, "Sec-WebSocket-Protocol: token, " + other}},
		"two subprotocols":      {401, []string{"Sec-WebSocket-Protocol: token, " + good + ", bearer, " + other}},
		"another address":       {403, []string{"Authorization: Token " + bound}},
		"another address, page": {403, []string{"Sec-WebSocket-Protocol: token, " + bound}},
	} {
		for _, path := range []string{"/v1/listen", "/v2/listen"} {
			c := wstest.Dial(t, g.addr, g.keyedHandshake(path, test.lines...))
			got := readReply(t, c.Conn)
			if got.status != test.status || got.header.Get("Dg-Error") != http.StatusText(test.status) || got.header.Get("Dg-Request-Id") == "" || !strings.Contains(got.body, got.header.Get("Dg-Request-Id")) {
				t.Errorf("%s, %s: %s, %s", name, path, got.raw, got.body)
			}
		}
	}
	if n := g.backend.connections(); n != 0 {
		t.Errorf("the backend has had %d connections", n)
	}
	g.wantNoStreams(t)
	// A backend that refuses the upstream key, or something else, opens no stream.
	handshake := g.keyedHandshake("/v1/listen", "Authorization: Token "+good)
	g.backend.respondText(http.StatusUnauthorized, `{"err_code":"INVALID_AUTH"}`)
	c := wstest.Dial(t, g.addr, handshake)
	if got := readReply(t, c.Conn); got.status != http.StatusBadGateway || got.header.Get("Dg-Error") == "" {
		t.Errorf("the upstream key is refused: %s, %s", got.raw, got.body)
	}
	g.backend.respondText(http.StatusBadRequest, `{"err_code":"INVALID_QUERY_PARAMETER"}`)
	c = wstest.Dial(t, g.addr, handshake)
	if got := readReply(t, c.Conn); got.status != http.StatusBadRequest || !strings.Contains(got.body, "INVALID_QUERY_PARAMETER") {
		t.Errorf("the backend's refusal: %s, %s", got.raw, got.body)
	}
	g.wantNoStreams(t)
}

// A granted token passes to the backend as it is, with Bearer or after the subprotocol bearer, and
// ends with its key.
func TestDeepgram_AGrantedTokenCountsAsItsKey(t *testing.T) {
	g := newDialectGateway(t, "deepgram", "")
	owner, key := g.issue(keystore.NewKey{})
	const token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.0123456789-abcdefgh_"
	grant := func(authorization string) reply {
		const body = `{"ttl_seconds": 60}`
		return g.send(fmt.Sprintf("POST /v1/auth/grant HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", g.addr, authorization, len(body), body))
	}
	g.backend.respondText(http.StatusOK, `{"access_token":"`+token+`","expires_in":60}`)
	if got := grant("Token nobody"); got.status != http.StatusUnauthorized {
		t.Fatalf("a grant to an unknown key: status %d", got.status)
	}
	if got := grant("Token " + key); got.status != http.StatusOK || got.body != `{"access_token":"`+token+`","expires_in":60}` {
		t.Fatalf("the grant: status %d, %s", got.status, got.body)
	}
	if got := g.backend.received(); !strings.HasSuffix(got, "\r\n\r\n"+`{"ttl_seconds": 60}`) || !strings.Contains(got, "Authorization: Token "+backendKey+"\r\n") || strings.Contains(got, key) {
		t.Errorf("the backend got %q", got)
	}
	g.backend.respondText(http.StatusOK, "{}")
	if got := g.send(g.deepgramListen("RIFF", "Authorization: Bearer "+token)); got.status != http.StatusOK {
		t.Errorf("a recording: status %d, %s", got.status, got.body)
	}
	if got := g.backend.received(); strings.Count(got, "Authorization: Bearer "+token+"\r\n") != 1 || strings.Contains(got, backendKey) {
		t.Errorf("a recording: the backend got %q", got)
	}
	for name, request := range map[string]string{
		"with Token":        g.deepgramListen("RIFF", "Authorization: Token "+token),
		"a part of it":      g.deepgramListen("RIFF", "Authorization: Bearer "+token[:40]),
		"after token":       g.keyedHandshake("/v1/listen", "Sec-WebSocket-Protocol: token, "+token),
		"beside a key":      g.deepgramListen("RIFF", "Authorization: Bearer "+token, "Authorization: Token "+key),
		"beside other keys": g.keyedHandshake("/v1/listen", "Authorization: Token "+key, "Sec-WebSocket-Protocol: bearer, "+token),
	} {
		if got := g.send(request); got.status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", name, got.status)
		}
	}
	if got := g.backend.received(); got != "" {
		t.Errorf("the backend got %q", got)
	}
	g.backend.realtime(t, "", say("{}"))
	page := "Sec-WebSocket-Protocol: bearer, " + token + ", x-deepgram-session-id, 7b5f0a5e"
	c, header := g.dialKeyed(t, "/v1/listen", page)
	if got := header.Get("Sec-WebSocket-Protocol"); got != "bearer" {
		t.Errorf("the client gets the subprotocol %q", got)
	}
	c.WantText("{}")
	if got := g.backend.received(); !strings.Contains(got, page+"\r\n") || strings.Contains(got, "Authorization") {
		t.Errorf("the backend got %q", got)
	}
	g.revoke(owner)
	wantLast(t, c, 1000, `"variant":"INVALID_AUTH"`)
	if got := g.send(g.deepgramListen("RIFF", "Authorization: Bearer "+token)); got.status != http.StatusUnauthorized {
		t.Errorf("after the key is revoked: status %d", got.status)
	}
	if text := g.log(); strings.Contains(text, token) || strings.Contains(text, backendKey) {
		t.Error("the log has a token or a key")
	}
}
