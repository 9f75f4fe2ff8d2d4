package gate

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// The values of backend_errors.
const (
	backendErrorsGate  = "gate"
	backendErrorsCaddy = "caddy"
)

// statusClientGone is the status of the error that reverse_proxy returns if the client has
// closed the connection. The number comes from nginx; it is not in a standard.
const statusClientGone = 499

// errBrokeOff replaces the panic with which reverse_proxy ends an answer that the backend has
// not finished.
var errBrokeOff = errors.New("the backend's answer broke off")

// forward sends an admitted request to the next handlers, and their answer to the client.
func (req *gatedRequest) forward(found *credential.Found, f *facts, d *decision, next caddyhttp.Handler) error {
	up, key := req.gate.upstreamOf(f)
	w := req.intercept(f, d, up.Mode, key)
	f.noteGrace(&w.record, d)
	f.store.NoteUse(&f.record, d.at)
	use := req.gate.useOf(key)
	use.Note(d.at)
	if req.call.Operation != policy.ReadJob || key > 0 { // polls are short, and their jobs are counted
		use.BeginRequest()
		defer use.EndRequest()
	}
	req.gate.reportAdmitted(req.r, &w.record)
	if recordsAnswer(req.call.Operation) {
		w.reserved = f.store.ReserveWrite()
		defer w.reserved.Release()
	}
	req.prepareUpstream(&w.upstream, found, up)
	if w.measureAudio() {
		defer w.countAudio()
	}
	return w.serve(found, next)
}

// readsAnswer reports whether the gate has to read the backend's answer to a call.
func (g *Gate) readsAnswer(call dialect.Call) bool {
	return g.upstream.Mode == credential.Replace || call.Operation == policy.ReadJob || recordsAnswer(call.Operation) ||
		call.Route != nil && call.Route.Edits != nil
}

// recordsAnswer reports whether something in the backend's answer to an operation is recorded before
// the client gets the answer.
func recordsAnswer(op policy.Operation) bool { return op == policy.CreateJob || op == policy.Mint }

// serve calls the next handlers, which answer through w. If they fail, the gate or Caddy
// answers: see [Gate.BackendErrors].
func (w *responseInterceptor) serve(found *credential.Found, next caddyhttp.Handler) error {
	if err := w.callNext(found, next); err != nil {
		return w.answerFailure(err)
	}
	w.upstream.finish()
	w.complete()
	return nil
}

// callNext calls the next handlers, and returns their error. If the backend's answer breaks off,
// reverse_proxy panics. callNext returns an error in place of this panic, unless a part of the
// answer has gone to the client. After an error, neither the request nor the error contains a
// credential.
func (w *responseInterceptor) callNext(found *credential.Found, next caddyhttp.Handler) (err error) {
	returned := false
	defer func() {
		if returned && err == nil {
			return
		}
		secret, _ := found.UncheckedKey()
		w.upstream.scrub(secret, w.gate.redactor, w.gate.api.Places)
		if returned {
			err = maskError(w.gate.masked(err), credential.NewRedactor(secret, 0))
			return
		}
		switch value := recover(); {
		case value == nil: // runtime.Goexit, not a panic
		case value != http.ErrAbortHandler || w.sent(): //nolint:errorlint // net/http compares the value too
			panic(value)
		default:
			err = caddyhttp.Error(http.StatusBadGateway, errBrokeOff)
		}
	}()
	err = next.ServeHTTP(w, w.r)
	returned = true
	return err
}

// answerFailure answers a request after an error of the next handlers, or returns the error to
// Caddy. It returns the error in these cases: the status is below 500, such as for a body that is
// too large; the client has gone away; the header of the answer has been sent; or the
// configuration says backend_errors caddy.
func (w *responseInterceptor) answerFailure(err error) error {
	status := http.StatusInternalServerError
	var withStatus caddyhttp.HandlerError
	if errors.As(err, &withStatus) && withStatus.StatusCode != 0 {
		status = withStatus.StatusCode
	}
	gone := status == statusClientGone || errors.Is(w.r.Context().Err(), context.Canceled)
	switch {
	case w.replaced:
		return nil // the client has an answer of the gate, and the log has the reason
	case gone, status < 500, w.sent(), w.gate.BackendErrors == backendErrorsCaddy:
		w.discard()
		return err
	}
	w.gate.logger.Error("backend failed", append(w.record.LogFields(), zap.Int("status", status), zap.Error(err))...)
	w.substitute(w.gate.api.GatewayError(w.call))
	return nil
}

// masked masks the upstream key in an error of the next handlers.
func (g *Gate) masked(err error) error {
	if g.redactor == nil {
		return err
	}
	return maskError(err, g.redactor)
}

// sent reports whether the header of the backend's answer has gone to the client.
func (w *responseInterceptor) sent() bool { return w.status != 0 && !w.isHeld() && !w.replaced }

// maskError masks the secret of redactor in an error of the next handlers. The error can contain
// the secret, because a proxy quotes an answer that it cannot parse.
func maskError(err error, redactor *credential.Redactor) error {
	text := redactor.Text(err.Error())
	if text == err.Error() {
		return err
	}
	var withStatus caddyhttp.HandlerError
	if errors.As(err, &withStatus) && withStatus.Err != nil {
		withStatus.Err = errors.New(redactor.Text(withStatus.Err.Error()))
		return withStatus // not wrapped, because Caddy asserts the type
	}
	return errors.New(text)
}
