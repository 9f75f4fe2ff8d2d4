package gate

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 prescribes SHA-1
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// asksWebSocket reports whether r is a complete WebSocket handshake over HTTP/1.1, and offers
// no protocol besides websocket. HTTP/2 and HTTP/3 have other handshakes, which the gate
// refuses.
func asksWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 && r.Method == http.MethodGet && r.ContentLength == 0 && len(r.TransferEncoding) == 0 &&
		len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		slices.Equal(connectionTokens(r.Header), []string{"upgrade"}) &&
		len(r.Header["Sec-Websocket-Key"]) == 1
}

// connectionTokens returns the tokens of the Connection field in lower case, except keep-alive:
// a handshake may have this token or not.
func connectionTokens(header http.Header) (tokens []string) {
	for _, value := range header["Connection"] {
		for token := range strings.SplitSeq(value, ",") {
			if token = strings.ToLower(strings.TrimSpace(token)); token != "" && token != "keep-alive" {
				tokens = append(tokens, token)
			}
		}
	}
	return tokens
}

// serveStream serves a live stream, or refuses its handshake. A handshake has no key, so the
// gate answers it, and waits for the first start command. When this command has been
// authorized, the next handlers connect to the backend. Then the proxy among them copies the
// stream, and the stream's Guard (internal/stream) checks each command of the client.
func (req gatedRequest) serveStream(next caddyhttp.Handler) error {
	refuse := func(reason policy.Reason, detail string) error {
		return req.refuse(&facts{}, &decision{Decision: policy.Decision{Reason: reason}, detail: detail})
	}
	found := credential.Scan(req.r, req.gate.api, nil)
	if _, fault := found.Key(); fault != nil && fault.Reason != policy.CredentialMissing {
		return refuse(fault.Reason, fault.Detail)
	}
	if !knownWebSocketVersion(req.r.Header) {
		return req.refuseVersion()
	}
	req.gate.app.AcquireStore()
	defer req.gate.app.ReleaseStore()
	up, key := req.gate.upstreamOf(&facts{})
	s := newLiveStream(&req, up, key)
	defer s.end()
	if !s.register() {
		return refuse(policy.StreamLimit, tooManyPending)
	}
	found.Rewrite(s.r, credential.Upstream{Mode: credential.Drop})
	s.prepareHandshake()
	w, err := s.upgrade(req.w)
	if err != nil {
		req.gate.logger.Error("a connection cannot become a stream", zap.Error(err), zap.String("stream_id", s.id))
		return nil // the header of the answer has been sent
	}
	defer s.guard.Close()
	if s.guard.WaitAuthorized() {
		s.proxy(w, next)
	}
	return nil // the connection is no longer HTTP
}

const tooManyPending = "as many streams of the address wait for their first command as max_pending_streams allows"

const webSocketVersion = "13"

// refuseVersion refuses a handshake with another version of the protocol.
func (req *gatedRequest) refuseVersion() error {
	req.w.Header().Set("Sec-WebSocket-Version", webSocketVersion) // RFC 6455, section 4.4
	return req.refuse(&facts{}, &decision{
		Decision: policy.Decision{Reason: policy.RequestMalformed}, detail: "another Sec-WebSocket-Version than " + webSocketVersion,
	})
}

// knownWebSocketVersion reports whether a handshake has the version of RFC 6455, or no version.
// The handshakes of AmiVoice's libraries have no version.
func knownWebSocketVersion(header http.Header) bool {
	return !slices.ContainsFunc(header["Sec-Websocket-Version"], func(v string) bool { return v != webSocketVersion })
}

// prepareHandshake changes the request so that it can go upstream later. It masks every
// credential that a later handler could log.
func (s *liveStream) prepareHandshake() {
	credential.StripHeader(s.r, s.gate.readsAnswer(dialect.Call{Operation: policy.Stream}))
	s.r.RequestURI = credential.MaskURI(s.r.RequestURI, s.gate.api.Places)
	header := s.r.Header
	// The gate answers the handshake without extensions and without a subprotocol, so it
	// offers none to the backend. Clients of other APIs put keys into Sec-WebSocket-Protocol.
	// A key can also be in the URL in Referer. Accept-Encoding has no use, because the body
	// of the backend's answer goes to no client.
	for _, name := range []string{"Sec-Websocket-Extensions", "Sec-Websocket-Protocol", "Accept-Encoding", "Referer"} {
		header.Del(name)
	}
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", "websocket")
}

// upgrade answers the handshake, and puts the stream's Guard (internal/stream) between the proxy
// and the client's connection. The gate makes the whole answer, because the backend has not been
// asked yet.
func (s *liveStream) upgrade(client http.ResponseWriter) (*streamWriter, error) {
	header := client.Header()
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", "websocket")
	handler.SetLiteral(header, "Sec-WebSocket-Accept", acceptWebSocket(s.r.Header.Get("Sec-WebSocket-Key")))
	client.WriteHeader(http.StatusSwitchingProtocols)
	conn, brw, err := http.NewResponseController(client).Hijack()
	if err != nil {
		return nil, err
	}
	w := &streamWriter{s: s}
	w.conn, w.brw = s.guard.Wrap(conn, brw)
	return w, nil
}

// acceptWebSocket returns the value of Sec-WebSocket-Accept for a client's Sec-WebSocket-Key
// (RFC 6455, section 4.2.2).
func acceptWebSocket(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // the RFC says so
	return base64.StdEncoding.EncodeToString(sum[:])
}

// handshakeTime is how long a backend may take to accept a connection and to change protocols.
// The client waits for the answer to its start command during this time.
const handshakeTime = 10 * time.Second

var errHandshakeTime = errors.New("the backend does not change protocols in time")

// proxy calls the next handlers, which copy the stream until it ends. If the backend does not
// open a stream, proxy says so in the answer to the start command.
func (s *liveStream) proxy(w *streamWriter, next caddyhttp.Handler) {
	s.proxied = true
	w.timer = time.AfterFunc(handshakeTime, func() { s.stop(errHandshakeTime) })
	defer w.timer.Stop()
	err := next.ServeHTTP(w, s.r.WithContext(s.ctx))
	if w.hijacked || s.guard.Ended() {
		return
	}
	problem := zap.Int("status", w.status)
	if cause := context.Cause(s.ctx); errors.Is(cause, errHandshakeTime) {
		problem = zap.Error(cause)
	} else if err != nil {
		problem = zap.Error(s.gate.masked(err))
	}
	s.gate.logger.Error("the backend does not open a stream", problem, zap.String("backend", s.gate.Backend), zap.String("stream_id", s.id))
	s.guard.Fail(s.commands.Unreachable())
}

// dropUpgrade removes the fields with which a request asks for another protocol.
func dropUpgrade(header http.Header) {
	const webSocket = "Sec-WebSocket-"
	for name := range header {
		if strings.EqualFold(name, "Upgrade") || strings.EqualFold(name, "Connection") ||
			len(name) >= len(webSocket) && strings.EqualFold(name[:len(webSocket)], webSocket) {
			delete(header, name)
		}
	}
}

// streamWriter is the ResponseWriter of the proxy. The handshake of the client has been
// answered before, so the backend's answer does not go to the client. If the backend changes
// protocols, the proxy gets the connection that the Guard checks.
type streamWriter struct {
	s        *liveStream
	conn     net.Conn // to the client, through the Guard
	brw      *bufio.ReadWriter
	header   http.Header
	status   int         // 0 until the header is written
	timer    *time.Timer // ends the wait for the backend
	hijacked bool        // the proxy has the connection
}

// Header returns a header that is not sent.
func (w *streamWriter) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader notes the status of the backend's answer.
func (w *streamWriter) WriteHeader(status int) {
	informational := status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
	if w.status == 0 && !informational {
		w.status = status
	}
}

// Write drops the body of an answer that does not open a stream.
func (w *streamWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(p), nil
}

// FlushError does nothing, because nothing is sent.
func (*streamWriter) FlushError() error { return nil }

// Hijack returns the connection that the Guard checks. It returns an error if the backend has
// not changed protocols, and at a second call.
func (w *streamWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.status != http.StatusSwitchingProtocols || w.hijacked {
		return nil, nil, http.ErrNotSupported
	}
	w.hijacked = true
	w.timer.Stop()
	return w.conn, w.brw, nil
}
