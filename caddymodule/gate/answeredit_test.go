package gate

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A URL becomes the same whether another one of its origin came before it or not.
func TestGateURLs_AreTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	urls := []struct{ from, want string }{
		{"https://api.example/v2/transcript/1", "http://gate.example/v2/transcript/1"},
		{"https://api.example/v2/transcript?limit=2&before_id=a-b_c.~", "http://gate.example/v2/transcript?limit=2&before_id=a-b_c.~"},
		{"https://api.example/a%20b", "http://gate.example/a%20b"},
		{"https://api.example/a%2", "https://api.example/a%2"}, // no URL
		{"https://api.example/a b", "http://gate.example/a b"},
		{"https://api.example", "http://gate.example"},
		{"https://api.example?a", "http://gate.example?a"},
		{"https://api.example#a", "http://gate.example#a"},
		{"https://api.example.org/a", "http://gate.example/a"},
		{"https://api.example:8443/a", "http://gate.example/a"},
		{"wss://api.example/v2/live", "ws://gate.example/v2/live"},
		{"ftp://api.example/a", "ftp://api.example/a"},
		{"/v2/transcript", "/v2/transcript"},
		{"//api.example/v2", "//api.example/v2"},
		{"", ""},
	}
	for _, first := range urls {
		for _, second := range urls {
			r := httptest.NewRequest(http.MethodGet, "/v2/transcript", nil)
			r.Host = "gate.example"
			urls := newGateURLs(r)
			if got := string(urls.appendURL([]byte("x"), []byte(first.from))); got != "x"+first.want {
				t.Errorf("%s becomes %s", first.from, got)
			}
			if got := string(urls.appendURL(nil, []byte(second.from))); got != second.want {
				t.Errorf("behind %s, %s becomes %s", first.from, second.from, got)
			}
		}
	}
}

// TestLinksLeadToTheGateAsTheClientReachesIt: only a proxy that Caddy trusts can say under which name the
// client reaches the gate.
func TestLinksLeadToTheGateAsTheClientReachesIt(t *testing.T) {
	t.Parallel()
	const link = "https://api.vendor.example/v2/jobs?page=2#a"
	for name, test := range map[string]struct {
		path, original string // of the request at the gate, and as the client has sent it
		tls, trusted   bool
		forwarded      [2]string // X-Forwarded-Proto and X-Forwarded-Host
		link, want     string
	}{
		"plain":                              {path: "/v2/jobs", want: "http://gate.test:8080/v2/jobs?page=2#a"},
		"over TLS":                           {path: "/v2/jobs", tls: true, want: "https://gate.test:8080/v2/jobs?page=2#a"},
		"a client that claims to be a proxy": {path: "/v2/jobs", forwarded: [2]string{"https", "evil.test"}, want: "http://gate.test:8080/v2/jobs?page=2#a"},
		"behind a proxy":                     {path: "/v2/jobs", trusted: true, forwarded: [2]string{"https", "asr.test"}, want: "https://asr.test/v2/jobs?page=2#a"},
		"behind two proxies":                 {path: "/v2/jobs", trusted: true, forwarded: [2]string{"https, http", "asr.test, inner.test"}, want: "https://asr.test/v2/jobs?page=2#a"},
		"a proxy without TLS":                {path: "/v2/jobs", tls: true, trusted: true, forwarded: [2]string{"http", ""}, want: "http://gate.test:8080/v2/jobs?page=2#a"},
		"a proxy that says nothing":          {path: "/v2/jobs", tls: true, trusted: true, want: "https://gate.test:8080/v2/jobs?page=2#a"},
		"below a prefix":                     {path: "/v2/jobs", original: "/asr/v2/jobs", want: "http://gate.test:8080/asr/v2/jobs?page=2#a"},
		"another path in front of the gate":  {path: "/v2/jobs", original: "/transcripts", want: "http://gate.test:8080/v2/jobs?page=2#a"},
		"a stream":                           {path: "/v2/live", link: "wss://api.vendor.example/v2/live?token=a", want: "ws://gate.test:8080/v2/live?token=a"},
		"a stream over TLS":                  {path: "/v2/live", tls: true, link: "WS://api.vendor.example/v2/live", want: "wss://gate.test:8080/v2/live"},
		"a host alone":                       {path: "/v2/jobs", link: "https://api.vendor.example", want: "http://gate.test:8080"},
		"a link without a host":              {path: "/v2/jobs", link: "/v2/jobs?page=2", want: "/v2/jobs?page=2"},
		"another scheme":                     {path: "/v2/jobs", link: "s3://bucket/a", want: "s3://bucket/a"},
		"no link":                            {path: "/v2/jobs", link: "%", want: "%"},
	} {
		r := httptest.NewRequest(http.MethodGet, test.path, nil)
		r.Host = "gate.test:8080"
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		for i, field := range []string{"X-Forwarded-Proto", "X-Forwarded-Host"} {
			if test.forwarded[i] != "" {
				r.Header.Set(field, test.forwarded[i])
			}
		}
		original := *httptest.NewRequest(http.MethodGet, test.path, nil)
		if test.original != "" {
			original.URL.Path = test.original
		}
		ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.TrustedProxyVarKey: test.trusted})
		r = r.WithContext(context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, original))
		from := test.link
		if from == "" {
			from = link
		}
		if got := newGateURLs(r).url(from); got != test.want {
			t.Errorf("%s: %s leads to %s, want %s", name, from, got, test.want)
		}
	}
}
