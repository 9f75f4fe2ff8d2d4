package gate

import (
	"net/http"
	"time"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/policy"
)

// decide looks for the key, first in the header and the query. A bad key there is refused
// before the body is read, even if the form has a second key. If there is no key, or the
// operation reads a form, decide reads the head of the form and decides again.
func (x *gatedRequest) decide(found *credential.Found, f *facts) decision {
	d := x.decideByKey(found, f, x.at)
	if refused := !d.Reason.OK() && !d.needsBody; refused || !found.NeedsForm() {
		return d
	}
	return x.decideByForm(found, f, d.needsBody)
}

// decideByKey decides by the key that has been found so far.
func (x *gatedRequest) decideByKey(found *credential.Found, f *facts, at policy.Time) decision {
	secret, fault := found.UncheckedKey()
	if fault != nil {
		d := faulty(fault)
		d.needsBody = fault.Reason == policy.CredentialMissing && found.FormMayHoldKey()
		return d
	}
	switch fault, err := x.gate.lookUp(x.r.Context(), secret, x.call.JobID, f); {
	case fault != nil:
		return faulty(fault)
	case err != nil:
		return unavailable(err)
	}
	return x.gate.decide(at, f, &x.facts)
}

// decideByForm reads the head of the form and decides. The memory of a head counts against
// the head budget until the decision, unless the request has shown a valid key before.
func (x *gatedRequest) decideByForm(found *credential.Found, f *facts, keyless bool) decision {
	var budget credential.Budget
	if keyless {
		budget = x.gate.app.HeadBudget()
	}
	defer found.ReleaseBudget()
	if err := found.ReadForm(x.w, x.r, x.gate.MaxHead, budget); err != nil {
		return unreadable(err)
	}
	d := x.decideByKey(found, f, x.gate.app.Now())
	d.body = handler.BodyBegun
	if lost := found.ReleaseBudget(); lost && d.Reason.OK() {
		// The head is whole and its key is good: the upload goes on.
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Time{})
	}
	if !d.Reason.OK() {
		found.DiscardForm(x.r)
	}
	if d.Reason == policy.LimitReached {
		d.shownAs = policy.StoreUnavailable // the limit is one of the gateway, not of the key
	}
	return d
}
