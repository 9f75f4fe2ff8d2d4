package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/limits"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// decider looks up records and decides on requests for one backend name, and it reports the
// decisions. The gate, its live streams and the verify endpoint use it.
type decider struct {
	app      *app.App
	backend  string          // backend name
	places   []dialect.Place // every place where a client may put its key
	rules    policy.Rules
	counters *handler.DecisionCounters
	logger   *zap.Logger
}

func newDecider(a *app.App, api *dialect.API, backend string, rules policy.Rules, logger *zap.Logger) decider {
	return decider{app: a, backend: backend, places: api.Places, rules: rules, counters: a.CountersOf(backend), logger: logger}
}

// facts are the records that a decision depends on. A record can point into the cache of the
// store, so the store must be acquired while facts are used.
type facts struct {
	acquired *app.App // the app whose store releaseStore releases; nil if no store is acquired
	store    *keystore.Store
	record   keystore.Record // of the key; empty if the key is unknown
	key      *policy.Key     // in place of record, if the key was found by its ID
	owner    policy.Identity // of the key; empty if the key is unknown
	token    policy.Token    // the token that the client has shown, if hasToken; record is its owner
	hasToken bool
	job      policy.Job // the job that the request names, if hasJob
	hasJob   bool
	limits   limits.Subject // the key, with its limits, if record is limited
	shared   limits.Subject // the account, likewise
}

// acquireStore keeps the store open until releaseStore is called. Without it, a reload can
// close the store.
func (f *facts) acquireStore(a *app.App) {
	a.AcquireStore()
	f.acquired = a
}

// releaseStore releases the store, and drops the key's record, which can point into the cache of
// the store. Later calls do nothing.
func (f *facts) releaseStore() {
	if f.acquired == nil {
		return
	}
	a := f.acquired
	f.acquired, f.store, f.record = nil, nil, keystore.Record{}
	a.ReleaseStore()
}

// openStore sets f.store. It opens the store if it is not open. The caller must have acquired
// the store.
func (f *facts) openStore(a *app.App) (err error) {
	f.store, err = a.Store()
	return err
}

// usageStore returns the store that counts the usage of the request; nil if no store is open.
func (f *facts) usageStore(a *app.App) *keystore.Store {
	if f.store != nil {
		return f.store
	}
	return a.OpenStore()
}

func (f *facts) setRecord(record keystore.Record) {
	f.record, f.key = record, nil
	f.owner.KeyID, f.owner.AccountID = record.IDs()
}

// noteGrace notes in the record of an admitted request which job its expired key may read.
func (f *facts) noteGrace(record *handler.DecisionRecord, d *decision) {
	if d.Reason == policy.AllowedByGrace {
		record.JobID, record.GraceUntil = f.job.ID, d.GraceUntil
	}
}

// decision is the decision on one request, with what the log and the client are told about it.
type decision struct {
	policy.Decision

	at        policy.Time
	detail    string            // for the log
	needsBody bool              // no key has been found yet, and the body may have one
	shownAs   policy.Reason     // the reason for which the client gets its answer; Undecided: it is Reason
	status    int               // of the answer; 0: the status of the dialect
	body      handler.BodyState // how much of the body has been read
	retryIn   int               // when the request may succeed, in seconds; 0: not known
}

// badKey returns the refusal of a request that has no key, or a key that cannot be looked up.
func badKey(fault *credential.Fault) decision {
	return decision{Decision: policy.Decision{Reason: fault.Reason}, detail: fault.Detail}
}

// unavailable returns the refusal of a request because of an error of the store.
func unavailable(err error) decision {
	return decision{Decision: policy.Decision{Reason: policy.StoreUnavailable}, detail: err.Error()}
}

// decideByKey decides on the request asked, with the key in found, at the instant at. It sets the
// records that it has looked up in f.
func (d *decider) decideByKey(ctx context.Context, found *credential.Found, jobID string, at policy.Time, asked *policy.Request, f *facts) decision {
	secret, fault := found.UncheckedKey()
	if fault != nil {
		return badKey(fault)
	}
	keys, tokens := found.Takes()
	switch fault, err := d.lookUp(ctx, shown{secret, keys, tokens}, jobID, f); {
	case fault != nil:
		return badKey(fault)
	case err != nil:
		return unavailable(err)
	}
	outcome := d.decide(at, f, asked)
	if outcome.Reason == policy.KeyUnknown && !keys {
		outcome.detail = unknownToken
	}
	return outcome
}

// unknownToken is the detail of a credential in a place that takes no keys. A key of the gateway is
// unknown there too.
const unknownToken = "an unknown token, or a key: the place takes tokens only"

// shown is the credential that a client has shown, and what it can be in its place.
type shown struct {
	secret       policy.Secret
	keys, tokens bool
}

// lookUp finds the record of the key and, if jobID is not empty, the record of the job. If the
// credential is a token, the key is the token's owner. lookUp sets the records in f. A record that
// does not exist is not an error. The fault says what is wrong with the text of the credential. The
// error is an error of the store.
func (d *decider) lookUp(ctx context.Context, s shown, jobID string, f *facts) (*credential.Fault, error) {
	openErr := f.openStore(d.app) //nolint:contextcheck // the store stays open after the request
	var cached keystore.Cached
	if openErr == nil && s.keys {
		f.store.Cached(&cached, s.secret, d.backend, jobID)
	}
	record := cached.Key
	if known := cached.KeyKnown && (record.Found() || !s.tokens); !known {
		// A secret in the cache has passed this check before. What is no key can be a token.
		if fault := s.check(); fault != nil {
			return fault, nil
		}
		if openErr != nil {
			return nil, openErr
		}
		var err error
		if record, err = d.find(ctx, s, f); err != nil {
			return nil, err
		}
	}
	f.setRecord(record)
	switch {
	case !record.Found() || jobID == "":
		return nil, nil
	case cached.KeyKnown && cached.JobKnown && cached.Job.AccountID == f.owner.AccountID: // both records are from the same instant
		f.job, f.hasJob = cached.Job, true
		return nil, nil
	}
	return nil, d.lookUpJob(ctx, jobID, f)
}

// check says what is wrong with the text of the credential.
func (s *shown) check() *credential.Fault {
	check := policy.CheckSecret
	if s.tokens {
		check = policy.CheckToken
	}
	if err := check(s.secret); err != nil {
		return credential.MalformedKey(err)
	}
	return nil
}

// find finds the record of a key, or of the owner of a token, in the store.
func (d *decider) find(ctx context.Context, s shown, f *facts) (record keystore.Record, err error) {
	if s.keys && policy.CheckSecret(s.secret) == nil {
		if record, err = f.store.FindKey(ctx, s.secret); err != nil && !errors.Is(err, keystore.ErrNotFound) {
			return record, fmt.Errorf("looking up the key: %w", err)
		}
	}
	if !s.tokens || record.Found() {
		return record, nil
	}
	switch token, owner, err := f.store.FindToken(ctx, d.backend, s.secret); {
	case err == nil:
		f.token, f.hasToken = token, true
		return owner, nil
	case !errors.Is(err, keystore.ErrNotFound):
		return record, fmt.Errorf("looking up the token: %w", err)
	}
	return record, nil
}

// lookUpJob finds the record of a job, even if the job belongs to another account. If the account
// of the client is known, this takes as long for a job of another account as for a job without a
// record, so that the time tells the client nothing.
func (d *decider) lookUpJob(ctx context.Context, jobID string, f *facts) (err error) {
	if account := f.owner.AccountID; account != "" {
		f.job, err = f.store.FindJobFor(ctx, account, d.backend, jobID)
	} else {
		f.job, err = f.store.FindJob(ctx, d.backend, jobID)
	}
	f.hasJob = err == nil
	if err != nil && !errors.Is(err, keystore.ErrNotFound) {
		return fmt.Errorf("looking up the job: %w", err)
	}
	return nil
}

// decide decides on the request asked at the instant at, by the key and the job in f. It refuses
// to create a job, or to mint a token, if the keystore has no room for its record.
func (d *decider) decide(at policy.Time, f *facts, asked *policy.Request) decision {
	key := f.key
	if f.record.Found() {
		unpacked := f.record.Key()
		key = &unpacked
		if f.record.Limited() {
			f.limits = limits.Subject{ID: key.ID, Limits: key.Limits}
			f.shared = limits.Subject{ID: key.AccountID, Limits: key.AccountLimits}
		}
	}
	request := *asked
	if f.hasToken {
		request.Token = &f.token
	}
	if f.hasJob {
		request.Job = &f.job
	}
	outcome := decision{Decision: policy.Decide(at, key, &request, d.rules), at: at}
	switch {
	case outcome.Reason == policy.OperationUnlisted:
		outcome.detail = "the path names another account than the key's"
	case outcome.Reason == policy.KeyUnknown:
		outcome.detail = policy.NotYet(at, key)
	case outcome.Limit != policy.NoLimit:
		outcome.detail = policy.Exceeded(&f.limits.Limits, &f.shared.Limits, outcome.Limit, outcome.ByAccount)
	case outcome.Reason.OK() && recordsAnswer(request.Operation):
		// If the job or the token cannot be recorded, the backend must not create it.
		check := f.store.CheckRoom
		if request.Operation == policy.CreateJob {
			check = f.store.CheckJobRoom
		}
		if err := check(); err != nil {
			return unavailable(err)
		}
	}
	return outcome
}

// reportAdmitted counts and logs an admitted request, and sets its placeholders.
func (d *decider) reportAdmitted(r *http.Request, record *handler.DecisionRecord, more ...zap.Field) {
	record.Report(r)
	if c := d.logger.Check(zap.DebugLevel, "admitted"); c != nil {
		c.Write(append(record.LogFields(), more...)...)
	}
}

// reportRefused counts and logs a refused request, and sets its placeholders. For a request that
// the API does not list, the log entry also has the method and the path, with keys masked.
func (d *decider) reportRefused(r *http.Request, record *handler.DecisionRecord, detail string, more ...zap.Field) {
	record.Report(r)
	level := zap.InfoLevel
	if record.Reason == policy.StoreUnavailable {
		level = zap.ErrorLevel
	}
	if c := d.logger.Check(level, "refused"); c != nil {
		if record.Reason == policy.OperationUnlisted {
			more = append(more, zap.String("method", credential.MaskMethod(r.Method)), zap.String("path", d.maskedPath(r)))
		}
		c.Write(append(append(record.LogFields(), more...), zap.String("detail", detail))...)
	}
}

// maskedPath returns the path of a request, with every credential masked.
func (d *decider) maskedPath(r *http.Request) string {
	return app.MaskedUpstreamKeys().Mask(credential.MaskPath(r.URL.EscapedPath(), d.places))
}
