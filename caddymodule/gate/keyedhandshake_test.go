package gate

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/wstest"
	"github.com/speechgate/speechgate/policy"
)

// keyedStream is an admitted handshake of a gate without an app.
type keyedStream struct {
	*responseInterceptor
	found credential.Found
	logs  *observer.ObservedLogs
}

func newKeyedStream(t *testing.T, client http.ResponseWriter) *keyedStream {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	g := &Gate{api: dialect.OpenAI, upstream: credential.ReplaceWith(policy.NewSecret("upstream-key-0123456789"))}
	g.counters, g.logger, g.places = handler.NewMetrics(nil).CountersOf("openai"), zap.New(core), g.api.Places
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/realtime", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Key": {wstest.Key}, "Sec-Websocket-Extensions": {"permessage-deflate"},
		"Authorization": {"Bearer the-key"}, "Sec-Websocket-Protocol": {"realtime, openai-insecure-api-key.the-key"},
	}
	req := &gatedRequest{gate: g, w: client, r: r, call: g.api.Classify(r.Method, r.URL.Path), body: r.Body}
	k := &keyedStream{found: credential.Scan(r, g.api, req.call.Route), logs: logs}
	s := newLiveStream(req, g.upstream, 0)
	k.responseInterceptor = req.intercept(&facts{}, &decision{}, credential.Replace, 0)
	k.stream = s
	req.prepareUpstream(&k.upstream, &k.found, s.upstream)
	k.upstream.prepareHandshake()
	k.r = r.WithContext(s.ctx)
	k.upstream.r = k.r
	return k
}

func (k *keyedStream) serve(next caddyhttp.HandlerFunc) error { return k.serveStream(&k.found, next) }

// A backend has 10 seconds to answer the handshake. The client has no stream before, so it gets an
// answer over HTTP.
func TestR21_ABackendThatDoesNotAnswerAKeyedHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := httptest.NewRecorder()
		k := newKeyedStream(t, client)
		begun := time.Now()
		err := k.serve(func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return caddyhttp.Error(http.StatusBadGateway, r.Context().Err())
		})
		if took := time.Since(begun); err != nil || took != 10*time.Second {
			t.Errorf("it took %s, %v", took, err)
		}
		if client.Code != http.StatusBadGateway || !strings.Contains(client.Body.String(), `"type":"server_error"`) {
			t.Errorf("the client gets %d, %s", client.Code, client.Body)
		}
		if all := k.logs.All(); len(all) != 1 || all[0].ContextMap()["problem"] != "the backend does not change protocols in time" {
			t.Errorf("the log has %v", all)
		}
	})
}

// A stream that is cut before the backend has answered gets the refusal of its API.
func TestR14_AKeyedStreamIsCutBeforeTheBackendAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := httptest.NewRecorder()
		k := newKeyedStream(t, client)
		go func() {
			time.Sleep(time.Second)
			k.stream.cut(policy.KeyRevoked, "")
		}()
		begun := time.Now()
		err := k.serve(func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return r.Context().Err()
		})
		if took := time.Since(begun); err != nil || took != time.Second {
			t.Errorf("it took %s, %v", took, err)
		}
		if client.Code != http.StatusUnauthorized || !strings.Contains(client.Body.String(), `"code":"invalid_api_key"`) {
			t.Errorf("the client gets %d, %s", client.Code, client.Body)
		}
		if values := k.r.Header["Authorization"]; len(values) != 1 || values[0] != credential.Masked {
			t.Errorf("the handlers in front of the gate see %q", values)
		}
		k.stream.events.do(func() {}) // after the report
	})
}

// A backend may answer a handshake with something else than a stream, and take its time with the
// body. Neither the time for the handshake nor a cut writes a second answer into this one.
func TestR16_AnAnswerThatHasBegunIsNotReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := httptest.NewRecorder()
		k := newKeyedStream(t, client)
		go func() {
			time.Sleep(time.Minute)
			k.stream.cut(policy.KeyRevoked, "")
		}()
		begun := time.Now()
		err := k.serve(func(w http.ResponseWriter, r *http.Request) error {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "no realtime")
			<-r.Context().Done()
			_, err := io.WriteString(w, " here")
			return err
		})
		if took := time.Since(begun); err != nil || took != time.Minute {
			t.Errorf("it took %s, %v", took, err)
		}
		if client.Code != http.StatusNotFound || client.Body.String() != "no realtime here" {
			t.Errorf("the client gets %d, %q", client.Code, client.Body)
		}
		k.stream.events.do(func() {}) // after the report
	})
}

// net/http does not close a connection that has been hijacked, also after a panic.
func TestR21_APanicClosesTheStream(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	k := newKeyedStream(t, &hijackable{ResponseRecorder: httptest.NewRecorder(), conn: server})
	func() {
		defer func() {
			if value := recover(); value != "a bug" {
				t.Errorf("the panic is %v", value)
			}
		}()
		_ = k.serve(func(w http.ResponseWriter, r *http.Request) error {
			if r.Header.Get("Authorization") != "Bearer upstream-key-0123456789" || r.Header.Get("Sec-Websocket-Protocol") != "realtime" || r.Header.Get("Sec-Websocket-Extensions") != "" {
				t.Errorf("the backend gets %v", r.Header)
			}
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Error("the proxy has the connection before the backend has opened the stream")
			}
			w.WriteHeader(http.StatusSwitchingProtocols)
			if _, _, err := http.NewResponseController(w).Hijack(); err != nil {
				t.Error(err)
			}
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Error("the proxy has the connection twice")
			}
			panic("a bug")
		})
	}()
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is open: %v", err)
	}
}
