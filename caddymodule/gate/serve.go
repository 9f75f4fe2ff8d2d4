package gate

import (
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// ServeHTTP decides on a request. It forwards the request to the next handlers, or
// refuses it in the form of the API.
//
// A request becomes a [gatedRequest] (what it asks for), then facts (the records of its
// key and job), then a decision. None of these values changes after it is made.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if g.answersPreflight(w, r) {
		return nil
	}
	req := g.newRequest(w, r)
	if d := req.check(); d.Reason != policy.Undecided {
		return req.refuse(&facts{}, &d)
	}
	if req.call.Operation == policy.Stream {
		return req.serveStream(next)
	}
	var f facts
	f.acquireStore(g.app)
	defer f.releaseStore()
	found := credential.Scan(r, g.api, req.call.Route)
	d := req.decide(&found, &f)
	if !d.Reason.OK() {
		return req.refuse(&f, &d)
	}
	return req.forward(&found, &f, &d, next)
}

// gatedRequest is what one request asks of the gate. It does not change.
type gatedRequest struct {
	gate  *Gate
	w     http.ResponseWriter
	r     *http.Request
	at    policy.Time // when the request came
	call  dialect.Call
	facts policy.Request // without the job
	body  io.ReadCloser  // as the client sends it
}

func (g *Gate) newRequest(w http.ResponseWriter, r *http.Request) gatedRequest {
	call, account := g.classify(g.api, r)
	return gatedRequest{gate: g, w: w, r: r, at: g.app.Now(), call: call, body: r.Body, facts: policy.Request{
		Operation:   call.Operation,
		PathAccount: account,
		EarlyData:   handler.IsEarlyData(r),
		Client:      handler.ClientIP(r),
	}}
}

// check decides what needs no key. Its reason is Undecided if a key is needed.
func (x *gatedRequest) check() decision {
	if reason := policy.CheckRequest(&x.facts); reason != policy.Undecided {
		return decision{Decision: policy.Decision{Reason: reason}, detail: x.whyUnlisted()}
	}
	if !credential.FitsRequestLine(x.r.URL.RawQuery) {
		return decision{
			Decision: policy.Decision{Reason: policy.RequestMalformed}, status: http.StatusBadRequest,
			detail: "the query has a space or a control character, which no request line of HTTP/1.1 can carry: want it percent-encoded",
		}
	}
	return decision{}
}

// refuse answers in the form of the API, and reports the refusal. It releases the store
// first, because the client may go on sending for minutes.
func (x *gatedRequest) refuse(f *facts, d *decision) error {
	x.gate.reportRefused(x.r, x.record(f, d.Reason), d.detail)
	dropUpgrade(x.r.Header) // no handler around the gate may wait for another protocol
	reason := d.Reason
	if d.shownAs != policy.Undecided {
		reason = d.shownAs
	}
	answer := x.gate.api.Refusal(x.call, reason)
	if d.status != 0 {
		answer.Status = d.status
	}
	f.releaseStore()
	writeAnswerHeader(x.w, x.r, answer, x.gate.CORS, x.gate.api.SessionHeader)
	own := handler.OwnAnswer{Status: answer.Status, Body: answer.Body, State: d.body}
	own.Send(x.w, x.r, x.gate.app.Drainer(), x.gate.logger)
	return nil // if the answer cannot be sent, the client has gone
}

// record is the record of a decision on the request.
func (x *gatedRequest) record(f *facts, reason policy.Reason) *handler.DecisionRecord {
	return &handler.DecisionRecord{Counters: x.gate.counters, Operation: x.call.Operation, Reason: reason, Owner: f.owner, Client: x.facts.Client}
}

// unreadable is the decision on a request whose body cannot be read, because the client
// has gone, sends too slowly, or sends too much. The gate answers by itself: an error
// route would get a request with the client's key, before the key has been judged. An
// error that has a status of its own keeps it, such as the 413 of request_body.
func unreadable(err error) decision {
	d := decision{Decision: policy.Decision{Reason: policy.RequestMalformed}, detail: err.Error(), body: handler.BodyBegun}
	if own := (caddyhttp.HandlerError{}); errors.As(err, &own) {
		d.status = own.StatusCode
	}
	return d
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = (*Gate)(nil)
