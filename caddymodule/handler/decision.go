package handler

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// DecisionRecord has what the metric, the log and the placeholders show of a decision.
type DecisionRecord struct {
	Counters  *DecisionCounters // of the backend name
	Operation policy.Operation
	Reason    policy.Reason
	Limit     policy.LimitName // that refuses the request; NoLimit if no limit does
	Owner     policy.Identity
	Client    netip.Addr // invalid if it is unknown
	Begun     time.Time  // when deciding began; zero if the time is not measured, or was reported already

	// At is the instant of the decision, for the usage.
	At policy.Time
	// Store is where the usage is counted. Default: it is not counted.
	Store *keystore.Store
	// Again says that the request or the stream was admitted before, and is refused or cut now: the
	// usage has it as a refusal, and not as another request.
	Again bool

	// JobID and GraceUntil are the job that an expired key may read, and until when. They are for the
	// event, and set if the reason is AllowedByGrace.
	JobID      string
	GraceUntil policy.Time
}

// The placeholders of a decision.
const (
	// PlaceholderAccount is the placeholder for the ID of the key's account.
	PlaceholderAccount = "speechgate.account_id"

	placeholderKey       = "speechgate.key_id"
	placeholderOperation = "speechgate.operation"
	placeholderReason    = "speechgate.reason"
	placeholderUser      = "http.auth.user.id" // of Caddy; user_id in access logs
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
		// If the backend refuses the upstream key, the client's key is known and good.
		return d.Owner.AccountID, d.Reason.OK() || d.Reason == policy.UpstreamRefused
	}
	return nil, false
}

// Report counts the decision, also in the usage, tells the subscribers of events, and sets the
// placeholders and the attributes of the span. Later changes of d can
// change the placeholders, until Report is called again. The first Report also notes how long it took to
// decide.
func (d *DecisionRecord) Report(r *http.Request) {
	d.Counters.count(d.Operation, d.Reason, d.Limit)
	d.countUsage()
	if d.Reason != policy.Allowed {
		d.tell()
		d.show(r)
	}
	if !d.Begun.IsZero() {
		d.Counters.observe(d.Operation, time.Since(d.Begun))
		d.Begun = time.Time{}
	}
	d.trace(r.Context())
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	// The usual way is cheap: the replacer gets a function that computes a placeholder when it
	// is read. In three cases the values are set at once. On a second decision, or if another
	// handler has set the user, the replacer would return what was set before. On a stream,
	// the function could run while another goroutine changes d.
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

// countUsage counts the decision in the usage of the key and of its account.
func (d *DecisionRecord) countUsage() {
	if d.Store == nil {
		return
	}
	counts := keystore.UsageCounts{Requests: 1}
	if d.Again {
		counts.Requests = 0
	}
	if !d.Reason.OK() {
		counts.Refused = 1
	}
	d.Store.CountUsage(d.At, d.UsageOf(), counts)
}

// UsageOf returns what the usage of the request belongs to.
func (d *DecisionRecord) UsageOf() *keystore.UsageOf {
	return &keystore.UsageOf{KeyID: d.Owner.KeyID, AccountID: d.Owner.AccountID, Backend: d.Counters.backend, Operation: d.Operation, Reason: d.Reason}
}

// LogFields returns the fields of the decision for a log entry.
func (d *DecisionRecord) LogFields() []zap.Field {
	client := ""
	if d.Client.IsValid() {
		client = d.Client.String()
	}
	limit := zap.Skip()
	if d.Limit != policy.NoLimit {
		limit = zap.Stringer("limit", d.Limit)
	}
	return []zap.Field{
		zap.Stringer("reason", d.Reason),
		limit,
		zap.Stringer("operation", d.Operation),
		zap.String("key_id", d.Owner.KeyID),
		zap.String("account_id", d.Owner.AccountID),
		zap.String("client_ip", client),
		zap.String("backend", d.Counters.backend),
	}
}
