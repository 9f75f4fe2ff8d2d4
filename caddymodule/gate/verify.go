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

	callers policy.AddrSet
	gate    *Gate // one that judges, logs and counts polls by the same rules
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
	v.gate = &Gate{Dialect: v.Dialect, Backend: v.Backend, Grace: v.Grace, GraceAfterEnd: v.GraceAfterEnd}
	return v.gate.Provision(ctx)
}

// Validate checks what was configured.
func (v *Verify) Validate() error {
	if v.callers.Any() {
		return errors.New("callers: want the addresses of the backends that may ask, such as callers 10.0.0.5 10.1.0.0/16")
	}
	if err := v.gate.validateGrace(); err != nil {
		return err
	}
	v.gate.app.KeepJobs(v.gate.rules.Grace.Window)
	return nil
}

// ServeHTTP decides whether a job may go on.
func (v *Verify) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	caller := handler.ClientIP(r)
	x := &gatedRequest{gate: v.gate, w: w, r: r, now: v.gate.app.Now(), request: policy.Request{
		EarlyData: handler.IsEarlyData(r), Client: caller,
	}}
	if !v.callers.Contains(caller) {
		return x.refuse(policy.OperationUnlisted, "the address is none of the callers'")
	}
	r.Header.Del("Origin") // no page is a backend, and none may read what follows

	x.call.Route = verifyRoute
	if r.Method == http.MethodGet || r.Method == http.MethodPost {
		x.call.Operation = verifyRoute.Operation
	} else {
		w.Header().Set("Allow", "GET, POST")
	}
	x.request.Operation = x.call.Operation
	x.request.Client = netip.Addr{} // the job's, once that is found
	verdict := verdict{reason: policy.CheckRequest(&x.request)}
	if verdict.reason == policy.Undecided {
		x.hold()
		defer x.release()
		verdict = x.judgeJob()
	}

	asked := []zap.Field{zap.String("job_id", x.call.JobID), zap.Stringer("caller", caller)}
	handler.SetLiteral(w.Header(), "Speechgate-Reason", verdict.reason.String())
	if !verdict.ok {
		if x.gate.api.Refusal(x.call, verdict.reason).Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		return x.refuse(verdict.reason, verdict.detail, asked...)
	}
	x.admitted(x.ruling(verdict.reason), asked...)
	x.confirm()
	return nil
}

// judgeJob decides as on a poll of the job that is asked about.
func (x *gatedRequest) judgeJob() verdict {
	ids := x.r.Header.Values(jobHeader)
	if len(ids) != 1 || !dialect.ValidJobID(ids[0]) {
		return verdict{reason: policy.JobUnknown, detail: "want one " + jobHeader + " header that is a job's ID"}
	}
	x.call.JobID = ids[0]
	found := credential.Scan(x.r, &dialect.API{Places: verifyRoute.Keys}, verifyRoute)
	secret, fault := found.Key()
	if fault != nil && fault.Reason != policy.CredentialMissing {
		return verdict{reason: fault.Reason, detail: fault.Detail}
	}
	if err := x.lookUpJobAndKey(secret); err != nil {
		return verdict{reason: policy.StoreUnavailable, detail: err.Error()}
	}
	if !x.hasJob {
		// Nobody knows whose key and which address there are to judge.
		return verdict{reason: policy.JobUnknown}
	}
	return x.decide()
}

// lookUpJobAndKey gets the records of the job and of the key, which is the job's
// own unless there is a secret.
func (x *gatedRequest) lookUpJobAndKey(secret policy.Secret) error {
	if err := x.open(); err != nil {
		return err
	}
	// If the backend goes away, the lookup goes on: its end would look like an error of
	// the store.
	ctx := context.WithoutCancel(x.r.Context())
	if err := x.lookUpJob(ctx); err != nil || !x.hasJob {
		return err
	}
	x.request.Client = x.job.Client
	if err := x.lookUpKey(ctx, secret); err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return fmt.Errorf("looking up the key: %w", err)
	}
	return nil
}

func (x *gatedRequest) lookUpKey(ctx context.Context, secret policy.Secret) error {
	if secret.Empty() {
		key, err := x.store.Key(ctx, x.job.KeyID)
		if err == nil {
			x.key, x.holder = &key, handler.Identity{KeyID: key.ID, AccountID: key.AccountID}
		}
		return err
	}
	record, err := x.store.FindKey(ctx, secret)
	x.setRecord(record)
	return err
}

// confirm answers that the job may go on.
func (x *gatedRequest) confirm() {
	header := x.w.Header()
	handler.ForbidCaching(header)
	handler.SetLiteral(header, "Speechgate-Key-ID", x.holder.KeyID)
	handler.SetLiteral(header, "Speechgate-Account-ID", x.holder.AccountID)
	if x.outcome.Reason == policy.AllowedByGrace {
		handler.SetLiteral(header, "Speechgate-Grace-Until", x.outcome.GraceUntil.String())
	}
	x.w.WriteHeader(http.StatusNoContent)
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
