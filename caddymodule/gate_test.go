package caddymodule

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/dialect"
)

func TestR4EarlyDataIsRefusedUnjudged(t *testing.T) {
	gate := &Gate{Backend: "amivoice", CORS: []string{"*"}, api: dialect.AmiVoice, tally: new(tally), logger: zap.NewNop(), app: new(App)}
	for _, line := range []string{"POST /v1/recognize?u=any", "POST /v1/recognitions?u=any", "GET /v1/recognitions/j"} {
		method, target, _ := strings.Cut(line, " ")
		r := httptest.NewRequest(method, target, nil)
		r.TLS = &tls.ConnectionState{HandshakeComplete: false}
		w := httptest.NewRecorder()
		err := gate.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			t.Errorf("%s went through", line)
			return nil
		}))
		if err != nil || w.Code != http.StatusTooEarly || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: status %d, header %v, %v", line, w.Code, w.Header(), err)
		}
	}
}

func TestUnknownClientAddressIsNoAddress(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:DB8::1": "2001:db8::1",
		"": "invalid IP", "@": "invalid IP", "192.0.2.7:80": "invalid IP",
	} {
		ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: text})
		if got := clientIP(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)).String(); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
