package gate

import (
	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/policy"
)

// count counts an allowed request for the limits of its key and its account. It changes out to
// a refusal if the request would exceed one. Otherwise the caller must release the ticket when
// the request has ended. A request that reads a job is never counted.
func (d *decider) count(ticket *limits.Ticket, f *facts, op policy.Operation, kind limits.Kind, out *decision) {
	if !op.Limited() || !f.record.Limited() {
		return
	}
	var refusal limits.Refusal
	if op.SendsAudio() {
		var err error
		if refusal, err = d.app.AudioMet(f.store, f.owner, &f.limits.Limits, &f.shared.Limits, out.at); err != nil {
			out.Decision, out.detail = policy.Decision{Reason: policy.StoreUnavailable}, err.Error()
			return
		}
	}
	if refusal.Limit == policy.NoLimit {
		refusal = d.app.Limits().Admit(ticket, &f.limits, &f.shared, kind, out.at)
	}
	if refusal.Limit != policy.NoLimit {
		out.refuseLimit(f, refusal.Limit, refusal.ByAccount)
		out.retryIn = refusal.RetryAfter
	}
}

// refuseLimit makes the decision a refusal because of a limit.
func (d *decision) refuseLimit(f *facts, limit policy.LimitName, byAccount bool) {
	d.Decision = policy.Decision{Reason: limit.Reason(), Limit: limit, ByAccount: byAccount}
	d.detail = policy.Exceeded(&f.limits.Limits, &f.shared.Limits, limit, byAccount)
}

// later sets Retry-After of an answer that has one to the time that the decision knows.
func (d *decision) later(answer *dialect.Answer) {
	if d.retryIn > 0 && answer.RetryAfter > 0 {
		answer.RetryAfter = d.retryIn
	}
}

// streamsAtMost returns the lower one of two limits for streams. Zero is no limit.
func streamsAtMost(option int, limit uint32) int {
	if limit == 0 || option > 0 && option <= int(limit) {
		return option
	}
	return int(limit)
}

// acceptStream makes the key of f the key of a stream. It changes out to a refusal, and returns
// false, if the key or its account has as many streams as it may have.
func (g *Gate) acceptStream(id string, f *facts, out *decision) bool {
	perKey, perAccount := streamsAtMost(g.MaxStreamsPerKey, f.limits.Limits.Streams), streamsAtMost(g.MaxStreamsPerAccount, f.shared.Limits.Streams)
	full := g.app.Streams().Accept(id, f.owner, out.at, perKey, perAccount)
	switch {
	case full == livestream.Accepted:
		return true
	case full == livestream.KeyFull && perKey != g.MaxStreamsPerKey:
		out.refuseLimit(f, policy.LimitStreams, false)
	case full == livestream.AccountFull && perAccount != g.MaxStreamsPerAccount:
		out.refuseLimit(f, policy.LimitStreams, true)
	default:
		out.Reason, out.detail = policy.StreamLimit, "the key or its account has as many streams as max_streams allows"
	}
	return false
}
