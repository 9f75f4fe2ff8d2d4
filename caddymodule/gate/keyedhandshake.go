package gate

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// serveKeyedStream serves a live stream whose key is in its handshake. The gate decides on the
// handshake as on any other request. Then the next handlers send it to the backend. If the backend
// opens the stream, its answer goes to the client, and the stream's Guard (internal/stream) is
// between the client and the proxy.
func (req gatedRequest) serveKeyedStream(next caddyhttp.Handler) error {
	if !knownWebSocketVersion(req.r.Header) {
		return req.refuseVersion()
	}
	var f facts
	f.acquireStore(req.gate.app)
	defer f.releaseStore()
	found := credential.Scan(req.r, req.gate.api, req.call.Route)
	d := req.decide(&found, &f)
	up, key := req.gate.upstreamOf(&f)
	s := newLiveStream(&req, up, key)
	defer s.end()
	if d.Reason.OK() {
		s.admit(&f, &d)
	}
	if !d.Reason.OK() {
		return s.refuseHandshake(&req, &f, &d)
	}
	w := req.intercept(&f, &d, up.Mode, key)
	w.stream = s
	w.subprotocol = credential.OffersSubprotocol(req.r.Header, s.handshake.Subprotocols)
	f.store.NoteUse(&f.record, d.at)
	req.gate.reportAdmitted(req.r, &w.record, zap.String("stream_id", s.id))
	req.prepareUpstream(&w.upstream, &found, s.upstream)
	w.upstream.prepareHandshake()
	w.r = req.r.WithContext(s.ctx)
	w.upstream.r = w.r
	return w.serveStream(&found, next)
}

// admit registers a stream whose key is in its handshake, and watches the key. It changes d to a
// refusal if there are too many streams, or if the key has changed since the decision.
func (s *liveStream) admit(f *facts, d *decision) {
	if !s.register() {
		d.Reason, d.detail = policy.StreamLimit, tooManyPending
		return
	}
	f.setRecord(f.record.Clone()) // because the stream keeps it for a long time
	s.events.do(func() { s.accept(f, d) })
}

// refuseHandshake refuses a stream by the status of the answer to the handshake, or, if the API does
// so, by a message and a Close frame on the open stream.
func (s *liveStream) refuseHandshake(req *gatedRequest, f *facts, d *decision) error {
	if !s.handshake.InBand {
		return req.refuse(f, d)
	}
	f.releaseStore()
	subprotocol := credential.OffersSubprotocol(s.r.Header, s.handshake.Subprotocols)
	if subprotocol != "" {
		req.w.Header().Set("Sec-WebSocket-Protocol", subprotocol)
	}
	if _, err := s.upgrade(req.w); err != nil {
		s.gate.logger.Error("a connection cannot become a stream", zap.Error(err), zap.String("stream_id", s.id))
		return nil // the header of the answer has been sent
	}
	defer s.guard.Close()
	s.events.do(func() { s.owner, s.limit = f.owner, d.Limit })
	s.guard.Refuse(d.Reason, d.detail)
	return nil // the connection is no longer HTTP
}

// prepareHandshake makes the request a handshake again, after its hop-by-hop fields have been
// removed. The gate offers no extensions to the backend, because the Guard reads the frames.
func (u *upstreamRequest) prepareHandshake() {
	const extensions = "Sec-Websocket-Extensions"
	if values := u.header[extensions]; len(values) > 0 {
		u.fields = append(u.fields, field{extensions, values})
		delete(u.header, extensions)
	}
	u.header["Connection"] = []string{"Upgrade"}
	u.header["Upgrade"] = []string{"websocket"}
}

// serveStream calls the next handlers, which serve the stream until it ends. If the backend does not
// open it, the client gets the backend's answer, or an answer of the gate.
func (w *responseInterceptor) serveStream(found *credential.Found, next caddyhttp.Handler) error {
	s := w.stream
	s.proxied = true
	w.timer = time.AfterFunc(handshakeTime, func() { s.stop(errHandshakeTime) })
	defer w.timer.Stop()
	defer func() {
		if w.hijacked {
			s.guard.Close()
		}
	}()
	err := w.callNext(found, next)
	if err == nil {
		w.upstream.finish()
	}
	cause := context.Cause(s.ctx)
	var cut *earlyCutError
	switch {
	case w.hijacked:
		return nil // the connection is no longer HTTP
	case w.sent(), w.replaced: // the client has an answer, and another one would be written into it
	case errors.As(cause, &cut):
		w.substitute(w.gate.api.Refusal(w.call, cut.reason))
		return nil
	case errors.Is(cause, errHandshakeTime):
		w.replace(w.gate.api.GatewayError(w.call), cause.Error())
		return nil
	}
	if err != nil {
		return w.answerFailure(err)
	}
	w.complete()
	return nil
}

// earlyCutError is the cause for which a stream ends that is cut before the backend has opened it.
type earlyCutError struct{ reason policy.Reason }

func (*earlyCutError) Error() string { return "the stream was cut before the backend opened it" }

// openStream sends the backend's answer to the handshake to the client. The client must get a
// subprotocol if it has offered some: libraries close the connection otherwise.
func (w *responseInterceptor) openStream() {
	w.status = http.StatusSwitchingProtocols
	w.upstream.restore()
	w.cleanHeader()
	// Caddy spells the fields of the backend's answer as RFC 6455 does.
	chosen := len(w.header["Sec-Websocket-Protocol"]) + len(w.header["Sec-WebSocket-Protocol"]) //nolint:staticcheck // so Caddy spells it
	if chosen == 0 && w.subprotocol != "" {
		w.header["Sec-Websocket-Protocol"] = []string{w.subprotocol}
	}
	delete(w.header, "Sec-Websocket-Extensions")
	delete(w.header, "Sec-WebSocket-Extensions")
	w.ResponseWriter.WriteHeader(w.status)
}

// hijack returns the connection to the client, with the stream's Guard around it.
func (w *responseInterceptor) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.hijacked = true
	w.stream.opened.Store(true)
	w.timer.Stop()
	s := w.stream
	conn, brw = s.guard.Wrap(conn, brw)
	s.events.do(func() { s.startMeter(audioRate(w.call.Route.Audio, w.r.URL.RawQuery)) })
	return conn, brw, nil
}
