package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/configcheck"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func init() {
	caddy.RegisterModule(new(Verify))
	httpcaddyfile.RegisterHandlerDirective("speechgate_verify", parseVerify)
}

// Verify is the endpoint where a backend asks whether a job may go on, such as a job
// that it paused under congestion. It answers every request: no handler after it runs.
//
// The backend sends `GET` or `POST` with the ID of the job in `Speechgate-Job`. If it
// has the client's key, it sends the key as `Authorization: Bearer`. A backend behind a
// gate with an upstream key does not have the client's key: it sends no key, and the
// answer is about the key that created the job.
//
// The endpoint decides as the gate does on a poll of the job with this key, as if the poll
// came from the address of the client that created the job. An expired key has the same
// grace window. The address of the caller itself must be in `callers`, and does not matter
// otherwise.
//
// Status | Meaning
// -------|--------
// 204 | The job may go on. `Speechgate-Key-ID` and `Speechgate-Account-ID` are its key and its account. If the key is in its grace window, `Speechgate-Grace-Until` is the end of the window.
// 401 | The key may not be used: it has expired, it was revoked, …
// 404 | The job has no record or belongs to another account; or `Speechgate-Job` is missing, comes twice, or cannot be the ID of a job.
// 405 | The method is not `GET` or `POST`.
// 425 | The request came as TLS early data, which anybody can repeat.
// 503 | The keystore returned an error. Ask again after `Retry-After` seconds.
//
// Each answer has the reason in `Speechgate-Reason`. A refusal also has it in its body:
// `{"reason":"key_expired"}`. A client that is not in `callers` gets 404 and `{}`, like
// for every path that the API does not have.
//
// Decisions are logged, counted and put into placeholders like those of the gate. The
// operation is `read_job`, and `client_ip` is the address of the client that created the
// job.
//
// With `proxy`, another proxy asks whether the request of a client may pass, which this
// proxy then forwards itself. The answer is 204 (200 for Envoy), or the refusal of the API. The
// endpoint sees no body and no answer of the backend: a key in a form, and an operation that
// creates or lists jobs, are refused.
type Verify struct {
	// The API of the jobs or, with `proxy`, of the requests: `amivoice`, `assemblyai`,
	// `deepgram`, `openai` or `speechmatics`. The APIs `deepgram` and `openai` have no jobs.
	// Required.
	Dialect string `json:"dialect,omitempty"`

	// The addresses that may ask: single addresses, CIDR blocks, and ranges such as
	// `10.0.0.5-10.0.0.9`. The address of a request is the one that Caddy finds, by its
	// `trusted_proxies`; with `proxy` it is the address of the connection. Required.
	Callers []string `json:"callers,omitempty"`

	// The proxy that asks whether the request of a client may pass: `nginx` (auth_request),
	// `traefik` (ForwardAuth), `envoy` (ext_authz over HTTP) or `caddy` (forward_auth). The
	// endpoint then reads the header fields in which this proxy names the method, the URI and
	// the client of the request, and ignores `Speechgate-Job`. Default: a backend asks about a
	// job.
	Proxy string `json:"proxy,omitempty"`

	// The backend name: the value of `backend` in the gate through which the jobs were
	// created. Default: the name of the dialect.
	Backend string `json:"backend,omitempty"`

	// The grace window. For this time after its creation, a job may go on even if the key
	// that created it has expired. 0 is no grace. Default: `24h`.
	Grace *caddy.Duration `json:"grace,omitempty"`

	// How long the grace lasts after the gate has seen the end of the job. It never
	// lasts longer than the grace window, so the value is less than `grace`. 0 is no such
	// limit. Default: `0`.
	GraceAfterEnd caddy.Duration `json:"grace_after_end,omitempty"`

	decider

	callers   policy.AddrSet
	api       *dialect.API
	proxy     *askingProxy // nil: a backend asks about a job
	asProxied *dialect.API // what a proxy can ask about
}

const jobHeader = "Speechgate-Job"

// verifyRoute describes the endpoint in the form in which a dialect describes an operation.
var verifyRoute = &dialect.Route{
	Operation: policy.ReadJob,
	Keys:      []dialect.Place{{Location: dialect.Header, Name: "Authorization", Scheme: "Bearer"}},
	Refusals:  verifyRefusals(),
}

// verifyRefusals returns the answers to refused requests. They tell the reason, because callers
// are trusted.
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

// Provision resolves defaults, and gets the app.
func (v *Verify) Provision(ctx caddy.Context) error {
	var err error
	if v.callers, err = policy.ParseAddrSet(strings.Join(v.Callers, " ")); err != nil {
		return fmt.Errorf("callers: %w", err)
	}
	for _, warning := range v.callers.Warnings() {
		ctx.Logger().Warn("callers: " + warning)
	}
	// The defaults are those of a gate.
	settings := &Gate{Dialect: v.Dialect, Backend: v.Backend, Grace: v.Grace, GraceAfterEnd: v.GraceAfterEnd}
	if v.api, err = settings.dialectAPI(); err != nil {
		return err
	}
	v.proxy, v.asProxied = askingProxyByName(v.Proxy), withoutBodies(v.api)
	shared, err := app.Of(ctx)
	if err != nil {
		return err
	}
	v.decider = newDecider(shared, v.api, settings.BackendName(), settings.PolicyRules(), ctx.Logger())
	return nil
}

// Validate checks the configuration.
func (v *Verify) Validate() error {
	if v.Proxy != "" && v.proxy == nil {
		return fmt.Errorf("proxy %q: want %s", v.Proxy, words.Alternatives(askingProxyNames()))
	}
	if v.callers.Any() {
		return errors.New("callers: want the addresses of the backends that may ask, such as callers 10.0.0.5 10.1.0.0/16")
	}
	if err := validateGrace(v.rules.Grace); err != nil {
		return err
	}
	if err := validateBackend(v.backend); err != nil {
		return err
	}
	v.app.KeepJobs(v.backend, v.rules.Grace)
	if v.proxy != nil {
		v.app.AddProxyEndpoint()
	}
	return nil
}

// jobQuery is the question of a backend whether a job may go on.
type jobQuery struct {
	caller netip.Addr
	call   dialect.Call
	jobID  string // empty if the request has no valid job ID
}

// ServeHTTP decides whether a job may go on.
func (v *Verify) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	begun := time.Now()
	if v.proxy != nil {
		return v.serveProxy(w, r, begun)
	}
	q := jobQuery{caller: handler.ClientIP(r)}
	if !v.callers.Contains(q.caller) {
		return v.refuseStranger(w, r, q.caller)
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

	record := &handler.DecisionRecord{
		Counters: v.counters, Operation: q.call.Operation, Reason: d.Reason, Owner: f.owner, Client: f.job.Client, Begun: begun,
		At: v.app.Now(), Store: f.usageStore(v.app),
	}
	asked := []zap.Field{zap.String("job_id", q.jobID), zap.Stringer("caller", q.caller)}
	if !d.Reason.OK() {
		handler.SetLiteral(w.Header(), "Speechgate-Reason", d.Reason.String())
		if v.api.Refusal(q.call, d.Reason).Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		f.releaseStore()
		return v.refuse(w, r, &q, record, d.detail, asked...)
	}
	f.noteGrace(record, &d)
	v.reportAdmitted(r, record, asked...)
	v.confirm(w, &f, &d)
	return nil
}

// refuseStranger answers a client that is not one of the callers, like a path that the API does not
// have.
func (v *Verify) refuseStranger(w http.ResponseWriter, r *http.Request, caller netip.Addr) error {
	record := &handler.DecisionRecord{
		Counters: v.counters, Operation: policy.Unlisted, Reason: policy.OperationUnlisted, Client: caller,
		At: v.app.Now(), Store: v.app.OpenStore(),
	}
	return v.refuse(w, r, &jobQuery{caller: caller}, record, "the address does not belong to the callers")
}

// decideQuery decides on a query as the gate decides on a poll of the job with the same key.
func (v *Verify) decideQuery(r *http.Request, q *jobQuery, f *facts) decision {
	asked := policy.Request{Operation: q.call.Operation, EarlyData: handler.IsEarlyData(r)}
	if reason := policy.CheckRequest(&asked); reason != policy.Undecided {
		return decision{Decision: policy.Decision{Reason: reason}}
	}
	if q.jobID == "" {
		return decision{Decision: policy.Decision{Reason: policy.JobUnknown}, detail: noJobID(r)}
	}
	found := credential.Scan(r, &dialect.API{Places: verifyRoute.Keys}, verifyRoute)
	secret, fault := found.Key()
	if fault != nil && fault.Reason != policy.CredentialMissing {
		return badKey(fault)
	}
	if err := v.lookUpJobAndKey(r.Context(), secret, q.jobID, f); err != nil {
		return unavailable(err)
	}
	if !f.hasJob {
		// Without the job, there is no key and no client address to decide by.
		return decision{Decision: policy.Decision{Reason: policy.JobUnknown}}
	}
	asked.Client = f.job.Client
	return v.decide(v.app.Now(), f, &asked)
}

// noJobID says what is wrong with a question that names no job.
func noJobID(r *http.Request) string {
	detail := "want one " + jobHeader + " header that is a job's ID"
	for i := range askingProxies {
		if p := &askingProxies[i]; p.uri != "" && len(r.Header[p.uri]) > 0 {
			return detail + "; if a proxy asks about requests of its clients, write the option proxy, such as proxy " + p.name
		}
	}
	return detail
}

// lookUpJobAndKey finds the records of the job and of the key, and sets them in f. If the secret
// is empty, the key is the one that created the job. A record that does not exist is not an error.
func (v *Verify) lookUpJobAndKey(ctx context.Context, secret policy.Secret, jobID string, f *facts) error {
	if err := f.openStore(v.app); err != nil { //nolint:contextcheck // the store stays open after the request
		return err
	}
	ctx = context.WithoutCancel(ctx) // a backend that goes away must not look like an error of the store
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
			f.key, f.owner = &key, policy.Identity{KeyID: key.ID, AccountID: key.AccountID}
		}
		return err
	}
	record, err := f.store.FindKey(ctx, secret)
	f.setRecord(record)
	return err
}

// refuse reports a refusal, and answers with the reason. A client that is not one of the
// callers gets an answer without a reason.
func (v *Verify) refuse(w http.ResponseWriter, r *http.Request, q *jobQuery, record *handler.DecisionRecord, detail string, more ...zap.Field) error {
	v.reportRefused(r, record, detail, more...)
	dropUpgrade(r.Header)
	answer := v.api.Refusal(q.call, record.Reason).Fill(func() dialect.Facts { return factsAt(v.maskedPath(r)) })
	writeAnswerHeader(w, r, answer, nil, v.api.SessionHeader)
	own := handler.OwnAnswer{Status: answer.Status, Body: answer.Body}
	own.Send(w, r, v.app.Drainer(), v.logger)
	return nil // if the answer cannot be sent, the caller has gone
}

// confirm answers that the job may go on, or that the request of a proxy's client may pass.
func (v *Verify) confirm(w http.ResponseWriter, f *facts, d *decision) {
	header := w.Header()
	handler.ForbidCaching(header)
	handler.SetLiteral(header, "Speechgate-Reason", d.Reason.String())
	handler.SetLiteral(header, "Speechgate-Key-ID", f.owner.KeyID)
	handler.SetLiteral(header, "Speechgate-Account-ID", f.owner.AccountID)
	if d.Reason == policy.AllowedByGrace {
		handler.SetLiteral(header, "Speechgate-Grace-Until", d.GraceUntil.String())
	}
	status := http.StatusNoContent
	if v.proxy != nil {
		status = v.proxy.allowed
	}
	w.WriteHeader(status)
}

// RulesByAddress marks a handler whose decisions depend on the address of the client. The app
// looks for this method.
func (*Verify) RulesByAddress() {}

// Directive returns the name of the directive.
func (*Verify) Directive() string { return "speechgate_verify" }

// OnlyPath returns no path: the endpoint answers every request that reaches it.
func (*Verify) OnlyPath() string { return "" }

// JobsOf returns the backend name of the jobs that the endpoint is asked about, or "" if a proxy
// asks about requests.
func (v *Verify) JobsOf() string {
	if v.proxy != nil {
		return ""
	}
	return v.backend
}

// AnswersProxies reports whether other proxies ask about requests of their clients.
func (v *Verify) AnswersProxies() bool { return v.proxy != nil }

// Interface guards
var (
	_ configcheck.JobEndpoint     = (*Verify)(nil)
	_ configcheck.ProxyEndpoint   = (*Verify)(nil)
	_ caddy.Provisioner           = (*Verify)(nil)
	_ caddy.Validator             = (*Verify)(nil)
	_ caddyhttp.MiddlewareHandler = (*Verify)(nil)
	_ caddyfile.Unmarshaler       = (*Verify)(nil)
)
