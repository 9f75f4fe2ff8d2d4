package gate

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// An extended CONNECT (RFC 8441, RFC 9220) is unlisted. Go's server does not offer it over
// HTTP/2, so the test calls classify.
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
			if call, _ := g.classify(g.api, r); call.Operation != policy.Unlisted {
				t.Errorf("%s over HTTP/%d is %s", method, major, call.Operation)
			}
		}
	}
}
