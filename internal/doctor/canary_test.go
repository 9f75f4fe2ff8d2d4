package doctor

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/caddymodule/handler"
)

// canaryServer is a running server whose gate finds the client's address as find says.
type canaryServer struct {
	handler.Canaries

	find func(*http.Request) string
}

func (*canaryServer) UpstreamKeys(context.Context) ([]KeyUse, error) { return nil, nil }

func (*canaryServer) Config(context.Context) ([]byte, error) { return nil, nil }

func (s *canaryServer) ExpectCanary(context.Context) (string, error) {
	return s.Expect(time.Now()), nil
}

func (s *canaryServer) Sightings(_ context.Context, id string) ([]handler.Sighting, error) {
	seen, _ := s.Seen(id)
	return seen, nil
}

func (s *canaryServer) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	addr, _ := netip.ParseAddr(s.find(r))
	s.Note(r, addr)
}

func TestDoctor_SeesWhetherAClientChoosesItsAddress(t *testing.T) {
	t.Parallel()
	connection := func(*http.Request) string { return "127.0.0.1" }
	first := func(field string) func(*http.Request) string {
		return func(r *http.Request) string {
			text, _, _ := strings.Cut(r.Header.Get(field), ",")
			return text
		}
	}
	last := func(r *http.Request) string {
		text := r.Header.Get("X-Forwarded-For")
		return strings.TrimSpace(text[strings.LastIndex(text, ",")+1:])
	}
	appends := func(r *http.Request) {
		r.Header.Set("X-Forwarded-For", r.Header.Get("X-Forwarded-For")+", 203.0.113.7")
	}
	for name, test := range map[string]struct {
		proxy func(*http.Request) // what the proxy in front does with the header
		find  func(*http.Request) string
		level Level
		part  string
	}{
		"no proxy":                     {nil, connection, Pass, "connects from 127.0.0.1. The gateway sees a connection from 127.0.0.1, with X-Forwarded-For: 192.0.2.91. It takes 127.0.0.1 for"},
		"a proxy that appends":         {appends, last, Pass, "with X-Forwarded-For: 192.0.2.91, 203.0.113.7. It takes 203.0.113.7 for"},
		"a proxy that is not trusted":  {appends, connection, Warn, "A proxy is in front, and is not trusted"},
		"a proxy that lets it through": {nil, last, Fail, "It takes 192.0.2.91 for the address of the client. The client has made this address up, in X-Forwarded-For"},
		"a proxy on this machine": {func(r *http.Request) {
			r.Header.Set("X-Forwarded-For", r.Header.Get("X-Forwarded-For")+", 127.0.0.1")
		}, first("X-Forwarded-For"), Skip, "run the command from a machine of a client"},
		"proxies that are not strict":    {appends, first("X-Forwarded-For"), Fail, "made this address up, in X-Forwarded-For"},
		"another field":                  {appends, first("X-Real-Ip"), Fail, "made this address up, in X-Real-Ip"},
		"an unknown address":             {nil, func(*http.Request) string { return "" }, Warn, "It takes an unknown address"},
		"a proxy that removes the field": {func(r *http.Request) { r.Header.Del("X-Forwarded-For") }, connection, Pass, "from 127.0.0.1. It takes 127.0.0.1 for"},
		"a URL that leads elsewhere":     {func(r *http.Request) { r.Header.Del(handler.CanaryHeader) }, connection, Warn, "No gate of this server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := &canaryServer{find: test.find}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if name != "another field" {
					r.Header.Del("X-Real-Ip")
				}
				if test.proxy != nil {
					test.proxy(r)
				}
				gate.ServeHTTP(w, r)
			}))
			defer server.Close()
			e := examination{Subject: Subject{Server: gate, URL: server.URL}, fields: []string{"X-Forwarded-For", "X-Real-IP"}}
			e.checkWayOfClients(t.Context())
			want(t, &e, CheckClientAddress, test.level, test.part)
		})
	}
	var e examination
	e.URL = "http://127.0.0.1:1/"
	e.checkWayOfClients(t.Context())
	want(t, &e, CheckClientAddress, Skip, "No running server")
	e = examination{Subject: Subject{Server: &canaryServer{}, URL: "http://127.0.0.1:1/"}}
	e.checkWayOfClients(t.Context())
	want(t, &e, CheckClientAddress, Warn, "cannot be tried")
}
