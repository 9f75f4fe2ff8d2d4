package gate

import (
	"net/http"
	"strconv"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
)

// writeAnswerHeader sets the header fields of an answer of the gateway itself. Pages of the
// origins in cors may read the answer.
func writeAnswerHeader(w http.ResponseWriter, r *http.Request, a dialect.Answer, cors handler.Origins, sessionHeader string) {
	header := w.Header()
	handler.ForbidCaching(header)
	header.Set("Content-Type", "application/json")
	if a.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if a.Session {
		handler.SetLiteral(header, sessionHeader, handler.NewSessionID())
	}
	cors.Set(header, r, sessionHeader)
}
