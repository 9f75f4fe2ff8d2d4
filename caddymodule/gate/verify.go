package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Verify))
	httpcaddyfile.RegisterHandlerDirective("speechgate_verify", parseVerify)
}

// Verify is where a backend asks whether one of its jobs may go on, such as one
// that it paused under congestion and starts again. It is the end of the chain:
// no handler after it runs.
//
// The backend sends `GET` or `POST` with the job's ID as `Speechgate-Job` and,
// where it holds the client's key, that key as `Authorization: Bearer`. A
// backend behind a gate that swaps keys holds only the gate's, sends none, and
// asks about the key that created the job.
//
// The answer is that to a poll of the job with that key, from the address that
// created the job; an expired key has the same grace. Where the asker itself
// sits does not matter to it, but it has to be one of the callers: to others
// there is nothing here.
//
// Status | Meaning
// -------|--------
// 204 | It may go on. `Speechgate-Key-ID` and `Speechgate-Account-ID` name whose the job is and `Speechgate-Grace-Until`, if it is by grace, how long that lasts.
// 401 | The key may not be used: it has expired, was revoked, …
// 404 | There is no record of the job, or it is another account's. The same where `Speechgate-Job` is missing, comes twice, or can be no job's ID.
// 405 | The method is neither `GET` nor `POST`.
// 425 | The request came as TLS early data, which anybody can repeat.
// 503 | The keystore is at fault. Ask again after `Retry-After` seconds.
//
// Each has the reason as `Speechgate-Reason`, and refusals also as
// `{"reason":"key_expired"}`. Those who are no callers get 404 and `{}`, as for
// any path that the API does not have.
//
// Decisions are logged, counted and put into placeholders as the gate's are; the
// operation is `read_job`, and `client_ip` is the address that was judged.
type Verify struct {
	// The API that the job was created through: `amivoice`. Required.
	Dialect string `json:"dialect,omitempty"`

	// Who may ask: addresses, CIDR blocks and ranges such as
	// `10.0.0.5-10.0.0.9`. An asker's address is the one that Caddy finds, by
	// its `trusted_proxies`. Required.
	Callers []string `json:"callers,omitempty"`

	// The namespace of job IDs, as on the gate that the jobs came through.
	// Default: the dialect's name.
	Backend string `json:"backend,omitempty"`

	// How long after a job's creation it may go on with the expired key that
	// created it; 0 for not at all. Default: `24h`.
	Grace *caddy.Duration `json:"grace,omitempty"`

	// How long after the gate has seen a job end that grace goes on, where this
	// is earlier; 0 for no such limit. Default: `0`.
	GraceAfterEnd caddy.Duration `json:"grace_after_end,omitempty"`

	decider

	callers policy.AddrSet
	api     *dialect.API
}

const jobHeader = "Speechgate-Job"

// verifyRoute is the endpoint, as a dialect describes an operation.
var verifyRoute = &dialect.Route{
	Operation: policy.ReadJob,
	Keys:      []dialect.Place{{Location: dialect.Header, Name: "Authorization", Scheme: "Bearer"}},
	Refusals:  verifyRefusals(),
}

// verifyRefusals tell the reason, since callers are trusted.
func verifyRefusals() *dialect.Refusals {
	refusals := &dialect.Refusals{By: make(map[policy.Reason]dialect.Answer)}
	for _, reason := range policy.Reasons() {
		answer := dialect.Answer{Status: http.StatusUnauthorized, Body: fmt.Sprintf(`{"reason":%q}`, reason)}
		switch reason {
		case policy.JobUnknown, policy.JobForeign:
			answer.Status = http.StatusNotFound
		case policy.OperationUnlisted:
			answer.Status = http.StatusMethodNotAllowed
		case policy.EarlyData:
			answer.Status = http.StatusTooEarly
		case policy.RequestMalformed:
			answer.Status = http.StatusBadRequest
		case policy.LimitReached:
			answer.Status, answer.RetryAfter = http.StatusTooManyRequests, 5
		case policy.StoreUnavailable:
			answer.Status, answer.RetryAfter = http.StatusServiceUnavailable, 5
		}
		refusals.By[reason] = answer
	}
	return refusals
}

// CaddyModule returns the Caddy module information.
func (*Verify) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.speechgate_verify",
		New: func() caddy.Module { return new(Verify) },
	}
}

// Provision resolves the configuration.
func (v *Verify) Provision(ctx caddy.Context) error {
	var err error
	if v.callers, err = policy.ParseAddrSet(strings.Join(v.Callers, " ")); err != nil {
		return fmt.Errorf("callers: %w", err)
	}
	for _, warning := range v.callers.Warnings() {
		ctx.Logger().Warn("callers: " + warning)
	}
	// The defaults and the checks are those of a gate.
	settings := &Gate{Dialect: v.Dialect, Backend: v.Backend, Grace: v.Grace, GraceAfterEnd: v.GraceAfterEnd}
	if v.api, err = settings.dialectAPI(); err != nil {
		return err
	}
	shared, err := app.Of(ctx)
	if err != nil {
		return err
	}
	v.decider = newDecider(shared, settings.BackendName(), settings.PolicyRules(), ctx.Logger())
	return nil
}

// Validate checks what was configured.
func (v *Verify) Validate() error {
	if v.callers.Any() {
		return errors.New("callers: want the addresses of the backends that may ask, such as callers 10.0.0.5 10.1.0.0/16")
	}
	if err := validateGrace(v.rules.Grace); err != nil {
		return err
	}
	v.app.KeepJobs(v.rules.Grace.Window)
	return nil
}

// jobQuery is the question of a backend whether a job may go on. It does not change.
type jobQuery struct {
	caller netip.Addr
	call   dialect.Call
	jobID  string // empty if the request names no job, or none that can exist
}

// ServeHTTP decides whether a job may go on.
func (v *Verify) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	q := jobQuery{caller: handler.ClientIP(r)}
	if !v.callers.Contains(q.caller) {
		return v.refuse(w, r, &q, &handler.DecisionRecord{
			Counters: v.counters, Operation: policy.Unlisted, Reason: policy.OperationUnlisted, Client: q.caller,
		}, "the address is none of the callers'")
	}
	r.Header.Del("Origin") // a backend is not a page, and no page may read the answer
	q.call.Route = verifyRoute
	if r.Method == http.MethodGet || r.Method == http.MethodPost {
		q.call.Operation = verifyRoute.Operation
	} else {
		w.Header().Set("Allow", "GET, POST")
	}
	if ids := r.Header.Values(jobHeader); len(ids) == 1 && dialect.ValidJobID(ids[0]) {
		q.jobID = ids[0]
	}
	var f facts
	f.acquireStore(v.app)
	defer f.releaseStore()
	d := v.decideQuery(r, &q, &f)

	record := &handler.DecisionRecord{Counters: v.counters, Operation: q.call.Operation, Reason: d.Reason, Owner: f.owner, Client: f.job.Client}
	asked := []zap.Field{zap.String("job_id", q.jobID), zap.Stringer("caller", q.caller)}
	handler.SetLiteral(w.Header(), "Speechgate-Reason", d.Reason.String())
	if !d.Reason.OK() {
		if v.api.Refusal(q.call, d.Reason).Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		f.releaseStore()
		return v.refuse(w, r, &q, record, d.detail, asked...)
	}
	v.reportAdmitted(r, record, asked...)
	confirm(w, &f, &d)
	return nil
}

// decideQuery decides as the gate decides on a poll of the job with the same key.
func (v *Verify) decideQuery(r *http.Request, q *jobQuery, f *facts) decision {
	asked := policy.Request{Operation: q.call.Operation, EarlyData: handler.IsEarlyData(r)}
	if reason := policy.CheckRequest(&asked); reason != policy.Undecided {
		return decision{Decision: policy.Decision{Reason: reason}}
	}
	if q.jobID == "" {
		return decision{Decision: policy.Decision{Reason: policy.JobUnknown}, detail: "want one " + jobHeader + " header that is a job's ID"}
	}
	found := credential.Scan(r, &dialect.API{Places: verifyRoute.Keys}, verifyRoute)
	secret, fault := found.Key()
	if fault != nil && fault.Reason != policy.CredentialMissing {
		return faulty(fault)
	}
	if err := v.lookUpJobAndKey(r.Context(), secret, q.jobID, f); err != nil {
		return unavailable(err)
	}
	if !f.hasJob {
		// No key and no address are known that could be judged.
		return decision{Decision: policy.Decision{Reason: policy.JobUnknown}}
	}
	asked.Client = f.job.Client
	return v.decide(v.app.Now(), f, &asked)
}

// lookUpJobAndKey finds the records of the job and of the key. Without a secret, the key
// is the one that created the job.
func (v *Verify) lookUpJobAndKey(ctx context.Context, secret policy.Secret, jobID string, f *facts) error {
	if err := f.openStore(v.app); err != nil { //nolint:contextcheck // what it opens outlives the request
		return err
	}
	ctx = context.WithoutCancel(ctx) // a backend that goes away must not look like a fault of the store
	if err := v.lookUpJob(ctx, jobID, f); err != nil || !f.hasJob {
		return err
	}
	if err := f.lookUpKeyOfJob(ctx, secret); err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return fmt.Errorf("looking up the key: %w", err)
	}
	return nil
}

func (f *facts) lookUpKeyOfJob(ctx context.Context, secret policy.Secret) error {
	if secret.Empty() {
		key, err := f.store.Key(ctx, f.job.KeyID)
		if err == nil {
			f.key, f.owner = &key, handler.Identity{KeyID: key.ID, AccountID: key.AccountID}
		}
		return err
	}
	record, err := f.store.FindKey(ctx, secret)
	f.setRecord(record)
	return err
}

// refuse answers with the reason, except to a caller that may not ask.
func (v *Verify) refuse(w http.ResponseWriter, r *http.Request, q *jobQuery, record *handler.DecisionRecord, detail string, more ...zap.Field) error {
	v.reportRefused(r, record, detail, more...)
	dropUpgrade(r.Header)
	answer := v.api.Refusal(q.call, record.Reason)
	writeAnswerHeader(w, r, answer, nil, v.api.SessionHeader)
	own := handler.OwnAnswer{Status: answer.Status, Body: answer.Body}
	own.Send(w, r, v.app.Drainer(), v.logger)
	return nil // if the answer cannot be sent, the caller has gone
}

// confirm answers that the job may go on.
func confirm(w http.ResponseWriter, f *facts, d *decision) {
	header := w.Header()
	handler.ForbidCaching(header)
	handler.SetLiteral(header, "Speechgate-Key-ID", f.owner.KeyID)
	handler.SetLiteral(header, "Speechgate-Account-ID", f.owner.AccountID)
	if d.Reason == policy.AllowedByGrace {
		handler.SetLiteral(header, "Speechgate-Grace-Until", d.GraceUntil.String())
	}
	w.WriteHeader(http.StatusNoContent)
}

func parseVerify(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	v := new(Verify)
	return v, v.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the endpoint.
//
// Syntax:
//
//	speechgate_verify [<matcher>] <dialect> {
//	    callers         <addresses...>
//	    backend         <name>
//	    grace           <duration>
//	    grace_after_end <duration>|off
//	}
func (v *Verify) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if err := options.Text(&v.Dialect)(d); err != nil {
		return d.Errf("want the dialect after speechgate_verify, and nothing else: speechgate_verify amivoice")
	}
	return options.ParseBlock(d, map[string]options.Option{
		"callers":         v.unmarshalCallers,
		"backend":         options.Text(&v.Backend),
		"grace":           options.Duration(func(g caddy.Duration) { v.Grace = &g }),
		"grace_after_end": options.DurationOrOff(func(g caddy.Duration) { v.GraceAfterEnd = g }),
	})
}

func (v *Verify) unmarshalCallers(d *caddyfile.Dispenser) error {
	v.Callers = d.RemainingArgs()
	return nil
}

// RulesByAddress marks a handler whose decisions depend on the client's address.
func (*Verify) RulesByAddress() {}

// Interface guards
var (
	_ caddy.Provisioner           = (*Verify)(nil)
	_ caddy.Validator             = (*Verify)(nil)
	_ caddyhttp.MiddlewareHandler = (*Verify)(nil)
	_ caddyfile.Unmarshaler       = (*Verify)(nil)
)
