package caddymodule_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// openAIUpload returns an upload as the vendor's library for JavaScript writes it: the audio first, and the
// model after it.
func (g *gateway) openAIUpload(headers string) string {
	const boundary = "----formdata-undici-0123456789"
	body := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22b.wav\"\r\nContent-Type: audio/wav\r\n\r\n" +
		"RIFF\x00authorization=not-a-key\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--" + boundary + "--\r\n"
	return fmt.Sprintf("POST /v1/audio/transcriptions?x=a;b HTTP/1.1\r\nHost: %s\r\n%sContent-Type: multipart/form-data; boundary=%s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		g.addr, headers, boundary, len(body), body)
}

func TestOpenAI_TheBackendGetsTheUpstreamKeyAndTheBodyAsItCame(t *testing.T) {
	g := newDialectGateway(t, "openai", "")
	_, key := g.issue(keystore.NewKey{})
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		request := g.openAIUpload("Authorization: " + scheme + key + "\r\n")
		if got := g.send(request); got.status != http.StatusOK {
			t.Fatalf("%s: status %d, %s", scheme, got.status, got.body)
		}
		got := g.backend.received()
		_, body, _ := strings.Cut(request, "\r\n\r\n")
		if !strings.HasPrefix(got, "POST /v1/audio/transcriptions?x=a;b HTTP/1.1\r\n") || !strings.HasSuffix(got, "\r\n\r\n"+body) {
			t.Errorf("%s: the backend got %q", scheme, got)
		}
		if strings.Count(got, "Authorization: Bearer "+backendKey+"\r\n") != 1 || strings.Contains(got, key) {
			t.Errorf("%s: the backend got the header %q", scheme, got)
		}
	}
	for _, path := range []string{"/v1/models", "/v1/models/whisper-1", "/v1/models/gpt-4o-transcribe:2026"} {
		if got := g.send("GET " + path + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\nAuthorization: Bearer " + key + "\r\n\r\n"); got.status != http.StatusOK {
			t.Errorf("%s: status %d", path, got.status)
		}
		if got := g.backend.received(); !strings.HasPrefix(got, "GET "+path+" HTTP/1.1\r\n") {
			t.Errorf("%s: the backend got %q", path, got)
		}
	}
}

// Engines such as LocalAI take a key in other fields too, and clients send their key in both. The backend
// must not get it there.
func TestR18_OpenAI_TheKeyInAFieldOfAnotherAPIStaysAtTheGate(t *testing.T) {
	const short = "short-key"
	const imported = "imported/key+0123456789=="
	for mode, sent := range map[string]string{"upstream_key " + backendKey: backendKey, "upstream_key drop": "", "upstream_key pass": "the client's"} {
		g := newGatewayWith(t, &gateway{dialect: "openai", options: mode})
		_, key := g.issue(keystore.NewKey{})
		if _, err := g.keys.ImportKeys(t.Context(), now(), operator, keystore.Import{AccountID: g.account.ID, Expires: policy.Never(), Secrets: []policy.Secret{policy.NewSecret(short), policy.NewSecret(imported)}}); err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{key, short} {
			got := g.ask("GET", "/v1/models", "Bearer "+shown, "", "X-Api-Key: "+shown, "X-Trace: a short-key word", "X-Other: "+shown[1:])
			received := g.backend.received()
			if got.status != http.StatusOK || !strings.Contains(received, "X-Trace: a short-key word\r\n") || !strings.Contains(received, "X-Other: "+shown[1:]+"\r\n") {
				t.Errorf("%s: status %d, the backend got %q", mode, got.status, received)
			}
			if kept := !strings.Contains(received, "X-Api-Key"); kept != (sent != "the client's") || strings.Contains(received, "Authorization: Bearer "+sent+"\r\n") != (sent == backendKey) {
				t.Errorf("%s: the backend got %q", mode, received)
			}
		}
		for _, shown := range []string{key, imported} {
			_ = g.ask("GET", "/v1/models", "Bearer "+shown, "", "Referer: https://app.example/?key="+url.QueryEscape(shown)+"#a")
			if received := g.backend.received(); !strings.HasPrefix(received, "GET /v1/models ") || strings.Contains(received, "Referer") != (sent == "the client's") {
				t.Errorf("%s: the backend got %q", mode, received)
			}
		}
	}
}

// The vendor's libraries make the type of their error from the status, and read the members of the
// object error.
func TestR16_OpenAI_RefusalsLookLikeTheVendors(t *testing.T) {
	g := newDialectGateway(t, "openai", "")
	_, expired := g.expired()
	_, bound := g.issue(keystore.NewKey{Allow: g.allow("192.0.2.1")})
	_, good := g.issue(keystore.NewKey{})
	upload := func(key string) string { return g.openAIUpload("Authorization: Bearer " + key + "\r\n") }
	for name, test := range map[string]struct {
		request, code string
		status        int
	}{
		"no key":            {g.openAIUpload(""), "null", 401},
		"an unknown key":    {upload("sk-proj-0123456789"), `"invalid_api_key"`, 401},
		"an expired key":    {upload(expired), `"invalid_api_key"`, 401},
		"another address":   {upload(bound), `"ip_not_authorized"`, 401},
		"an unlisted path":  {strings.Replace(upload(good), "/v1/audio/transcriptions", "/v1/chat/completions", 1), "null", 404},
		"an unlisted query": {"DELETE /v1/models/whisper-1 HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\nAuthorization: Bearer " + good + "\r\n\r\n", "null", 404},
	} {
		got := g.send(test.request)
		var body struct {
			Error *struct {
				Message, Type string
				Param         any
				Code          json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(got.body), &body); err != nil || body.Error == nil {
			t.Fatalf("%s: %v, %s, body %q", name, err, got.raw, got.body)
		}
		if got.status != test.status || string(body.Error.Code) != test.code || body.Error.Message == "" || body.Error.Type != "invalid_request_error" {
			t.Errorf("%s: status %d, %s", name, got.status, got.body)
		}
		if id := got.header.Get("X-Request-Id"); len(id) != len("req_")+32 || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: header %v", name, got.header)
		}
	}
	if got := g.backend.received(); got != "" {
		t.Errorf("the backend got %q", got)
	}
	g.backend.respondText(http.StatusUnauthorized, `{"error":{"message":"Incorrect API key provided: `+backendKey+`","code":"invalid_api_key"}}`)
	if got := g.send(upload(good)); got.status != http.StatusBadGateway || strings.Contains(got.body, backendKey) || !strings.Contains(got.body, `"type":"server_error"`) {
		t.Errorf("the backend refuses the upstream key: status %d, %s", got.status, got.body)
	}
}

func TestOpenAI_ServerSentEventsAreNotHeld(t *testing.T) {
	g := newDialectGateway(t, "openai", "")
	_, key := g.issue(keystore.NewKey{})
	seen := make(chan struct{})
	g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"type\":\"transcript.text.delta\",\"delta\":\"a\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-seen:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	})
	conn := g.dial(t)
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.WriteString(conn, g.openAIUpload("Authorization: Bearer "+key+"\r\n")) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, len("data: {"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: {" {
		t.Fatalf("the first event: %q, %v", first, err)
	}
	close(seen)
	if rest, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("the rest: %q, %v", rest, err)
	}
}

func TestOpenAI_RealtimeTakesTheKeyOfTheHandshake(t *testing.T) {
	g := newDialectGateway(t, "openai", "")
	_, key := g.issue(keystore.NewKey{})
	for name, test := range map[string]struct {
		lines       []string
		backend     string // the subprotocol of the backend
		client      string // the subprotocol that the client gets
		subprotocol string // what the backend is offered
	}{
		"a header":      {lines: []string{"Authorization: Bearer " + key}},
		"a subprotocol": {[]string{"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key." + key + ", openai-beta.realtime-v1"}, "realtime", "realtime", "realtime, openai-beta.realtime-v1"},
		"lines of subprotocols": {
			[]string{"Sec-WebSocket-Protocol: openai-insecure-api-key." + key, "Sec-WebSocket-Protocol: realtime"}, "", "realtime", "realtime",
		},
		"both":              {[]string{"Sec-WebSocket-Protocol: realtime,openai-insecure-api-key." + key, "Authorization: Bearer " + key}, "", "realtime", "realtime"},
		"the key alone":     {lines: []string{"Sec-WebSocket-Protocol: openai-insecure-api-key." + key}},
		"without a browser": {[]string{"Sec-WebSocket-Protocol: realtime", "Authorization: bearer " + key}, "realtime", "realtime", "realtime"},
	} {
		t.Run(name, func(t *testing.T) {
			_ = g.backend.received()
			g.backend.realtime(t, test.backend, echo(`{"type":"session.created"}`))
			c, header := g.dialKeyed(t, realtime, test.lines...)
			if got := strings.Join(header.Values("Sec-WebSocket-Protocol"), ", "); got != test.client || header.Get("Sec-WebSocket-Extensions") != "" {
				t.Errorf("the client gets the subprotocol %q, want %q, header %v", got, test.client, header)
			}
			c.WantText(`{"type":"session.created"}`)
			c.Send(wstest.Raw(wstest.Fin|wstest.OpText, wstest.Mask(), 0, []byte(`{"type":"input_audio_buffer.append"}`)))
			c.WantText(`echo {"type":"input_audio_buffer.append"}`)
			got := g.backend.received()
			if strings.Count(got, "Authorization: Bearer "+backendKey+"\r\n") != 1 || strings.Contains(got, key) || strings.Contains(got, "permessage-deflate") {
				t.Errorf("the backend got %q", got)
			}
			if offered := strings.Contains(got, "Sec-WebSocket-Protocol: "+test.subprotocol+"\r\n"); offered != (test.subprotocol != "") {
				t.Errorf("the backend is offered %q", got)
			}
			_ = c.Close()
			g.wantNoStreams(t)
		})
	}
	if text := g.log(); strings.Contains(text, key) || strings.Contains(text, backendKey) {
		t.Error("the log has a key")
	}
}

func TestR14_OpenAI_AStreamEndsWithItsKey(t *testing.T) {
	g := newDialectGateway(t, "openai", "")
	key, secret := g.issue(keystore.NewKey{})
	g.backend.realtime(t, "", say("{}"))
	c, _ := g.dialKeyed(t, realtime, "Authorization: Bearer "+secret)
	c.WantText("{}")
	g.revoke(key)
	wantLast(t, c, 1008, `"type":"error"`, `"code":"invalid_api_key"`)
	g.wantNoStreams(t)
	c, _ = g.dialKeyed(t, realtime, "Authorization: Bearer "+secret)
	wantLast(t, c, 3000, `"code":"invalid_api_key"`)
}

func TestR21_OpenAI_NoStreamWithoutAKeyReachesTheBackend(t *testing.T) {
	g := newDialectGateway(t, "openai", "max_streams 1")
	_, expired := g.expired()
	_, good := g.issue(keystore.NewKey{})
	_, other := g.issue(keystore.NewKey{})
	for name, lines := range map[string][]string{
		"no key":         nil,
		"an unknown key": {"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.nobody"},
		"an expired key": {"Authorization: Bearer " + expired},
		"two keys":       {"Authorization: Bearer " + good, "Sec-WebSocket-Protocol: openai-insecure-api-key." + other},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := g.dialKeyed(t, realtime, lines...)
			wantLast(t, c, 3000, `"type":"error"`)
		})
	}
	if n := g.backend.connections(); n != 0 {
		t.Errorf("the backend has had %d connections", n)
	}
	g.wantNoStreams(t)
	// A backend that does not answer, or answers something else, opens no stream.
	g.backend.respondText(http.StatusNotFound, `{"error":{"message":"no realtime here"}}`)
	c := wstest.Dial(t, g.addr, g.keyedHandshake(realtime, "Authorization: Bearer "+good))
	if got := readReply(t, c.Conn); got.status != http.StatusNotFound || !strings.Contains(got.body, "no realtime here") {
		t.Errorf("the backend's refusal: status %d, %s", got.status, got.body)
	}
	g.wantNoStreams(t)
}
