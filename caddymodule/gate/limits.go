package gate

import (
	"context"
	"fmt"

	"github.com/speechgate/speechgate/caddymodule/livestream"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// count counts an allowed request for the limits of its key and its account. It changes out to
// a refusal if the request would exceed one. Otherwise the caller must release the ticket when
// the request has ended. A request that reads a job is never counted.
func (d *decider) count(ticket *limits.Ticket, f *facts, op policy.Operation, kind limits.Kind, out *decision) {
	if op == policy.ReadJob || !f.record.Limited() {
		return
	}
	if limitsAudio(&f.limits.Limits) && sendsAudio(op) {
		limit, wait, err := d.audioMet(f.store, f.owner, &f.limits.Limits, out.at)
		switch {
		case err != nil:
			out.Decision, out.detail = policy.Decision{Reason: policy.StoreUnavailable}, err.Error()
			return
		case limit != policy.NoLimit:
			out.refuseLimit(f, limit, false)
			out.retryIn = wait
			return
		}
	}
	refusal := d.app.Limits().Admit(ticket, &f.limits, &f.shared, kind, out.at)
	if refusal.Limit == policy.NoLimit {
		return
	}
	out.refuseLimit(f, refusal.Limit, refusal.ByAccount)
	out.retryIn = refusal.RetryAfter
}

// limitsAudio reports whether limits have one of audio.
func limitsAudio(l *policy.Limits) bool { return l.AudioDay != 0 || l.AudioTotal != 0 }

// sendsAudio reports whether a request for an operation has audio.
func sendsAudio(op policy.Operation) bool {
	return op == policy.Recognize || op == policy.CreateJob || op == policy.Upload || op == policy.Stream
}

// audioMet returns the limit of audio that the key has used up, and when a request may succeed
// again, in seconds.
func (d *decider) audioMet(store *keystore.Store, owner policy.Identity, l *policy.Limits, at policy.Time) (limit policy.LimitName, wait int, err error) {
	used, err := d.app.Limits().AudioOf(owner.KeyID, at, func() (limits.Audio, error) {
		// The request does not end the read: its result is for other requests too.
		today, total, err := store.AudioUsed(context.Background(), at, owner)
		return limits.Audio{Today: today, Total: total}, err
	})
	if err != nil {
		return policy.NoLimit, 0, fmt.Errorf("reading how much audio the key has used: %w", err)
	}
	limit, wait = used.ExceededBy(l, at)
	return limit, wait, nil
}

// refuseLimit makes the decision a refusal because of a limit.
func (d *decision) refuseLimit(f *facts, limit policy.LimitName, byAccount bool) {
	d.Decision = policy.Decision{Reason: limit.Reason(), Limit: limit, ByAccount: byAccount}
	d.detail = f.exceeded(limit, byAccount)
}

// exceeded is the detail of a refusal because of a limit.
func (f *facts) exceeded(limit policy.LimitName, byAccount bool) string {
	whose, of := "the key's limit ", &f.limits
	if byAccount {
		whose, of = "the limit of the key's account, ", &f.shared
	}
	switch limit {
	case policy.LimitAudioDay, policy.LimitAudioTotal:
		return whose + of.Limits.Word(limit) + " is used up"
	case policy.LimitOperations:
		return "the operation is not within " + whose + of.Limits.Word(limit)
	default:
		return "the request would exceed " + whose + of.Limits.Word(limit)
	}
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
