package caddymodule

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/credential"
	"github.com/speechgate/speechgate/policy"
)

// asksWebSocket reports whether r asks for a WebSocket and for nothing else, on
// a connection of its own: HTTP/2 and 3 have another way, which is not listed.
func asksWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 && r.Method == http.MethodGet && r.ContentLength == 0 && len(r.TransferEncoding) == 0 &&
		len(r.Header["Upgrade"]) == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		slices.Equal(connectionTokens(r.Header), []string{"upgrade"}) &&
		len(r.Header["Sec-Websocket-Key"]) == 1
}

// connectionTokens are those of the Connection header, but for keep-alive,
// which says nothing.
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

// serveStream lets a handshake through, which bears no key. What the client then
// sends is checked command by command.
func (x *exchange) serveStream(next caddyhttp.Handler) error {
	found := credential.Find(x.r, x.gate.api, nil)
	if _, fault := found.Credential(); fault != nil && fault.Reason != policy.CredentialMissing {
		return x.refuse(fault.Reason, fault.Detail)
	}
	client := x.r.Context()
	s := newLiveStream(x)
	defer s.end()
	if !streams.begin(s, x.gate.MaxPendingStreams) {
		return x.refuse(policy.Throttled, "too many streams of the address wait for their first command")
	}
	found.Swap(x.r, credential.Upstream{Mode: credential.Drop})
	x.prepare()
	header := x.r.Header
	// The API has no subprotocols, and clients of others put keys there.
	for _, name := range []string{"Sec-Websocket-Extensions", "Sec-Websocket-Protocol", "Accept-Encoding", "Referer"} {
		header.Del(name)
	}
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", "websocket")
	x.r = x.r.WithContext(s.ctx)
	w := &streamWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: x.w}, s: s}
	err := next.ServeHTTP(w, x.r)
	if s.wrapped.Load() {
		return nil
	}
	// Whoever handles the request from here on, such as a site's routes for
	// errors, must not open the stream past the guard.
	dropUpgrade(header)
	if client.Err() != nil {
		return nil // nobody is there to be answered
	}
	problem := zap.Int("status", w.status)
	if err != nil {
		problem = zap.Error(x.gate.masked(err))
	}
	x.gate.logger.Error("the backend does not open a stream", problem, zap.String("backend", x.gate.Backend), zap.String("stream_id", s.id))
	return x.answer(x.gate.api.GatewayError(x.call))
}

// dropUpgrade has a request ask for no other protocol any more.
func dropUpgrade(header http.Header) {
	const webSocket = "Sec-WebSocket-"
	for name := range header {
		if strings.EqualFold(name, "Upgrade") || strings.EqualFold(name, "Connection") ||
			len(name) >= len(webSocket) && strings.EqualFold(name[:len(webSocket)], webSocket) {
			delete(header, name)
		}
	}
}

// streamWriter puts the guard in front of the connection when the proxy takes
// it. Any other answer of the backend's than to change protocols is none for a
// client that has shown no key.
type streamWriter struct {
	*caddyhttp.ResponseWriterWrapper

	s      *liveStream
	status int // 0 until the header is written
}

// WriteHeader passes on the change of protocols, and nothing else.
func (w *streamWriter) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	if status != http.StatusSwitchingProtocols {
		clear(w.Header())
		return
	}
	w.cleanHeader()
	w.ResponseWriter.WriteHeader(status)
}

// cleanHeader leaves nothing in the answer to a handshake that is not the
// client's: no extension and no subprotocol, since none was offered, and no key.
func (w *streamWriter) cleanHeader() {
	header, gate := w.Header(), w.s.x.gate
	for name, values := range header {
		switch {
		case strings.EqualFold(name, "Sec-WebSocket-Extensions"), strings.EqualFold(name, "Sec-WebSocket-Protocol"),
			strings.EqualFold(name, "Set-Cookie"):
			delete(header, name)
		case gate.redactor != nil:
			masked := make([]string, len(values))
			for i, value := range values {
				masked[i] = gate.redactor.Text(value)
			}
			header[name] = masked
		}
	}
	if name := gate.api.SessionHeader; len(header.Values(name)) > 0 {
		setLiteral(header, name, header.Values(name)...)
	}
}

// Write throws away what follows another answer.
func (w *streamWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return len(p), nil
}

// ReadFrom does as Write does.
func (w *streamWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	return io.Copy(io.Discard, r)
}

// FlushError does nothing, since nothing is written but by the guard.
func (*streamWriter) FlushError() error { return nil }

// Hijack takes the connection, with the guard in front.
func (w *streamWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.status != http.StatusSwitchingProtocols || w.s.wrapped.Swap(true) {
		return nil, nil, http.ErrNotSupported
	}
	conn, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn, brw = w.s.guard.Wrap(conn, brw)
	return conn, brw, nil
}

// Unwrap hides the connection from those who would take it past the guard.
func (*streamWriter) Unwrap() http.ResponseWriter { return nil }
