package manage

import (
	"context"
	"errors"
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Job is a recorded job in a result.
type Job struct {
	ID        string `json:"job_id"`
	AccountID string `json:"account_id"`
	KeyID     string `json:"key_id"`
	Backend   string `json:"backend"`
	Dialect   string `json:"dialect"`
	ClientIP  OrNull `json:"client_ip"`
	CreatedAt Time   `json:"created_at"`
	State     string `json:"state"`
	EndedAt   Time   `json:"ended_at"`
	// UpstreamKey is the fingerprint of the upstream key that created the job. It is null if the
	// backend got no upstream key, in records from before fingerprints, and for an account.
	UpstreamKey OrNull `json:"upstream_key"`
	// GraceUntil is the end of the longest grace of the backend's gates. It is null if they
	// give no grace.
	GraceUntil Time `json:"grace_until"`
	// GraceKnown is false if no gate of the backend is configured. GraceUntil is null then.
	GraceKnown bool `json:"grace_known"`
}

func (m *Manager) jobOf(j policy.Job) Job {
	result := Job{
		ID:        j.ID,
		AccountID: j.AccountID,
		KeyID:     j.KeyID,
		Backend:   j.Backend,
		Dialect:   j.Dialect,
		CreatedAt: Time{j.CreatedAt},
		State:     j.State.String(),
		EndedAt:   Time{j.EndedAt},
	}
	result.GraceUntil.Time, result.GraceKnown = m.Gates.graceUntil(&j)
	if m.operatorOnly() == nil {
		result.UpstreamKey = OrNull(j.UpstreamKey.String())
	}
	if j.Client.IsValid() {
		result.ClientIP = OrNull(j.Client.String())
	}
	return result
}

// JobQuery selects recorded jobs. The zero value selects all jobs.
type JobQuery struct {
	Page

	// AccountID selects the jobs of the account with this ID or name.
	AccountID string `json:"account_id"`
	// KeyID selects the jobs that the key with this ID created.
	KeyID string `json:"key"`
	// NewestFirst turns the order around.
	NewestFirst bool `json:"newest_first"`
}

// Validate refuses a query with a mistake in a field. It does not read the keystore.
func (q *JobQuery) Validate() error {
	if err := checkAccountIfAny(q.AccountID); err != nil {
		return err
	}
	if err := checkIDIfAny("key", KindKey, q.KeyID); err != nil {
		return err
	}
	return q.check()
}

// Jobs returns a part of the list of recorded jobs, oldest first.
func (m *Manager) Jobs(ctx context.Context, q JobQuery) (List[Job], error) {
	if err := q.Validate(); err != nil {
		return List[Job]{}, err
	}
	id, err := m.accountIDIfAny(ctx, q.AccountID)
	if err != nil {
		return List[Job]{}, err
	}
	accountID, err := m.scope(id)
	if err != nil {
		return List[Job]{}, err
	}
	if q.KeyID != "" {
		if _, err := m.key(ctx, q.KeyID); err != nil {
			return List[Job]{}, err
		}
	}
	records, next, err := m.Store.Jobs(ctx, keystore.JobList{AccountID: accountID, KeyID: q.KeyID, NewestFirst: q.NewestFirst, Limit: q.Limit, Cursor: q.Cursor})
	return listOf(records, next, err, m.jobOf)
}

// Job returns a recorded job. If several backends have a job with this ID, the argument
// backend must say which one is meant. Otherwise it can be empty.
func (m *Manager) Job(ctx context.Context, id, backend string) (Job, error) {
	jobs, err := m.jobs(ctx, id, backend)
	switch {
	case err != nil && !errors.Is(err, keystore.ErrNotFound):
		return Job{}, err
	case len(jobs) == 0:
		return Job{}, noJob(id, backend)
	case len(jobs) > 1:
		names := make([]string, len(jobs))
		for i, j := range jobs {
			names[i] = j.Backend
		}
		return Job{}, wrongIn("backend", "job %q exists on %d backends: choose one with %s, of %s", id, len(jobs), field("backend"), strings.Join(names, ", "))
	}
	return m.jobOf(jobs[0]), nil
}

// jobs returns the jobs that have this ID and that the actor reaches.
func (m *Manager) jobs(ctx context.Context, id, backend string) (jobs []policy.Job, err error) {
	var all []policy.Job
	if backend == "" {
		all, err = m.Store.JobsByID(ctx, id)
	} else {
		all = make([]policy.Job, 1)
		all[0], err = m.Store.Job(ctx, backend, id)
	}
	if err != nil {
		return nil, err
	}
	for _, j := range all {
		if m.reaches(j.AccountID) {
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// noJob returns the error for a job that is not recorded. The text id can be an ID of
// another kind, or even a secret.
func noJob(id, backend string) error {
	if found, ok := lookalike(id); ok {
		return wrong("job_id", " %s is %s: want a job ID%s", words.Quote(id), found, list{KindJob, ", as %s shows it"})
	}
	text := phrase.New("there is no record of a job %q: it may have been pruned, or not created through this gateway", id)
	if backend != "" {
		text = phrase.New("there is no record of a job %q of backend %q: it may have been pruned, or not created through this gateway", id, backend)
	}
	return &missingJobError{text}
}

// missingJobError says that a job is not recorded. It is a [keystore.ErrNotFound].
type missingJobError struct{ text phrase.Text }

func (e *missingJobError) Error() string     { return e.text.String() }
func (e *missingJobError) Text() phrase.Text { return e.text }
func (*missingJobError) Is(err error) bool   { return err == keystore.ErrNotFound }
