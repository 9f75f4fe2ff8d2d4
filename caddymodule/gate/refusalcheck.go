package gate

import (
	"strconv"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// refusalCheck checks whether an answer of the backend refuses the upstream key. The gate
// holds the answer with its header until the answer is complete, or is too large to be a
// refusal.
type refusalCheck struct {
	refusal *dialect.KeyRefused // what a refusal looks like; nil if the answer is not checked
	length  int                 // of the whole body; -1 if it is unknown
	body    []byte              // the part that has come
}

// keyRefused returns what a refusal of the upstream key looks like, if the answer has the status
// of such a refusal. Otherwise it returns nil. It also returns nil if the backend gets the client's
// key or token.
func (w *responseInterceptor) keyRefused() *dialect.KeyRefused {
	if w.passes {
		return nil
	}
	if refusal := w.gate.api.KeyRefused(w.call); refusal.Status == w.status {
		return refusal
	}
	return nil
}

// startRefusalCheck begins the check of an answer, and returns true, if the client must not get
// the answer before the check. It returns false if refusal is nil, if the answer is compressed, or
// if its Content-Length is too large for a refusal.
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

// checkRefusal takes the next bytes of an answer that is held. When the answer is complete, it
// checks the answer. When the answer is too large for a refusal, it sends the answer to the client.
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
	return len(p), w.finishRefusalCheck(p) // nearly all answers come in one piece
}

// finishRefusalCheck checks a complete answer. It sends the answer to the client, unless the
// answer refuses the upstream key.
func (w *responseInterceptor) finishRefusalCheck(body []byte) error {
	if w.check.refusal.Describes(body) {
		w.refuseUpstream()
		return nil
	}
	w.check.body = body
	return w.passRefusalCheck()
}

// passRefusalCheck sends the held bytes to the client. The rest of the answer streams.
func (w *responseInterceptor) passRefusalCheck() error {
	body := w.check.body
	w.check = refusalCheck{}
	w.sendHeader()
	if len(body) == 0 {
		return nil
	}
	return w.send(body)
}

// refuseUpstream answers a request that the backend has refused because of the upstream key.
// The client's key is good. The request has been counted as admitted, and the refusal is
// counted in addition.
func (w *responseInterceptor) refuseUpstream() {
	w.record.Reason, w.record.Again = policy.UpstreamRefused, true
	w.record.Report(w.r)
	w.gate.logUpstreamRefused(&w.record, w.key, zap.Int("backend_status", w.status))
	w.substitute(w.gate.api.Refusal(w.call, policy.UpstreamRefused))
}

// logUpstreamRefused logs that the backend has refused the upstream key. Once a minute the
// level is error. Otherwise it is info, because this can happen to every request.
func (g *Gate) logUpstreamRefused(d *handler.DecisionRecord, key int, more ...zap.Field) {
	detail := "the backend refuses upstream_key: it is wrong, has expired, or is bound to other addresses"
	if g.upstream.Mode == credential.Drop {
		detail = "the backend wants a key, and this gate has none: set upstream_key"
	}
	if key > 0 {
		detail = "the backend refuses an old key of upstream_key: if the vendor has ended it, remove it from upstream_key, so that its jobs are read with the first key"
	}
	if len(g.keys) > 1 {
		more = append(more, zap.Int("upstream_key_position", key+1))
	}
	level := zap.InfoLevel
	if g.upstreamRefused.Due(g.app.Now()) {
		level = zap.ErrorLevel
	}
	if c := g.logger.Check(level, "upstream key refused"); c != nil {
		c.Write(append(append(d.LogFields(), more...), zap.String("detail", detail))...)
	}
}
