package gate

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// The words of backend_errors.
const (
	backendErrorsGate  = "gate"
	backendErrorsCaddy = "caddy"
)

// statusClientGone is the status that reverse_proxy gives to a request whose client
// has closed the connection. The status is nginx's; no standard has one.
const statusClientGone = 499

// errBrokeOff stands for the panic by which reverse_proxy ends an answer that the
// backend has not finished.
var errBrokeOff = errors.New("the backend's answer broke off")

// forward has the next handlers answer an admitted request.
func (x *gatedRequest) forward(found *credential.Found, f *facts, d *decision, next caddyhttp.Handler) error {
	w := x.intercept(f, d)
	f.store.NoteUse(&f.record, d.at)
	x.gate.reportAdmitted(x.r, &w.record)
	if x.call.Operation == policy.CreateJob {
		w.reserved = f.store.ReserveWrite()
		defer w.reserved.Release()
	}
	x.prepareUpstream(&w.upstream, found)
	return w.serve(found, next)
}

// reads reports whether the gate has to read the backend's answer to the operation.
func (g *Gate) reads(op policy.Operation) bool {
	return g.upstream.Mode == credential.Replace || op == policy.CreateJob || op == policy.ReadJob
}

// serve has the next handlers answer through w. If they fail, the gate answers the
// client, or Caddy does: see [Gate.BackendErrors].
func (w *responseInterceptor) serve(found *credential.Found, next caddyhttp.Handler) error {
	if err := w.run(found, next); err != nil {
		return w.failed(err)
	}
	w.upstream.finish()
	w.complete()
	return nil
}

// run calls the next handlers. An answer that breaks off before anything of it has
// gone to the client is an error. After a failure, neither the request nor the error
// holds a credential.
func (w *responseInterceptor) run(found *credential.Found, next caddyhttp.Handler) (err error) {
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
		switch thrown := recover(); {
		case thrown == nil: // the goroutine exits
		case thrown != http.ErrAbortHandler || w.sent(): //nolint:errorlint // net/http compares the value too
			panic(thrown)
		default:
			err = caddyhttp.Error(http.StatusBadGateway, errBrokeOff)
		}
	}()
	err = next.ServeHTTP(w, w.r)
	returned = true
	return err
}

// failed answers a request that the next handlers have failed to answer, or returns
// the error for Caddy to answer. Caddy gets what is no failure of a backend: an error
// below 500, such as a body that is too large, and a client that went away. Caddy also
// gets what nobody can answer any more, since the header has gone out.
func (w *responseInterceptor) failed(err error) error {
	status := http.StatusInternalServerError
	var withStatus caddyhttp.HandlerError
	if errors.As(err, &withStatus) && withStatus.StatusCode != 0 {
		status = withStatus.StatusCode
	}
	gone := status == statusClientGone || errors.Is(w.r.Context().Err(), context.Canceled)
	switch {
	case w.replaced:
		return nil // the client has the gate's answer, and the log the reason
	case gone, status < 500, w.sent(), w.gate.BackendErrors == backendErrorsCaddy:
		w.discard()
		return err
	}
	w.gate.logger.Error("backend failed", append(w.record.LogFields(), zap.Int("status", status), zap.Error(err))...)
	w.substitute(w.gate.api.GatewayError(w.call))
	return nil
}

// masked hides the upstream key in an error of the next handlers.
func (g *Gate) masked(err error) error {
	if g.redactor == nil {
		return err
	}
	return maskError(err, g.redactor)
}

// sent reports whether a header of the backend's has gone to the client.
func (w *responseInterceptor) sent() bool { return w.status != 0 && !w.holds() && !w.replaced }

// maskError hides a secret in an error of the next handlers: a proxy quotes what it
// could not read.
func maskError(err error, redactor *credential.Redactor) error {
	text := redactor.Text(err.Error())
	if text == err.Error() {
		return err
	}
	var withStatus caddyhttp.HandlerError
	if errors.As(err, &withStatus) && withStatus.Err != nil {
		withStatus.Err = errors.New(redactor.Text(withStatus.Err.Error()))
		return withStatus // not wrapped: Caddy asks for the type itself
	}
	return errors.New(text)
}
