package configcheck

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/dialect"
)

// A canary is a made-up key. If a log shows it, the log shows keys. Each place of a request has another
// one, which tells the place.
const (
	CanaryInURI    = "canary-in-the-uri-0123456789"
	CanaryInHeader = "canary-in-a-header-0123456789"
	CanaryInBody   = "canary-in-the-body-0123456789"
)

// CanaryRequest returns a request with a canary in each place where a client of some API puts its key,
// except fields that Caddy itself masks. The context of the request has what Caddy's handlers need.
func CanaryRequest(server *caddyhttp.Server) *http.Request {
	r := &http.Request{
		Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "doctor.invalid", RemoteAddr: "192.0.2.1:1",
		URL: &url.URL{Path: "/v1/recognize"}, Header: make(http.Header), Body: http.NoBody,
	}
	query := make(url.Values)
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		for _, place := range api.Places {
			switch {
			case place.Location == dialect.Query && place.SubKey == "":
				query.Set(place.Name, CanaryInURI)
			case place.Location == dialect.Header:
				r.Header.Set(place.Name, strings.TrimSpace(place.Scheme+" "+CanaryInHeader))
			case place.Location == dialect.Subprotocol:
				r.Header.Set(place.HeaderName(), place.Prefix+CanaryInHeader)
			}
		}
	}
	r.URL.RawQuery = query.Encode()
	r.RequestURI = r.URL.RequestURI()
	return caddyhttp.PrepareRequest(r.WithContext(context.Background()), caddy.NewReplacer(), httptest.NewRecorder(), server)
}

// HasCanary reports whether a text has a canary.
func HasCanary(text string) bool {
	for _, canary := range []string{CanaryInURI, CanaryInHeader, CanaryInBody} {
		if strings.Contains(text, canary) {
			return true
		}
	}
	return false
}
