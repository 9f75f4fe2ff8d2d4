package caddymodule_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/keystore"
)

// cachingFields are the fields that make a cache store an answer, and Age, by which a cache says
// that it has stored the answer.
var cachingFields = []string{
	"Age", "Expires", "Pragma", "Surrogate-Control", "X-Accel-Expires", "Edge-Control",
	"CDN-Cache-Control", "Cloudflare-CDN-Cache-Control", "Vercel-CDN-Cache-Control", "Netlify-Cdn-Cache-Control", "X-LiteSpeed-Cache-Control", "Surrogate-Cache-Control",
}

// No cache stores an answer, even if the backend or a handler in front of the gate allows it.
func TestR16_NoCacheStoresAnAnswer(t *testing.T) {
	var fields strings.Builder
	for _, name := range cachingFields {
		fields.WriteString("header " + name + " max-age=60\n")
	}
	for _, place := range []string{"in front of the gate", "at the backend"} {
		t.Run(place, func(t *testing.T) {
			site := `speechgate_issue
				@verify path /verify
				speechgate_verify @verify amivoice {
					callers 127.0.0.1
				}
				` + defaultSite
			if place == "in front of the gate" {
				site = "header Cache-Control public\n" + fields.String() + site
			}
			g := newGatewayWith(t, &gateway{options: "upstream_key " + backendKey, site: site})
			key, secret := g.issue(keystore.NewKey{})
			g.recordJob("j", key, now())
			g.backend.respond(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for _, name := range cachingFields {
					w.Header().Set(name, "max-age=60")
				}
				w.Header().Set("Cache-Control", "public, max-age=60")
				w.Header().Set("ETag", `"kept"`)
				w.Header().Set("Last-Modified", "Tue, 24 Nov 2026 00:00:00 GMT")
				if r.URL.Query().Has("fail") {
					w.WriteHeader(http.StatusFound)
					return
				}
				_, _ = io.WriteString(w, `{"status":"queued","code":""}`)
			})
			for name, got := range map[string]reply{
				"a poll":                g.poll("j", secret),
				"a recognition":         g.request("POST /v1/recognize?u=" + secret),
				"an answer withheld":    g.request("POST /v1/recognize?fail&u=" + secret),
				"a refusal":             g.request("POST /v1/recognize?u=nobody"),
				"a preflight":           g.request("OPTIONS /v1/recognize", "Origin: https://a.example\r\n", "Access-Control-Request-Method: POST\r\n"),
				"an issuance's refusal": g.request("POST /issue_service_authorization"),
				"a verification":        g.request("GET /verify", "Speechgate-Job: j\r\n"),
			} {
				if got.header.Get("Cache-Control") != "no-store" || len(got.header["Cache-Control"]) != 1 {
					t.Errorf("%s: status %d, Cache-Control %q", name, got.status, got.header["Cache-Control"])
				}
				for _, field := range cachingFields {
					if got.header.Get(field) != "" {
						t.Errorf("%s has %s: %q", name, field, got.header.Get(field))
					}
				}
				if name == "a poll" && place == "at the backend" && (got.header.Get("ETag") == "" || got.header.Get("Last-Modified") == "") {
					t.Errorf("%s has lost a validator: %v", name, got.header)
				}
			}
		})
	}
}
