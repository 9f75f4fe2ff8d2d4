package gate

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// decide decides by the key in the header or the query. If that key is bad, the request is
// refused before the body is read, even if the form has a second key. If there is no key
// there, or if the body has to be checked too, decide reads the head of the form and decides
// again.
func (req *gatedRequest) decide(found *credential.Found, f *facts) decision {
	d := req.decideByKey(found, f, req.at)
	if refused := !d.Reason.OK() && !d.needsBody; refused || !found.NeedsForm() {
		return d
	}
	return req.decideByForm(found, f, !d.needsBody)
}

// decideByKey decides by the key that has been found so far, at the instant at.
func (req *gatedRequest) decideByKey(found *credential.Found, f *facts, at policy.Time) decision {
	d := req.gate.decideByKey(req.r.Context(), found, req.call.JobID, at, &req.asked, f)
	d.needsBody = d.Reason == policy.CredentialMissing && found.FormMayHoldKey()
	return d
}

// decideByForm reads the head of the form and decides. The memory of the head counts in the
// head budget until the decision, unless the request has a valid key in the header or the
// query (keyFound).
func (req *gatedRequest) decideByForm(found *credential.Found, f *facts, keyFound bool) decision {
	var budget credential.Budget
	if !keyFound {
		budget = req.gate.app.HeadBudget()
	}
	defer found.ReleaseBudget()
	err := found.ReadForm(req.w, req.r, req.gate.MaxHead, budget)
	req.begun = time.Now() // until now, the gateway has waited for the client
	if err != nil {
		return unreadable(err)
	}
	d := req.decideByKey(found, f, req.gate.app.At(req.begun))
	d.body = handler.BodyBegun
	if lost := found.ReleaseBudget(); lost && d.Reason.OK() {
		// The head is complete and its key is good, so the upload goes on, without the
		// deadline that the head budget has set.
		_ = http.NewResponseController(req.w).SetReadDeadline(time.Time{})
	}
	if !d.Reason.OK() {
		found.DiscardForm(req.r)
	}
	if d.Reason == policy.LimitReached {
		d.shownAs = policy.StoreUnavailable // the gateway has reached a limit, not the key
	}
	return d
}

// unreadable is the decision on a request whose body cannot be read: the client has gone, or
// sends too slowly or too much. The gate answers itself, because an error route would get the
// request with a key that has not been checked. If the error has a status, such as 413 of
// request_body, the answer has this status.
func unreadable(err error) decision {
	d := decision{Decision: policy.Decision{Reason: policy.RequestMalformed}, detail: err.Error(), body: handler.BodyBegun}
	if withStatus := (caddyhttp.HandlerError{}); errors.As(err, &withStatus) {
		d.status = withStatus.StatusCode
	}
	return d
}
