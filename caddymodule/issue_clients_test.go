package caddymodule_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/keystore"
)

func TestIssue_ThrottlesWrongCredentialsOnly(t *testing.T) {
	i := newIssuer(t, "")
	from := func(addr string) string { return "X-Forwarded-For: " + addr + "\r\n" }
	wrong := func(addr string) reply { return i.call("sid=vendor-sid&spw=wrong-password", from(addr)) }
	for n := range 30 {
		if got := wrong("198.51.100.1"); got.status != 401 {
			t.Fatalf("failing call %d: status %d", n+1, got.status)
		}
	}
	for range 3 {
		got := wrong("198.51.100.1")
		var wait int
		if _, err := fmt.Sscan(got.header.Get("Retry-After"), &wait); err != nil || got.status != 429 || wait < 1 || wait > 60 {
			t.Fatalf("%d, Retry-After %q", got.status, got.header.Get("Retry-After"))
		}
	}
	for name, got := range map[string]reply{
		"another address": wrong("198.51.100.2"), "an IPv6 address": wrong("2001:db8::1"),
	} {
		if got.status != 401 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	for range 29 {
		wrong("2001:db8::2") // of the same /64
	}
	if a, b := wrong("2001:db8::ffff").status, wrong("2001:db8:0:1::1").status; a != 429 || b != 401 {
		t.Errorf("in the same /64 %d, in the next %d", a, b)
	}
	// A caller with valid credentials gets a key although others at the same address have
	// failed. Other mistakes than wrong credentials are not throttled.
	i.issued(i.call("sid=vendor-sid&spw=p%40ss%20w%26rd", from("198.51.100.1")))
	i.issued(i.byKey("", from("198.51.100.1")))
	if got := i.byKey("epi=0", from("198.51.100.1")); got.status != 400 {
		t.Errorf("a known caller's mistake: %d", got.status)
	}
	_, plain := i.issue(keystore.NewKey{})
	for body, want := range map[string]int{"": 403, "sid=a&sid=b": 400} {
		for range 31 {
			if got := i.call(body, bearerLine(plain), from("198.51.100.1")); got.status != want {
				t.Fatalf("body %q: %d, want %d", body, got.status, want)
			}
		}
	}
	// The gate throttles no one.
	_, good := i.issue(keystore.NewKey{})
	if got := i.send(strings.Replace(i.form("/v1/recognize", [2]string{"u", good}, [2]string{"a", "RIFF"}), "Connection", "X-Forwarded-For: 198.51.100.1\r\nConnection", 1)); !strings.Contains(got.body, "hello") {
		t.Errorf("the gate answers %q", got.body)
	}
}

func TestIssue_CORS(t *testing.T) {
	preflight := func(i *issuer, method string) reply {
		return i.send("OPTIONS /issue_service_authorization HTTP/1.1\r\nHost: " + i.addr + "\r\nConnection: close\r\nOrigin: https://app.example.com\r\n" +
			"Access-Control-Request-Method: " + method + "\r\nAccess-Control-Request-Headers: authorization\r\n\r\n")
	}
	for options, allowed := range map[string]string{
		"": "*", "cors https://app.example.com": "https://app.example.com", "cors https://b.example": "", "cors off": "",
	} {
		t.Run(options, func(t *testing.T) {
			i := newIssuer(t, options)
			got := preflight(i, "POST")
			want := 405
			if allowed != "" {
				want = 204
				if h := got.header; h.Get("Access-Control-Allow-Methods") != "POST" || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
					t.Errorf("header %v", h)
				}
			}
			if got.status != want || got.header.Get("Access-Control-Allow-Origin") != allowed {
				t.Errorf("preflight: %d %v", got.status, got.header)
			}
			for _, got := range []reply{i.byKey("", "Origin: https://app.example.com\r\n"), i.call("", "Origin: https://app.example.com\r\n")} {
				if got.header.Get("Access-Control-Allow-Origin") != allowed {
					t.Errorf("%d is readable by %q, want %q", got.status, got.header.Get("Access-Control-Allow-Origin"), allowed)
				}
				exposed := ""
				if allowed != "" {
					exposed = "Retry-After"
				}
				if got := got.header.Get("Access-Control-Expose-Headers"); got != exposed {
					t.Errorf("pages can read the headers %q, want %q", got, exposed)
				}
			}
			if got := preflight(i, "DELETE"); got.status != 405 {
				t.Errorf("leave for DELETE: %d", got.status)
			}
		})
	}
}

func TestIssue_RefusesEarlyData(t *testing.T) {
	i := newIssuer(t, "")
	before := i.count()
	module := &issue.Issue{Path: issue.DefaultPath}
	if err := module.Provision(caddy.ActiveContext()); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, issue.DefaultPath, nil)
	r.Header.Set("Authorization", "Bearer "+i.secret)
	r.TLS = &tls.ConnectionState{HandshakeComplete: false}
	w := httptest.NewRecorder()
	if err := module.ServeHTTP(w, r, caddyhttp.HandlerFunc(nil)); err != nil || w.Code != http.StatusTooEarly {
		t.Errorf("%d %q, %v", w.Code, w.Body, err)
	}
	if i.count() != before {
		t.Error("a key was made")
	}
}
