package caddymodule_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
)

// unreadableBody is the answer to a recognition that cannot be read, byte for byte.
const unreadableBody = `{"results":[{"tokens":[],"tags":[],"rulename":"","text":""}],"text":"","code":"?","message":"received unreadable request"}` + "\r\n"

func TestR16_AnUnreadableRequestIsNotABadKey(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey+"\n max_head 1KiB")
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	good := g.form("/v1/recognize", [2]string{"u", secret}, [2]string{"a", audio})
	d := g.form("/v1/recognize", [2]string{"d", "x  authorization=" + secret}, [2]string{"a", audio})
	for name, test := range map[string]struct{ request, detail string }{
		"no boundary":          {strings.Replace(good, "; boundary=------------------------c0ffee", "", 1), "boundary"},
		"a wrong boundary":     {strings.Replace(good, "boundary=-", "boundary=x", 1), "does not begin with its boundary"},
		"a large head":         {g.form("/v1/recognize", [2]string{"d", strings.Repeat("x", 2000)}, [2]string{"u", secret}, [2]string{"a", audio}), "max_head"},
		"a key between spaces": {d, "run of spaces"},
		"a compressed body":    {strings.Replace(good, "Content-Length", "Content-Encoding: gzip\r\nContent-Length", 1), "Content-Encoding"},
		"another spelling":     {strings.Replace(good, "/v1/recognize", "/v1/recognize?[u]=x", 1), "spelled in another way"},
		"a broken escape":      {strings.Replace(good, "/v1/recognize", "/v1/recognize?%zz=x", 1), "percent-escape"},
		"a form that ends":     {strings.Replace(strings.Replace(good, "\r\n\r\n"+audio, "", 1), "--\r\n", "", 1), "ends before"},
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			before := len(g.log())
			request := test.request
			if name == "a form that ends" { // its length is another now
				head, body, _ := strings.Cut(request, "\r\n\r\n")
				request = strings.Replace(head, "Content-Length: ", fmt.Sprintf("Content-Length: %d\r\nX-Was: ", len(body)), 1) + "\r\n\r\n" + body
			}
			got := g.send(request)
			if got.status != http.StatusOK || got.body != unreadableBody || got.header.Get("X-Session-Id") == "" {
				t.Errorf("status %d, body %q", got.status, got.body)
			}
			if log := g.log()[before:]; !strings.Contains(log, `"reason":"request_malformed"`) || !strings.Contains(log, test.detail) {
				t.Errorf("the log has no detail %q:\n%s", test.detail, log)
			}
			if sent := g.backend.received(); sent != "" {
				t.Errorf("the backend got %q", sent)
			}
		})
	}
	t.Run("a poll", func(t *testing.T) {
		g.t = t
		got := g.request("GET /v1/recognitions/j?%zz=x", "Authorization: Bearer "+secret+"\r\n")
		if got.status != http.StatusBadRequest || got.body != `{"message":"received unreadable request"}` {
			t.Errorf("status %d, body %q", got.status, got.body)
		}
	})
	t.Run("a mistyped key is a bad key", func(t *testing.T) {
		g.t = t
		wantDenied(t, g.send(strings.Replace(good, secret, secret[:len(secret)-1]+"!", 1)))
	})
}

// A form with two Content-Type fields of Retrofit, and with a file name in Shift_JIS, arrives as it
// was sent.
func TestR19_UntidyFormsGoUpstreamAsTheyAre(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	_, secret := g.issue(keystore.NewKey{})
	form := g.form("/v1/recognize", [2]string{"d", "-a-general\r\n\tx  y\n"}, [2]string{"u", secret}, [2]string{"a", audio})
	head, text, _ := strings.Cut(form, "\r\n\r\n")
	text = strings.Replace(text, `name="u"`, `name="u"; filename="u"`+"\r\nContent-Type: multipart/form-data", 1)
	text = strings.Replace(text, `name="a"; filename="speech.wav"`, "filename=\"C:\\\x97\x5c\x8e\x5a\x95\x5c\"; name=\"a\"", 1)
	head = strings.Replace(head, "Content-Length: ", fmt.Sprintf("Content-Length: %d\r\nX-Was: ", len(text)), 1)
	got := g.send(head + "\r\n\r\n" + text)
	if got.status != http.StatusOK || !strings.Contains(got.body, "hello") {
		t.Fatalf("status %d, body %q; log:\n%s", got.status, got.body, g.log())
	}
	if sent, want := body(t, g.backend.received()), strings.Replace(text, secret, backendKey, 1); sent != want {
		t.Errorf("the backend got\n%q, want\n%q", sent, want)
	}
}

// tellingErrorRoutes log the request that they get, and forward it.
const tellingErrorRoutes = `handle_errors {
	header X-Route "{http.error.status_code} {http.request.uri} {http.request.header.Authorization}"
	reverse_proxy {backend}
}
`

func TestR18_AnUnreadBodyReachesNoErrorRoute(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		options: "upstream_key " + backendKey, site: "request_body {\n max_size 1KB\n}\n" + tellingErrorRoutes + defaultSite,
	})
	_, secret := g.issue(keystore.NewKey{})
	form := g.form("/v1/recognize", [2]string{"d", strings.Repeat("x", 2000)}, [2]string{"u", secret}, [2]string{"a", audio})
	head, body, _ := strings.Cut(form, "\r\n\r\n")
	head = strings.Replace(head, "Content-Length", "Transfer-Encoding: chunked\r\nX-Was", 1)
	chunk := fmt.Sprintf("\r\n\r\n%x\r\n%s\r\n", len(body), body)
	check := func(what string, got reply, status int) {
		t.Helper()
		if got.status != status || got.body != unreadableBody || got.header.Get("X-Route") != "" {
			t.Errorf("%s: status %d, body %q, route %q; want status %d", what, got.status, got.body, got.header.Get("X-Route"), status)
		}
		if sent := g.backend.received(); sent != "" {
			t.Errorf("%s: the backend got %q", what, sent)
		}
	}
	check("a body beyond request_body", g.send(head+chunk+"0\r\n\r\n"), http.StatusRequestEntityTooLarge)
	check("a broken chunk", g.send(head+"\r\n\r\nzz\r\n"), http.StatusOK)

	conn, err := net.DialTimeout("tcp", g.addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, head+"\r\n\r\n5\r\n--"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil { // the client sends no more
		t.Fatal(err)
	}
	check("a body that breaks off", readReply(t, conn), http.StatusOK)
	if log := g.log(); strings.Count(log, `"msg":"refused","reason":"request_malformed"`) != 3 || !strings.Contains(log, "request body too large") {
		t.Errorf("the log does not say three times why:\n%s", log)
	}
}

func TestR1_TheLogSaysWhereAKeyIsMissing(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	key, secret := g.issue(keystore.NewKey{})
	g.recordJob("j", key, now())
	upload := func(contentType, body string) string {
		return fmt.Sprintf("POST /v1/recognize HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", g.addr, contentType, len(body), body)
	}
	for detail, request := range map[string]string{
		"the request has no key: ":                           upload("audio/wav", audio),
		"the form has no key before the part a":              g.form("/v1/recognize", [2]string{"a", audio}, [2]string{"u", secret}),
		"is labelled application/x-www-form-urlencoded":      upload("application/x-www-form-urlencoded", "u="+secret),
		"is labelled as JSON":                                upload("application/json", `{"u":"`+secret+`"}`),
		"the key is in the query's u, where this operation ": "GET /v1/recognitions/j?u=" + secret + " HTTP/1.1\r\nHost: " + g.addr + "\r\nConnection: close\r\n\r\n",
	} {
		before := len(g.log())
		got := g.send(request)
		if denied := got.body == deniedBody || got.status == http.StatusUnauthorized; !denied {
			t.Errorf("%q: status %d, body %q", detail, got.status, got.body)
		}
		if log := g.log()[before:]; !strings.Contains(log, `"reason":"credential_missing"`) || !strings.Contains(log, detail) {
			t.Errorf("the log has no detail %q:\n%s", detail, log)
		}
	}
}
