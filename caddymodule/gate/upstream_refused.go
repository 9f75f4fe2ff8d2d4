package gate

import (
	"strconv"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// look is an answer that may refuse the upstream key.
// The answer is held back, header and all, until it is whole or is too large for a
// refusal.
type look struct {
	refusal *dialect.KeyRefused // nil where there is nothing to look for
	length  int                 // of the whole body; -1 where it is not known
	begun   []byte
}

// keyRefused is how the backend refuses the gate's key, if it can have refused with
// this status; nil on a gate that passes the client's key.
func (w *responseInterceptor) keyRefused() *dialect.KeyRefused {
	if w.gate.upstream.Mode == credential.Pass {
		return nil
	}
	if refusal := w.gate.api.KeyRefused(w.call); refusal.Status == w.status {
		return refusal
	}
	return nil
}

// beginLook reports whether the answer must be looked at before it can go on. A body
// of a known length that is too large for a refusal goes on at once, and so does one
// that is compressed.
func (w *responseInterceptor) beginLook(refusal *dialect.KeyRefused) bool {
	if refusal == nil || len(w.header["Content-Encoding"]) > 0 {
		return false
	}
	w.look.length = -1
	if values := w.header["Content-Length"]; len(values) > 0 {
		if n, err := strconv.Atoi(values[0]); err == nil {
			w.look.length = n
		}
	}
	if w.look.length > dialect.MaxKeyRefused {
		return false
	}
	w.look.refusal = refusal
	return true
}

// lookAt takes the next piece of an answer that is held back.
func (w *responseInterceptor) lookAt(p []byte) (int, error) {
	l := &w.look
	switch size := len(l.begun) + len(p); {
	case size > dialect.MaxKeyRefused:
		if err := w.endLook(); err != nil {
			return 0, err
		}
		return w.Write(p)
	case size != l.length:
		l.begun = append(l.begun, p...)
		return len(p), nil
	case len(l.begun) > 0:
		l.begun = append(l.begun, p...)
		return len(p), w.judge(l.begun)
	}
	return len(p), w.judge(p) // in one piece, as nearly all of them come
}

// judge sends an answer that is whole on to the client, unless it refuses the
// upstream key.
func (w *responseInterceptor) judge(body []byte) error {
	if w.look.refusal.Describes(body) {
		w.refuseUpstream()
		return nil
	}
	w.look.begun = body
	return w.endLook()
}

// endLook sends on what was held back. What follows streams.
func (w *responseInterceptor) endLook() error {
	begun := w.look.begun
	w.look = look{}
	w.sendHeader()
	if len(begun) == 0 {
		return nil
	}
	return w.send(begun)
}

// refuseUpstream answers a client whose key is good, and whose request the backend has
// refused for the gate's own key. The request has been counted as admitted; the refusal
// counts in addition.
func (w *responseInterceptor) refuseUpstream() {
	w.ruling.Reason = policy.UpstreamRefused
	w.ruling.Report(w.r)
	w.gate.logUpstreamRefused(&w.ruling, zap.Int("backend_status", w.status))
	w.substitute(w.gate.api.Refusal(w.call, policy.UpstreamRefused))
}

// logUpstreamRefused says that the backend has refused the gate's own key: as an error
// once a minute, since every request can meet it.
func (g *Gate) logUpstreamRefused(d *handler.DecisionRecord, more ...zap.Field) {
	detail := "the backend refuses upstream_key: it is wrong, has expired, or is bound to other addresses"
	if g.upstream.Mode == credential.Drop {
		detail = "the backend wants a key, and this gate has none: set upstream_key"
	}
	level := zap.InfoLevel
	if g.upstreamRefused.Due(g.app.Now()) {
		level = zap.ErrorLevel
	}
	if c := g.logger.Check(level, "upstream key refused"); c != nil {
		c.Write(append(append(d.LogFields(), more...), zap.String("detail", detail))...)
	}
}
