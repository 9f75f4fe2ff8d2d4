package gate

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
)

// fill replaces the placeholders of an answer to a request.
func (g *Gate) fill(a dialect.Answer, r *http.Request) dialect.Answer {
	return a.Fill(func() dialect.Facts { return g.facts(r) })
}

// facts returns what an answer to a request can say about it.
func (g *Gate) facts(r *http.Request) dialect.Facts { return factsAt(g.maskedPath(r)) }

// factsAt returns what an answer to a request for this path can say about it.
func factsAt(maskedPath string) dialect.Facts {
	return dialect.Facts{RequestID: handler.NewRequestID(), Time: time.Now(), Path: maskedPath}
}

// writeAnswerHeader sets the header fields of an answer of the gateway itself. Pages of the
// origins in cors may read the answer.
func writeAnswerHeader(w http.ResponseWriter, r *http.Request, a dialect.Answer, cors handler.Origins, sessionHeader string) {
	header := w.Header()
	handler.ForbidCaching(header)
	header.Set("Content-Type", "application/json")
	for _, field := range a.Header {
		header.Set(field.Name, field.Value)
	}
	exposed := sessionHeader
	if a.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(a.RetryAfter))
		exposed = strings.TrimPrefix(exposed+", Retry-After", ", ")
	}
	if a.Session {
		handler.SetLiteral(header, sessionHeader, handler.NewSessionID())
	}
	cors.Set(header, r, exposed)
}
