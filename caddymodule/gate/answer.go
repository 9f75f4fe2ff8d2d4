package gate

import (
	"net/http"
	"strconv"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
)

// answer sends one of the gate's own answers in place of the backend's. It is the
// last thing that is done with the request.
func (x *gatedRequest) answer(a dialect.Answer) error {
	x.gate.writeHeader(x.w, x.r, a)
	state := handler.BodyUntouched
	if x.touched {
		state = handler.BodyBegun
	}
	// The client may go on sending for minutes, which must not keep the store open.
	x.release()
	own := handler.OwnAnswer{Status: a.Status, Body: a.Body, State: state}
	own.Send(x.w, x.r, x.gate.app.Drains(), x.gate.logger)
	return nil // whatever failed, the client has gone
}

// writeHeader sets the header of one of the gate's own answers.
func (g *Gate) writeHeader(w http.ResponseWriter, r *http.Request, a dialect.Answer) {
	header := w.Header()
	handler.ForbidCaching(header)
	header.Set("Content-Type", "application/json")
	if a.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if a.Session {
		handler.SetLiteral(header, g.api.SessionHeader, handler.NewSessionID())
	}
	g.CORS.Set(header, r, g.api.SessionHeader)
}
