package gate

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/policy"
)

// handshakeRequest returns a complete handshake, as the server reads it.
func handshakeRequest(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/", nil)
	r.Body = http.NoBody
	r.Header = http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	return r
}

// Each change leaves everything else as in a complete handshake.
func TestStream_EachPartOfAHandshakeCounts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*http.Request)
		want   bool
	}{
		"nothing":                   {func(*http.Request) {}, true},
		"Connection without alive":  {func(r *http.Request) { r.Header["Connection"] = []string{"upgrade"} }, true},
		"Connection in two lines":   {func(r *http.Request) { r.Header["Connection"] = []string{"Keep-Alive", " ,upgrade ,"} }, true},
		"an empty key":              {func(r *http.Request) { r.Header["Sec-Websocket-Key"] = []string{""} }, true},
		"HTTP/1.0":                  {func(r *http.Request) { r.ProtoMinor = 0 }, false},
		"HTTP/2":                    {func(r *http.Request) { r.ProtoMajor = 2 }, false},
		"POST":                      {func(r *http.Request) { r.Method = http.MethodPost }, false},
		"a body":                    {func(r *http.Request) { r.ContentLength = 1 }, false},
		"a body of unknown length":  {func(r *http.Request) { r.ContentLength = -1 }, false},
		"a coded body":              {func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }, false},
		"no Upgrade":                {func(r *http.Request) { delete(r.Header, "Upgrade") }, false},
		"two Upgrades":              {func(r *http.Request) { r.Header["Upgrade"] = []string{"websocket", "websocket"} }, false},
		"another Upgrade":           {func(r *http.Request) { r.Header["Upgrade"] = []string{"h2c"} }, false},
		"no Connection":             {func(r *http.Request) { delete(r.Header, "Connection") }, false},
		"Connection: keep-alive":    {func(r *http.Request) { r.Header["Connection"] = []string{"keep-alive"} }, false},
		"Connection names a field":  {func(r *http.Request) { r.Header["Connection"] = []string{"upgrade, authorization"} }, false},
		"Connection: upgrade twice": {func(r *http.Request) { r.Header["Connection"] = []string{"upgrade, upgrade"} }, false},
		"no key":                    {func(r *http.Request) { delete(r.Header, "Sec-Websocket-Key") }, false},
		"two keys":                  {func(r *http.Request) { r.Header["Sec-Websocket-Key"] = []string{"a", "a"} }, false},
	} {
		r := handshakeRequest(t)
		test.change(r)
		if got := asksWebSocket(r); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
		g := &Gate{api: dialect.AmiVoice}
		want := policy.Unlisted
		if test.want {
			want = policy.Stream
		}
		if call, account := g.classify(g.api, r); call.Operation != want || account != "" {
			t.Errorf("%s: the operation is %s", name, call.Operation)
		}
	}
}

func TestStream_TheVersionIs13OrAbsent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		versions []string
		known    bool
	}{{nil, true}, {[]string{"13"}, true}, {[]string{"8"}, false}, {[]string{""}, false}, {[]string{"13", "8"}, false}} {
		if got := knownWebSocketVersion(http.Header{"Sec-Websocket-Version": test.versions}); got != test.known {
			t.Errorf("%q: %v", test.versions, got)
		}
	}
}

// RFC 6455, section 1.3, has this example.
func TestStream_TheAcceptedKeyIsThatOfTheRFC(t *testing.T) {
	t.Parallel()
	if got := acceptWebSocket("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Error(got)
	}
}

func TestStream_ARefusalDropsTheFieldsOfAnotherProtocol(t *testing.T) {
	t.Parallel()
	header := http.Header{
		"Upgrade": {"websocket"}, "connection": {"Upgrade"}, "Sec-Websocket-Key": {"k"}, "SEC-WEBSOCKET-VERSION": {"13"}, "Sec-Websocket-": {"x"},
		"Sec-Websocket": {"stays"}, "Sec-Fetch-Mode": {"cors"}, "Origin": {"https://a.example"},
	}
	dropUpgrade(header)
	var names []string
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []string{"Origin", "Sec-Fetch-Mode", "Sec-Websocket"}; !slices.Equal(names, want) {
		t.Errorf("%q are left, want %q", names, want)
	}
}

// The backend's answer to a handshake goes to nobody. Its first final status decides whether the
// proxy gets the connection.
func TestStream_TheProxyGetsTheConnectionAfter101Only(t *testing.T) {
	t.Parallel()
	const body = -1 // the proxy writes a part of the body
	for name, test := range map[string]struct {
		answer []int // of the backend: what the proxy writes
		status int
	}{
		"nothing":              {nil, 0},
		"101":                  {[]int{101}, 101},
		"hints before 101":     {[]int{100, 103, 199, 101}, 101},
		"200":                  {[]int{200, 101}, 200},
		"a body":               {[]int{body, 101}, 200},
		"an error with a body": {[]int{403, body}, 403},
	} {
		w := &streamWriter{timer: time.AfterFunc(time.Hour, func() {})}
		w.Header().Set("X-Field", "value")
		if w.Header().Get("X-Field") != "value" {
			t.Errorf("%s: the header is not kept", name)
		}
		for _, status := range test.answer {
			if status == body {
				_, _ = w.Write([]byte("x"))
				continue
			}
			w.WriteHeader(status)
		}
		if w.status != test.status {
			t.Errorf("%s: the status is %d, want %d", name, w.status, test.status)
		}
		_, _, err := w.Hijack()
		if got := err == nil; got != (test.status == http.StatusSwitchingProtocols) || w.hijacked != got || err != nil && !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: the proxy gets the connection: %v, %v", name, got, err)
		}
		if w.timer.Stop() == w.hijacked {
			t.Errorf("%s: the wait for the backend has ended: %v", name, w.hijacked)
		}
		if _, _, err := w.Hijack(); err == nil {
			t.Errorf("%s: the proxy gets the connection twice", name)
		}
	}
}
