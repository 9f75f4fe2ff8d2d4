package gate

import (
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/policy"
)

// ServeHTTP decides on a request. It forwards the request to the next handlers, or refuses it
// in the form of the API.
//
// Each step makes a value: a [gatedRequest] is what the request asks for, [facts] are the
// records of its key and its job, and a [decision] is the result.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if g.answersPreflight(w, r) {
		return nil
	}
	req := g.newRequest(w, r)
	if d := req.check(); d.Reason != policy.Undecided {
		return req.refuse(&facts{}, &d)
	}
	if stream := req.call.Route.StreamRules(); stream != nil {
		if stream.Handshake != nil {
			return req.serveKeyedStream(next)
		}
		return req.serveStream(next)
	}
	var f facts
	f.acquireStore(g.app)
	defer f.releaseStore()
	found := credential.Scan(r, g.api, req.call.Route)
	d := req.decide(&found, &f)
	if d.Reason.OK() {
		var ticket limits.Ticket
		defer ticket.Release()
		if req.gate.count(&ticket, &f, req.call.Operation, limits.Request, &d); !d.Reason.OK() {
			found.DiscardForm(r)
		}
	}
	if !d.Reason.OK() {
		return req.refuse(&f, &d)
	}
	return req.forward(&found, &f, &d, next)
}

// gatedRequest is what one request asks for. Its fields do not change, except begun.
type gatedRequest struct {
	gate  *Gate
	w     http.ResponseWriter
	r     *http.Request
	at    policy.Time // when the request came
	call  dialect.Call
	asked policy.Request // without the job, which is looked up later
	body  io.ReadCloser  // of the client, before the gate wraps it
	begun time.Time      // when deciding began: when the request came, or when the head of its form was read
}

func (g *Gate) newRequest(w http.ResponseWriter, r *http.Request) gatedRequest {
	begun := time.Now()
	call, account := g.classify(g.api, r)
	return gatedRequest{gate: g, w: w, r: r, begun: begun, at: g.app.At(begun), call: call, body: r.Body, asked: policy.Request{
		Operation:   call.Operation,
		PathAccount: account,
		EarlyData:   handler.IsEarlyData(r),
		Client:      handler.ClientIP(r),
	}}
}

// check refuses a request that would be refused with any key, such as a request that the API does
// not list. If the decision depends on the key, the reason is Undecided.
func (req *gatedRequest) check() decision {
	if reason := policy.CheckRequest(&req.asked); reason != policy.Undecided {
		return decision{Decision: policy.Decision{Reason: reason}, detail: req.whyUnlisted()}
	}
	if !credential.FitsRequestLine(req.r.URL.RawQuery) {
		return decision{
			Decision: policy.Decision{Reason: policy.RequestMalformed}, status: http.StatusBadRequest,
			detail: "the query has a space or a control character, which no request line of HTTP/1.1 can carry: want it percent-encoded",
		}
	}
	return decision{}
}

// refuse reports a refusal, and answers in the form of the API. It releases the store before
// it answers, because the client may go on sending for minutes.
func (req *gatedRequest) refuse(f *facts, d *decision) error {
	record := req.record(f, d.Reason)
	record.Limit = d.Limit
	req.gate.reportRefused(req.r, &record, d.detail)
	app.Canaries().Note(req.r, req.asked.Client)
	dropUpgrade(req.r.Header) // so that no handler in front of the gate waits for another protocol
	reason := d.Reason
	if d.shownAs != policy.Undecided {
		reason = d.shownAs
	}
	answer := req.gate.fill(req.gate.api.Refusal(req.call, reason), req.r)
	if d.status != 0 {
		answer.Status = d.status
	}
	d.later(&answer)
	f.releaseStore()
	writeAnswerHeader(req.w, req.r, answer, req.gate.CORS, req.gate.api.SessionHeader)
	own := handler.OwnAnswer{Status: answer.Status, Body: answer.Body, State: d.body}
	own.Send(req.w, req.r, req.gate.app.Drainer(), req.gate.logger)
	return nil // if the answer cannot be sent, the client has gone
}

// record returns the record of a decision on the request.
func (req *gatedRequest) record(f *facts, reason policy.Reason) handler.DecisionRecord {
	return handler.DecisionRecord{
		Counters: req.gate.counters, Operation: req.call.Operation, Reason: reason, Owner: f.owner, Client: req.asked.Client, Begun: req.begun,
		At: req.at, Store: f.usageStore(req.gate.app),
	}
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = (*Gate)(nil)
