package caddymodule_test

import (
	"net/http"
	"testing"
)

// A page must be able to read how long it has to wait.
func TestR20_APageReadsRetryAfter(t *testing.T) {
	for dialect, want := range map[string]string{"amivoice": "X-Session-ID, Retry-After", "openai": "Retry-After"} {
		g := newDialectGateway(t, dialect, "cors https://app.example.com")
		_, secret := g.limitedKey("requests=1/m")
		path := map[string]string{"amivoice": "/v1/recognize", "openai": "/v1/audio/transcriptions"}[dialect]
		for _, status := range []int{http.StatusOK, http.StatusTooManyRequests} {
			got := g.ask("POST", path, "Bearer "+secret, "", "Origin: https://app.example.com", "Content-Length: 0")
			if got.status != status {
				t.Fatalf("%s: status %d, want %d: %s", dialect, got.status, status, got.body)
			}
			if exposed := got.header.Get("Access-Control-Expose-Headers"); status == http.StatusTooManyRequests && exposed != want {
				t.Errorf("%s: a page reads the fields %q, want %q", dialect, exposed, want)
			}
		}
	}
}
