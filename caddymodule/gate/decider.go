package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/handler"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// decider decides on requests for one backend name, and reports its decisions. A gate,
// its live streams and the verify endpoint decide with it.
type decider struct {
	app      *app.App
	backend  string // backend name
	rules    policy.Rules
	counters *handler.DecisionCounters
	logger   *zap.Logger
}

func newDecider(a *app.App, backend string, rules policy.Rules, logger *zap.Logger) decider {
	return decider{app: a, backend: backend, rules: rules, counters: a.CountersOf(backend), logger: logger}
}

// facts are the records that a decision depends on. A record can be a part of the
// store's cache, so the store stays open as long as facts are used.
type facts struct {
	lease  *app.App // whose store is acquired; nil if none is
	store  *keystore.Store
	record keystore.Record  // of the key; empty if there is none
	key    *policy.Key      // in place of record, if the key was found by its ID
	owner  handler.Identity // of the key; empty if there is none
	job    policy.Job       // that the request names
	hasJob bool
}

// acquireStore keeps the store open until releaseStore is called. A reload can close the
// store of the configuration that goes.
func (f *facts) acquireStore(a *app.App) {
	a.AcquireStore()
	f.lease = a
}

// releaseStore drops the records and releases the store. Only the first call does
// anything.
func (f *facts) releaseStore() {
	if f.lease == nil {
		return
	}
	lease := f.lease
	f.lease, f.store, f.record = nil, nil, keystore.Record{}
	lease.ReleaseStore()
}

// openStore sets the store, which must be acquired.
func (f *facts) openStore(a *app.App) (err error) {
	f.store, err = a.Store()
	return err
}

func (f *facts) setRecord(record keystore.Record) {
	f.record, f.key = record, nil
	f.owner.KeyID, f.owner.AccountID = record.IDs()
}

// decision is the outcome for one request, and how it is told.
type decision struct {
	policy.Decision

	at        policy.Time
	detail    string            // for the operator's log
	needsBody bool              // there is no key yet, and the body may have one
	shownAs   policy.Reason     // what the client is told in place of Reason; Undecided for Reason
	status    int               // of the answer, in place of the dialect's; 0 for the dialect's
	body      handler.BodyState // how far the body has been read
}

// faulty is the decision on a request whose key cannot be judged.
func faulty(fault *credential.Fault) decision {
	return decision{Decision: policy.Decision{Reason: fault.Reason}, detail: fault.Detail}
}

// unavailable is the decision when the store cannot be asked.
func unavailable(err error) decision {
	return decision{Decision: policy.Decision{Reason: policy.StoreUnavailable}, detail: err.Error()}
}

// lookUp finds the records of the key and of the job, if the request names one. The fault
// is one of the secret, the error one of the store.
func (d *decider) lookUp(ctx context.Context, secret policy.Secret, jobID string, f *facts) (*credential.Fault, error) {
	unopened := f.openStore(d.app) //nolint:contextcheck // what it opens outlives the request
	var cached keystore.Cached
	if unopened == nil {
		f.store.Cached(&cached, secret, d.backend, jobID)
	}
	record := cached.Key
	if !cached.KeyKnown {
		// A cached secret has been checked before.
		if err := policy.CheckSecret(secret); err != nil {
			return credential.MalformedKey(err), nil
		}
		if unopened != nil {
			return nil, unopened
		}
		var err error
		if record, err = f.store.FindKey(ctx, secret); err != nil && !errors.Is(err, keystore.ErrNotFound) {
			return nil, fmt.Errorf("looking up the key: %w", err)
		}
	}
	f.setRecord(record)
	switch {
	case !record.Found() || jobID == "":
		return nil, nil
	case cached.KeyKnown && cached.JobKnown && cached.Job.AccountID == f.owner.AccountID: // both were read at one instant
		f.job, f.hasJob = cached.Job, true
		return nil, nil
	}
	return nil, d.lookUpJob(ctx, jobID, f)
}

// lookUpJob finds the record of a job. A job of another account than the key's is as
// quickly found as one that is not recorded.
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

// decide decides by the facts.
func (d *decider) decide(at policy.Time, f *facts, asked *policy.Request) decision {
	key := f.key
	if f.record.Found() {
		unpacked := f.record.Key()
		key = &unpacked
	}
	request := *asked
	if f.hasJob {
		request.Job = &f.job
	}
	outcome := decision{Decision: policy.Decide(at, key, &request, d.rules), at: at}
	switch {
	case outcome.Reason == policy.OperationUnlisted:
		outcome.detail = "the path names another account than the key's"
	case outcome.Reason == policy.KeyUnknown:
		outcome.detail = policy.NotYet(at, key)
	case outcome.Reason.OK() && request.Operation == policy.CreateJob:
		// A job that cannot be recorded must not be created, and its audio not uploaded.
		if err := f.store.CheckRoom(); err != nil {
			return unavailable(err)
		}
	}
	return outcome
}

// reportAdmitted counts and logs a request that is let through.
func (d *decider) reportAdmitted(r *http.Request, record *handler.DecisionRecord, more ...zap.Field) {
	record.Report(r)
	if c := d.logger.Check(zap.DebugLevel, "admitted"); c != nil {
		c.Write(append(record.LogFields(), more...)...)
	}
}

// reportRefused counts and logs a request that is refused.
func (d *decider) reportRefused(r *http.Request, record *handler.DecisionRecord, detail string, more ...zap.Field) {
	record.Report(r)
	level := zap.InfoLevel
	if record.Reason == policy.StoreUnavailable {
		level = zap.ErrorLevel
	}
	if c := d.logger.Check(level, "refused"); c != nil {
		c.Write(append(append(record.LogFields(), more...), zap.String("detail", detail))...)
	}
}
