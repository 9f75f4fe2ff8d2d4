package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	maxHeld                  = 64 << 10               // bytes of an answer that creates a job or mints a token
	redactBytes              = 64 << 10               // bytes of an answer in which the upstream key is masked
	defaultRecordJobWithin   = 10 * time.Second       // long, because without the record the client cannot read its job
	defaultRecordStateWithin = 250 * time.Millisecond // short, because the client waits and does not need this record
)

// finishCreation records the new job whose ID is in the held answer, and then sends the answer to
// the client. If the answer has no ID, the backend has not created a job, and nothing is recorded.
// If the ID is wrong or the job cannot be recorded, the client gets an answer of the gate.
func (w *responseInterceptor) finishCreation() {
	api := w.gate.api
	id, err := w.createdID()
	if err == nil && !isObject(w.held.Bytes()) {
		err = jsonanswer.ErrJSON
	}
	if err != nil {
		w.replace(api.GatewayError(w.call), "reading the job's ID: "+err.Error())
		return
	}
	if refusal := w.keyRefused(); id == "" && refusal != nil && refusal.Describes(w.held.Bytes()) {
		w.refuseUpstream()
		return
	}
	if id == "" || (w.call.Route.Mint == nil || w.recordMinted()) && w.recordCreated(id) {
		w.sendHeld()
	}
}

// passLongCreation sends the held answer to a creation, which is too long to be held, after the job
// has been recorded. Some backends answer with the whole result. The rest of the answer streams.
// If the job's ID has not come yet, the client gets an answer of the gate.
func (w *responseInterceptor) passLongCreation() {
	id, err := w.createdID()
	switch {
	case err == nil && id == "":
		err = errors.New("the first 64 KiB of the backend's answer do not have it")
	case err == nil && w.call.Route.Mint != nil:
		err = errLongMint
	}
	if err != nil {
		w.replace(w.gate.api.GatewayError(w.call), "reading the job's ID: "+err.Error())
		return
	}
	if w.recordCreated(id) {
		w.sendHeld()
		w.members, w.created = &w.membersBuf, id
	}
}

// checkCreated returns an error, so that the answer breaks off, if the rest of a long answer to a
// creation has another ID or the ID twice: a client could take an ID that is not recorded.
func (w *responseInterceptor) checkCreated() error {
	if w.created == "" {
		return nil
	}
	id, err := w.createdID()
	if err == nil && id != w.created {
		err = errors.New("the answer has the IDs of two jobs")
	}
	if err != nil {
		w.gate.logger.Error("answer broken off", append(w.record.LogFields(), zap.String("job_id", w.created), zap.Error(err))...)
	}
	return err
}

// createdID returns the ID of the job that the answer creates; "" if it has none.
func (w *responseInterceptor) createdID() (string, error) {
	jobs := w.call.Route.Jobs
	member, err := firstMember(w.members, 0, jobs.ID.Len())
	id := member.Text
	switch {
	case jobs.URL && id == "":
		id = jsonanswer.LastSegment(w.header.Get("Location"))
	case jobs.URL:
		id = jsonanswer.LastSegment(id)
	}
	switch {
	case err != nil:
		return "", err
	case id != "" && !dialect.ValidJobID(id):
		return "", errors.New("the job's ID has characters that a path cannot carry, or is too long")
	case w.gate.redactor != nil && w.gate.redactor.Text(id) != id:
		return "", errors.New("the job's ID holds the backend's key")
	}
	return id, nil
}

// recordCreated records a new job. If it cannot, it returns false, and the client gets an answer of
// the gate.
func (w *responseInterceptor) recordCreated(id string) bool {
	switch err := w.recordJob(id); {
	case errors.Is(err, keystore.ErrJobExists):
		w.replace(w.gate.api.GatewayError(w.call), "the backend gave a job an ID that is recorded already", zap.String("job_id", id))
		return false
	case err != nil:
		w.replace(w.gate.api.Refusal(w.call, policy.StoreUnavailable), "recording a job: "+err.Error(), zap.String("job_id", id))
		return false
	}
	return true
}

// sendHeld sends the held part of the answer. The rest streams.
func (w *responseInterceptor) sendHeld() {
	answer := w.held.Bytes()
	w.held, w.members = nil, nil
	if w.startEdits() {
		_, _ = w.sendEdited(answer) // an error says that the client has gone
		return
	}
	w.sendHeader()
	_ = w.send(answer) // an error says that the client has gone
}

// isObject reports whether text is one complete JSON object. In other text, a client could
// find an ID that the gate has not found.
func isObject(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) && json.Valid(text)
}

// recordJob writes the record of a new job. It goes on if the client goes away, because the
// backend has created the job.
func (w *responseInterceptor) recordJob(id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.r.Context()), w.gate.recordJobWithin)
	defer cancel()
	return w.store.CreateReservedJob(ctx, &w.reserved, policy.Job{
		Backend:   w.gate.Backend,
		ID:        w.call.Route.Jobs.RecordID(id),
		Dialect:   w.gate.api.Name,
		AccountID: w.record.Owner.AccountID,
		KeyID:     w.record.Owner.KeyID,
		Client:    w.record.Client,
		CreatedAt: w.admitted,

		UpstreamKey: w.fingerprint(),
	})
}

// fingerprint returns the fingerprint of the upstream key that a new job or a new token belongs to.
func (w *responseInterceptor) fingerprint() policy.Fingerprint {
	if w.tokenKey != 0 {
		return w.tokenKey
	}
	return w.gate.fingerprints(w.store).Of(w.key)
}

// readsState reports whether the state of the job is read from the answer to a poll.
func (w *responseInterceptor) readsState() bool {
	return w.call.Operation == policy.ReadJob && w.status < 300 && w.hasJob && !w.state.Ended() &&
		w.call.Route.IsJob() && w.call.Route.Jobs.State != nil
}

// recordState records the new state of a job as soon as it has been read from the answer,
// before the client gets this part of the answer.
func (w *responseInterceptor) recordState() {
	if w.members == nil || w.created != "" {
		return
	}
	jobs := w.call.Route.Jobs
	word, err := firstMember(w.members, 0, jobs.State.Len())
	if err == nil && word.Text == "" {
		return
	}
	w.members = nil
	state := jobs.States[word.Text]
	if err == nil {
		w.setState(state)
	}
}

// recordEnded records the end of a job if the client has deleted it, or if the status of the answer to a
// poll says that it has ended.
func (w *responseInterceptor) recordEnded() {
	if !w.hasJob || w.state.Ended() {
		return
	}
	success := w.status < 300
	switch op := w.call.Operation; {
	case op == policy.DeleteJob && success:
		w.setState(policy.JobFailed)
	case op != policy.ReadJob || !w.call.Route.IsJob() || !slices.Contains(w.call.Route.Jobs.Ended, w.status):
	case success:
		w.setState(policy.JobCompleted)
	default:
		w.setState(policy.JobFailed)
	}
}

// setState records the new state of a job. If the record cannot be written, the client gets the
// answer nevertheless.
func (w *responseInterceptor) setState(state policy.JobState) {
	if state == w.state {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.r.Context()), w.gate.recordStateWithin)
	defer cancel()
	if err := w.store.SetJobState(ctx, w.gate.Backend, w.call.JobID, state, w.gate.app.Now()); err != nil {
		w.gate.logger.Error("recording a job's state",
			zap.String("job_id", w.call.JobID), zap.Stringer("state", state), zap.Error(err))
	}
}
