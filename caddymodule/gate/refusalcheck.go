package gate

import (
	"strconv"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// refusalCheck checks whether an answer of the backend refuses the upstream key. The
// answer is held back, with its header, until it is whole or too large for a refusal.
type refusalCheck struct {
	refusal *dialect.KeyRefused // how such an answer looks; nil if nothing is checked
	length  int                 // of the whole body; -1 if it is not known
	body    []byte              // what has come of it
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

// startRefusalCheck reports whether the answer must be checked before it can go on. A body
// of a known length that is too large for a refusal goes on at once, and so does one
// that is compressed.
func (w *responseInterceptor) startRefusalCheck(refusal *dialect.KeyRefused) bool {
	if refusal == nil || len(w.header["Content-Encoding"]) > 0 {
		return false
	}
	w.check.length = -1
	if values := w.header["Content-Length"]; len(values) > 0 {
		if n, err := strconv.Atoi(values[0]); err == nil {
			w.check.length = n
		}
	}
	if w.check.length > dialect.MaxKeyRefused {
		return false
	}
	w.check.refusal = refusal
	return true
}

// checkRefusal takes the next piece of an answer that is held back.
func (w *responseInterceptor) checkRefusal(p []byte) (int, error) {
	c := &w.check
	switch size := len(c.body) + len(p); {
	case size > dialect.MaxKeyRefused:
		if err := w.passRefusalCheck(); err != nil {
			return 0, err
		}
		return w.Write(p)
	case size != c.length:
		c.body = append(c.body, p...)
		return len(p), nil
	case len(c.body) > 0:
		c.body = append(c.body, p...)
		return len(p), w.finishRefusalCheck(c.body)
	}
	return len(p), w.finishRefusalCheck(p) // in one piece, as nearly all of them come
}

// finishRefusalCheck sends an answer that is whole on to the client, unless it refuses the
// upstream key.
func (w *responseInterceptor) finishRefusalCheck(body []byte) error {
	if w.check.refusal.Describes(body) {
		w.refuseUpstream()
		return nil
	}
	w.check.body = body
	return w.passRefusalCheck()
}

// passRefusalCheck sends on what was held back. What follows streams.
func (w *responseInterceptor) passRefusalCheck() error {
	body := w.check.body
	w.check = refusalCheck{}
	w.sendHeader()
	if len(body) == 0 {
		return nil
	}
	return w.send(body)
}

// refuseUpstream answers a client whose key is good, and whose request the backend has
// refused for the gate's own key. The request has been counted as admitted; the refusal
// counts in addition.
func (w *responseInterceptor) refuseUpstream() {
	w.record.Reason = policy.UpstreamRefused
	w.record.Report(w.r)
	w.gate.logUpstreamRefused(&w.record, zap.Int("backend_status", w.status))
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
