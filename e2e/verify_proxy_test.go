package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// askedBackend is a backend that checks no keys, behind a proxy that asks speechgate_verify. It counts
// the requests that reach it.
type askedBackend struct {
	addr     string
	requests atomic.Int64
}

func newAskedBackend(t *testing.T) *askedBackend {
	t.Helper()
	b := new(askedBackend)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.requests.Add(1)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	b.addr = strings.TrimPrefix(server.URL, "http://")
	return b
}

// asksAbout sends requests through the proxy at addr, and checks which reach the backend and which
// refusals the client sees.
func (b *askedBackend) asksAbout(t *testing.T, p *program, addr string, status int) {
	t.Helper()
	account := p.account()
	keyID, key := p.key(account)
	_, bound := p.key(account, "--allow", "127.0.0.1")
	_, elsewhere := p.key(account, "--allow", "192.0.2.99")
	audio := bytes.Repeat([]byte("audio"), 400_000)
	send := func(method, path string, header ...string) (int, http.Header, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+addr+path, bytes.NewReader(audio))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "asr.example.com"
		for i := 0; i < len(header); i += 2 {
			req.Header.Add(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return resp.StatusCode, resp.Header, string(body)
	}
	passed := 0
	for name, request := range map[string][]string{
		"a key in the query":            {"/v1/recognize?d=-a-general&u=" + key},
		"a key in a header field":       {"/v1/recognize", "Authorization", "Bearer " + key},
		"a key of the client's address": {"/v1/recognize?u=" + bound},
		"a key, and a forged address":   {"/v1/recognize?u=" + bound, "X-Forwarded-For", "192.0.2.99"},
	} {
		if got, _, body := send(http.MethodPost, request[0], request[1:]...); got != http.StatusOK || body != string(audio) {
			t.Errorf("%s: status %d, and %d bytes: %.200s", name, got, len(body), body)
		}
		passed++
	}
	const denied = `"code":"-","message":"received illegal service authorization"}`
	for name, request := range map[string][]string{
		"no key":                  {"/v1/recognize"},
		"an unknown key":          {"/v1/recognize?u=unknown"},
		"a key in another field":  {"/v1/recognize", "X-Original-URI", "/v1/recognize?u=" + key, "X-Forwarded-Uri", "/v1/recognize?u=" + key},
		"a key of another client": {"/v1/recognize?u=" + elsewhere, "X-Forwarded-For", "192.0.2.99", "X-Real-IP", "192.0.2.99"},
		"a job":                   {"/v1/recognize", "Speechgate-Job", "job"},
	} {
		if got, header, body := send(http.MethodPost, request[0], request[1:]...); got != status || !strings.HasSuffix(strings.TrimRight(body, "\r\n"), denied) || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: want %d and the refusal of the API, got %d %v %s", name, status, got, header, body)
		}
	}
	if got, _, body := send(http.MethodGet, "/v1/recognitions/job", "Authorization", "Bearer unknown"); got != http.StatusUnauthorized || !strings.Contains(body, "illegal service authorization") {
		t.Errorf("a poll with an unknown key: %d %s", got, body)
	}
	for _, path := range []string{"/", "/admin", "/v1/recognitions?u=" + key, "/v1/%72ecognize?u=" + key, "/v1/../v1/recognize?u=" + key} {
		if got, _, body := send(http.MethodPost, path); got != http.StatusNotFound || body != "{}" {
			t.Errorf("%s: want 404, got %d %s", path, got, body)
		}
	}
	if got := b.requests.Load(); got != int64(passed) {
		t.Errorf("%d requests reached the backend, want %d", got, passed)
	}
	p.run("key", "revoke", keyID)
	p.eventually("the revoked key is refused", func() bool {
		got, _, _ := send(http.MethodPost, "/v1/recognize?u="+key)
		return got == status
	})
	p.kill()
	before := b.requests.Load()
	if got, _, body := send(http.MethodPost, "/v1/recognize?u="+bound); got < 500 || b.requests.Load() != before {
		t.Errorf("the endpoint is gone, and the client gets %d %s", got, body)
	}
}

// verifying is a gateway with an endpoint for a proxy at the port p.other.
func verifying(t *testing.T, proxy, more string) *program {
	t.Helper()
	p := newProgram(t, `{
	admin off
}
http://:8080 {
	speechgate amivoice
	speechgate_sandbox amivoice
}
http://:8081 {
	bind 127.0.0.1
	speechgate_verify amivoice {
		callers 127.0.0.1
		proxy `+proxy+`
	}
}
`+more)
	p.start()
	return p
}

// The configuration of nginx is the one of the page.
func TestVerify_NginxAsksBeforeItForwards(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/directives/speechgate_verify.md")
	if err != nil {
		t.Fatal(err)
	}
	b, p := newAskedBackend(t), verifying(t, "nginx", "")
	config := strings.NewReplacer("10.0.0.20:8080", b.addr, "127.0.0.1:8090", "127.0.0.1:"+p.other).Replace(string(block(t, page, "nginx")))
	b.asksAbout(t, p, startNginxServer(t, config), http.StatusOK)
}

func TestVerify_CaddyAsksBeforeItForwards(t *testing.T) {
	t.Parallel()
	b, p := newAskedBackend(t), verifying(t, "caddy", "")
	proxy := newProgram(t, `{
	admin off
}
http://:8080 {
	forward_auth 127.0.0.1:`+p.other+` {
		uri /
		copy_headers Speechgate-Key-ID Speechgate-Account-ID
	}
	reverse_proxy `+b.addr+`
}
`)
	proxy.probe = "/v1/recognitions/unknown"
	proxy.start()
	b.asksAbout(t, p, strings.Replace(strings.TrimPrefix(proxy.base, "http://"), "localhost", "127.0.0.1", 1), http.StatusUnauthorized)
}
