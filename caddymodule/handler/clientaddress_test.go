package handler

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestClientIP_IsInvalidIfTheAddressIsUnknown(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:DB8::1": "2001:db8::1",
		"": "invalid IP", "@": "invalid IP", "192.0.2.7:80": "invalid IP",
	} {
		ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: text})
		if got := ClientIP(httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)).String(); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
