package caddymodule_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/speechgate/speechgate/keystore"
)

// A WebSocket over HTTP/3 is an extended CONNECT (RFC 9220). It has no connection that the guard
// could wrap, so the gate refuses it.
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
