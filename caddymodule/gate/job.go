package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/jsonanswer"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const (
	maxCreation              = 64 << 10               // bytes of an answer that creates a job
	redactBytes              = 64 << 10               // bytes of an answer in which the upstream key is masked
	defaultRecordJobWithin   = 10 * time.Second       // long, because without the record the client cannot read its job
	defaultRecordStateWithin = 250 * time.Millisecond // short, because the client waits and does not need this record
)

// finishCreation records the new job whose ID is in the held answer, and then sends the answer to
// the client. If the answer has no ID, the backend has not created a job, and nothing is recorded.
// If the ID is wrong or the job cannot be recorded, the client gets an answer of the gate.
func (w *responseInterceptor) finishCreation() {
	api := w.gate.api
	member, err := w.members.Get(0)
	id := member.Text
	switch {
	case err == nil && !isObject(w.held.Bytes()):
		err = jsonanswer.ErrJSON
	case err == nil && id != "" && !dialect.ValidJobID(id):
		err = errors.New("the job's ID has characters that a path cannot carry, or is too long")
	case w.gate.redactor != nil && w.gate.redactor.Text(id) != id:
		err = errors.New("the job's ID holds the backend's key")
	}
	if err != nil {
		w.replace(api.GatewayError(w.call), "reading the job's ID: "+err.Error())
		return
	}
	if refusal := w.keyRefused(); id == "" && refusal != nil && refusal.Describes(w.held.Bytes()) {
		w.refuseUpstream()
		return
	}
	if id != "" {
		switch err := w.recordJob(id); {
		case errors.Is(err, keystore.ErrJobExists):
			w.replace(api.GatewayError(w.call), "the backend gave a job an ID that is recorded already", zap.String("job_id", id))
			return
		case err != nil:
			w.replace(api.Refusal(w.call, policy.StoreUnavailable), "recording a job: "+err.Error(), zap.String("job_id", id))
			return
		}
	}
	answer := w.held.Bytes()
	w.held, w.members = nil, nil
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
		ID:        id,
		Dialect:   w.gate.api.Name,
		AccountID: w.record.Owner.AccountID,
		KeyID:     w.record.Owner.KeyID,
		Client:    w.record.Client,
		CreatedAt: w.admitted,
	})
}

// recordState records the new state of a job as soon as it has been read from the answer,
// before the client gets this part of the answer. If the record cannot be written, the client
// gets the answer nevertheless.
func (w *responseInterceptor) recordState() {
	if w.members == nil {
		return
	}
	word, err := w.members.Get(0)
	if err == nil && word.Text == "" {
		return
	}
	w.members = nil
	state := w.gate.api.Jobs.States[word.Text]
	if err != nil || state == w.state {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.r.Context()), w.gate.recordStateWithin)
	defer cancel()
	if err := w.store.SetJobState(ctx, w.gate.Backend, w.call.JobID, state, w.gate.app.Now()); err != nil {
		w.gate.logger.Error("recording a job's state",
			zap.String("job_id", w.call.JobID), zap.Stringer("state", state), zap.Error(err))
	}
}
