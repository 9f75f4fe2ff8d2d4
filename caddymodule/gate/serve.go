package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// ServeHTTP decides on a request, and lets it through or refuses it.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if g.answersPreflight(w, r) {
		return nil
	}
	var x gatedRequest
	x.begin(g, w, r)
	if reason := policy.CheckRequest(&x.request); reason != policy.Undecided {
		return x.refuse(reason, x.whyUnlisted())
	}
	if !credential.FitsRequestLine(r.URL.RawQuery) {
		x.status = http.StatusBadRequest
		return x.refuse(policy.RequestMalformed, "the query has a space or a control character, which no request line of HTTP/1.1 can carry: want it percent-encoded")
	}
	x.hold()
	defer x.release()
	if x.call.Operation == policy.Stream {
		lasting := x // on the heap, as other requests' need not be
		lasting.held = false
		return lasting.serveStream(next)
	}

	found := credential.Scan(r, g.api, x.call.Route)
	verdict := x.judge(&found)
	if !verdict.ok && !verdict.pending {
		return x.refuse(verdict.reason, verdict.detail)
	}
	if found.NeedsForm() {
		var err error
		if verdict, err = x.judgeForm(&found, verdict.pending); err != nil {
			return x.refuseUnread(err)
		}
		if !verdict.ok {
			return x.refuse(verdict.reason, verdict.detail)
		}
	}
	watched := x.watch()
	x.admit(&watched.ruling)
	if x.call.Operation == policy.CreateJob {
		watched.reserved = x.store.ReserveWrite()
		defer watched.reserved.Release()
	}

	x.handOver(&watched.handover, &found)
	return watched.forward(&found, next)
}

// gatedRequest is one request on its way through the gate, up to the backend's answer. It
// is large, and is on the stack of ServeHTTP: no reference to it may outlive ServeHTTP,
// except for a stream.
type gatedRequest struct {
	gate    *Gate
	w       http.ResponseWriter
	r       *http.Request
	now     policy.Time // of the decision
	call    dialect.Call
	request policy.Request // without the job
	body    io.ReadCloser  // as the client sends it
	touched bool           // whether the body has been read from
	status  int            // of a refusal, in place of the dialect's; 0 for the dialect's
	shown   policy.Reason  // what a refusal shows to the client in place of its reason; Undecided for the reason

	held    bool             // whether the exchange holds the gate's store
	store   *keystore.Store  // nil until a key is looked up, and once it is released
	record  keystore.Record  // of the key; none while there is no key, and where it was found by its ID
	key     *policy.Key      // only where it was found by its ID, and has no record
	holder  handler.Identity // of either
	job     policy.Job       // that the request names
	hasJob  bool             // whether there is a record of it
	outcome policy.Decision
}

func (x *gatedRequest) begin(g *Gate, w http.ResponseWriter, r *http.Request) {
	x.gate, x.w, x.r, x.now, x.body = g, w, r, g.app.Now(), r.Body
	var account string
	x.call, account = g.Classify(g.api, r)
	x.request = policy.Request{
		Operation:   x.call.Operation,
		PathAccount: account,
		EarlyData:   handler.IsEarlyData(r),
		Client:      handler.ClientIP(r),
	}
}

// hold keeps the store open until release: a reload can close the store of the
// configuration that goes.
func (x *gatedRequest) hold() {
	x.gate.app.AcquireStore()
	x.held = true
}

// release lets go of the store, and of the records that are parts of its cache. Only
// the first call does anything.
func (x *gatedRequest) release() {
	if !x.held {
		return
	}
	x.held, x.store, x.record = false, nil, keystore.Record{}
	x.gate.app.ReleaseStore()
}

// Classify reads what the request asks for. The path is the one that the next
// handler gets. The account is the one that the path of an allowance names.
func (g *Gate) Classify(api *dialect.API, r *http.Request) (call dialect.Call, account string) {
	path := r.URL.EscapedPath()
	call = api.Classify(r.Method, path)
	if call.Operation == policy.Stream && asksWebSocket(r) {
		return call, ""
	}
	if call.Route == nil && len(g.AlsoAllow) > 0 {
		var ok bool
		if account, ok = g.allowance(api, r.Method, path); ok {
			call.Operation = policy.Info
		}
	}
	if r.URL.Opaque != "" || r.Method == http.MethodConnect || offersWebSocket(r) || call.Operation == policy.Stream {
		call.Operation = policy.Unlisted
	}
	return call, account
}

// verdict is what can be said of a request with what is known of it.
type verdict struct {
	ok      bool
	pending bool // there is no key yet, and the body may hold one
	reason  policy.Reason
	detail  string
}

// judge looks up the key that was found, and the job, and decides.
func (x *gatedRequest) judge(found *credential.Found) verdict {
	secret, fault := found.UncheckedKey()
	if fault != nil {
		pending := fault.Reason == policy.CredentialMissing && found.FormMayHoldKey()
		return verdict{pending: pending, reason: fault.Reason, detail: fault.Detail}
	}
	switch fault, err := x.lookUp(secret); {
	case fault != nil:
		return verdict{reason: fault.Reason, detail: fault.Detail}
	case err != nil:
		return verdict{reason: policy.StoreUnavailable, detail: err.Error()}
	}
	return x.decide()
}

// judgeForm reads the head of the form and judges again. The memory of a head counts
// against the budget until then, unless the request has shown a valid key already.
func (x *gatedRequest) judgeForm(found *credential.Found, pending bool) (verdict, error) {
	var budget credential.Budget
	if pending {
		budget = x.gate.app.HeadBudget()
	}
	defer found.ReleaseBudget()
	x.touched = true
	if err := found.ReadForm(x.w, x.r, x.gate.MaxHead, budget); err != nil {
		return verdict{}, err
	}
	x.now = x.gate.app.Now()
	verdict := x.judge(found)
	if lost := found.ReleaseBudget(); lost && verdict.ok {
		// The head is whole and its key good: the upload goes on.
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Time{})
	}
	if !verdict.ok {
		found.DiscardForm(x.r)
	}
	if verdict.reason == policy.LimitReached {
		x.shown = policy.StoreUnavailable // the limit is the gateway's, and not the key's
	}
	return verdict, nil
}

// decide rests on what has been looked up.
func (x *gatedRequest) decide() verdict {
	key := x.key
	if x.record.Found() {
		of := x.record.Key() // here alone, since it is large
		key = &of
	}
	request := x.request
	if x.hasJob {
		request.Job = &x.job
	}
	x.outcome = policy.Decide(x.now, key, &request, x.gate.rules)
	v := verdict{ok: x.outcome.Reason.OK(), reason: x.outcome.Reason}
	switch {
	case v.reason == policy.OperationUnlisted:
		v.detail = "the path names another account than the key's"
	case v.reason == policy.KeyUnknown:
		v.detail = policy.NotYet(x.now, key)
	case v.ok && request.Operation == policy.CreateJob:
		// A job that cannot be recorded is not created, and its audio not uploaded.
		if err := x.store.CheckRoom(); err != nil {
			v = verdict{reason: policy.StoreUnavailable, detail: err.Error()}
		}
	}
	return v
}

// open opens the store, which must be held.
func (x *gatedRequest) open() (err error) {
	x.store, err = x.gate.app.Store()
	return err
}

// lookUp gets the records that the decision needs. The fault is one of the secret, and
// the error one of the store.
func (x *gatedRequest) lookUp(secret policy.Secret) (*credential.Fault, error) {
	unopened := x.open()
	var cached keystore.Cached
	if unopened == nil {
		x.store.Cached(&cached, secret, x.gate.Backend, x.call.JobID)
	}
	ctx, record := x.r.Context(), cached.Key
	if !cached.KeyKnown {
		// Here alone, since what is cached has been checked.
		if err := policy.CheckSecret(secret); err != nil {
			return credential.MalformedKey(err), nil
		}
		if unopened != nil {
			return nil, unopened
		}
		var err error
		if record, err = x.store.FindKey(ctx, secret); err != nil && !errors.Is(err, keystore.ErrNotFound) {
			return nil, fmt.Errorf("looking up the key: %w", err)
		}
	}
	if x.call.Operation == policy.Stream {
		record = record.Clone()
	}
	x.setRecord(record)
	switch {
	case !record.Found() || x.call.JobID == "":
		return nil, nil
	case cached.KeyKnown && cached.JobKnown && cached.Job.AccountID == x.holder.AccountID: // of the same instant
		x.job, x.hasJob = cached.Job, true
		return nil, nil
	}
	return nil, x.lookUpJob(ctx)
}

// lookUpJob gets the record of the job, if there is one.
func (x *gatedRequest) lookUpJob(ctx context.Context) (err error) {
	if account := x.holder.AccountID; account != "" {
		x.job, err = x.store.FindJobFor(ctx, account, x.gate.Backend, x.call.JobID)
	} else {
		x.job, err = x.store.FindJob(ctx, x.gate.Backend, x.call.JobID)
	}
	x.hasJob = err == nil
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return fmt.Errorf("looking up the job: %w", err)
	}
	return nil
}

// setRecord makes the record's key, if there is one, that of the request.
func (x *gatedRequest) setRecord(record keystore.Record) {
	x.record, x.key = record, nil
	x.holder.KeyID, x.holder.AccountID = record.IDs()
}

func (x *gatedRequest) ruling(reason policy.Reason) *handler.DecisionRecord {
	return &handler.DecisionRecord{Counters: x.gate.counters, Operation: x.call.Operation, Reason: reason, Owner: x.holder, Client: x.request.Client}
}

// reads reports whether the gate has to read the backend's answer to the operation.
func (g *Gate) reads(op policy.Operation) bool {
	return g.upstream.Mode == credential.Replace || op == policy.CreateJob || op == policy.ReadJob
}

// admit notes that the request goes through, by a ruling of its own.
func (x *gatedRequest) admit(d *handler.DecisionRecord) {
	x.store.NoteUse(&x.record, x.now)
	x.admitted(d)
}

// admitted says so, to whom it may concern.
func (x *gatedRequest) admitted(d *handler.DecisionRecord, more ...zap.Field) {
	d.Report(x.r)
	if c := x.gate.logger.Check(zap.DebugLevel, "admitted"); c != nil {
		c.Write(append(d.LogFields(), more...)...)
	}
}

// refuse answers in the dialect's own form.
func (x *gatedRequest) refuse(reason policy.Reason, detail string, more ...zap.Field) error {
	d := x.ruling(reason)
	d.Report(x.r)
	level := zap.InfoLevel
	if reason == policy.StoreUnavailable {
		level = zap.ErrorLevel
	}
	if c := x.gate.logger.Check(level, "refused"); c != nil {
		c.Write(append(append(d.LogFields(), more...), zap.String("detail", detail))...)
	}
	dropUpgrade(x.r.Header) // for whatever stands around the gate
	if x.shown != policy.Undecided {
		reason = x.shown
	}
	answer := x.gate.api.Refusal(x.call, reason)
	if x.status != 0 {
		answer.Status = x.status
	}
	return x.answer(answer)
}

// prepare makes an admitted handshake fit to go upstream: later handlers log no
// credential of it.
func (x *gatedRequest) prepare() {
	credential.StripHeader(x.r, x.gate.reads(x.call.Operation))
	x.r.RequestURI = credential.MaskURI(x.r.RequestURI, x.gate.api.Places)
}

// masked hides the upstream key in an error of the next handler.
func (g *Gate) masked(err error) error {
	if g.redactor == nil {
		return err
	}
	return maskError(err, g.redactor)
}

// Interface guards
var _ caddyhttp.MiddlewareHandler = (*Gate)(nil)
