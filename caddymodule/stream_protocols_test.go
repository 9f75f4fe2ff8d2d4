package caddymodule

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// A WebSocket over HTTP/3 is an extended CONNECT (RFC 9220), which has no
// connection that a guard could be put in front of.
func TestStream_ExtendedConnectIsRefused(t *testing.T) {
	g := newGatewayWith(t, &gateway{
		scheme: "https://", options: "upstream_key " + backendKey,
		site: "tls " + certificate(t) + "\n" + defaultSite,
	})
	_, secret := g.issue(keystore.NewKey{})
	transport := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(func() { _ = transport.Close() })
	body := strings.NewReader("\x81\x2as 16K -a-general authorization=" + secret)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "https://"+g.addr+"/v1/", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Proto = "websocket"
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound || resp.ProtoMajor != 3 {
		t.Errorf("HTTP/%d: status %d", resp.ProtoMajor, resp.StatusCode)
	}
	if got := g.backend.received(); got != "" {
		t.Errorf("the backend got %q", got)
	}
}

// The same over HTTP/2 (RFC 8441), which Go's server does not offer by itself.
func TestStream_ExtendedConnectIsUnlisted(t *testing.T) {
	g := &Gate{api: dialect.AmiVoice}
	for _, major := range []int{2, 3} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodConnect, "/v1/", nil)
		r.ProtoMajor, r.URL = major, &url.URL{Path: "/v1/"}
		r.Header.Set(":protocol", "websocket")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		for _, method := range []string{http.MethodConnect, http.MethodGet} {
			r.Method = method
			if call, _ := g.classify(r); call.Operation != policy.Unlisted {
				t.Errorf("%s over HTTP/%d is %s", method, major, call.Operation)
			}
		}
	}
}
