package gate

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/policy"
)

func TestR4_EarlyDataIsRefusedBeforeTheKeyIsChecked(t *testing.T) {
	gate := newRig(t).gate
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

func TestR4_VerifyRefusesEarlyDataBeforeTheJobIsLookedUp(t *testing.T) {
	callers, err := policy.ParseAddrSet("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	gate := newRig(t).gate
	v := &Verify{callers: callers, decider: gate.decider, api: gate.api}
	for from, status := range map[string]int{"192.0.2.1": http.StatusTooEarly, "192.0.2.2": http.StatusNotFound} {
		ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: from})
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/verify", nil)
		r.TLS = &tls.ConnectionState{HandshakeComplete: false}
		r.Header.Set("Speechgate-Job", "j")
		w := httptest.NewRecorder()
		if err := v.ServeHTTP(w, r, nil); err != nil || w.Code != status || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("from %s: status %d, %v", from, w.Code, err)
		}
	}
}
