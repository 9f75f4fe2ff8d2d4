package handler

import (
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/policy"
)

// Identity says whose a request or a stream is, by the public ID of the key and the
// ID of the key's account. Both are empty while there is no key.
type Identity struct{ KeyID, AccountID string }

// DecisionRecord is a decision as it is counted, logged and put into placeholders.
type DecisionRecord struct {
	Counters  *DecisionCounters // of the gate's backend name
	Operation policy.Operation
	Reason    policy.Reason
	Owner     Identity
	Client    netip.Addr
}

// The placeholders of a decision.
const (
	placeholderKey       = "speechgate.key_id"
	PlaceholderAccount   = "speechgate.account_id"
	placeholderOperation = "speechgate.operation"
	placeholderReason    = "speechgate.reason"
	placeholderUser      = "http.auth.user.id" // Caddy's own, in access logs as user_id
)

func (d *DecisionRecord) placeholder(name string) (any, bool) {
	switch name {
	case placeholderKey:
		return d.Owner.KeyID, true
	case PlaceholderAccount:
		return d.Owner.AccountID, true
	case placeholderOperation:
		return d.Operation.String(), true
	case placeholderReason:
		return d.Reason.String(), true
	case placeholderUser:
		// A client whose request the backend refuses for the gate's key is known.
		return d.Owner.AccountID, d.Reason.OK() || d.Reason == policy.UpstreamRefused
	}
	return nil, false
}

// Report counts the decision and sets the placeholders, which go on to show what d
// is.
func (d *DecisionRecord) Report(r *http.Request) {
	d.Counters.count(d.Operation, d.Reason)
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	// A placeholder is worked out when somebody asks for it. A function that does so
	// yields to what was set before. So the placeholders are set if this is not the
	// first decision on the request, if another handler has named a user, and for
	// streams, whose decisions may come while others read.
	_, again := repl.Get(placeholderReason)
	_, named := repl.Get(placeholderUser)
	if !named && !again && d.Operation != policy.Stream {
		repl.Map(d.placeholder)
		return
	}
	for _, name := range []string{placeholderKey, PlaceholderAccount, placeholderOperation, placeholderReason, placeholderUser} {
		if value, ok := d.placeholder(name); ok {
			repl.Set(name, value)
		}
	}
}

// LogFields are the fields of the decision in a log entry.
func (d *DecisionRecord) LogFields() []zap.Field {
	client := ""
	if d.Client.IsValid() {
		client = d.Client.String()
	}
	return []zap.Field{
		zap.Stringer("reason", d.Reason),
		zap.Stringer("operation", d.Operation),
		zap.String("key_id", d.Owner.KeyID),
		zap.String("account_id", d.Owner.AccountID),
		zap.String("client_ip", client),
		zap.String("backend", d.Counters.backend),
	}
}
