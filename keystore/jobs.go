package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// maxJobName is the longest backend name, and the longest job ID, in bytes.
const maxJobName = 512

// FindJob returns a job. The error is ErrNotFound if there is no such job. Any other
// error means that the store failed. The cache does not remember absent jobs.
func (s *Store) FindJob(ctx context.Context, backend, id string) (policy.Job, error) {
	d := jobDigest(backend, id)
	if s.fresh(s.state.Load()) {
		if e := s.cache.jobs.Get(d); e.State == recordcache.Present {
			return packedJob(e.Record).job(), nil
		}
	}
	return s.loadJob(ctx, d, "", backend, id)
}

// FindJobFor is [Store.FindJob] for a client of the account. A cached job of another
// account would be refused faster than a job that does not exist, because the cache does
// not remember absent jobs. The client could tell the two cases apart by time. FindJobFor
// therefore reads the database once in both cases.
func (s *Store) FindJobFor(ctx context.Context, accountID, backend, id string) (policy.Job, error) {
	d := jobDigest(backend, id)
	if !s.fresh(s.state.Load()) {
		return s.loadJob(ctx, d, accountID, backend, id)
	}
	e := s.cache.jobs.Get(d)
	if e.State != recordcache.Present {
		return s.loadJob(ctx, d, accountID, backend, id)
	}
	j := packedJob(e.Record).job()
	if j.AccountID == accountID {
		return j, nil
	}
	// No job has this ID: IDs with control characters are not recorded.
	absent := id + "\x00"
	switch _, err := s.loadJob(ctx, jobDigest(backend, absent), accountID, backend, absent); {
	case err == nil || errors.Is(err, ErrNotFound):
		return j, nil
	default: // the same error as for a job that does not exist
		return policy.Job{}, err
	}
}

// loadJob reads a job from the outbox, or from the database. If accountID is not empty, it reads only a job of the
// account from the replica: a job of another account would be told apart from one that the replica lacks. For the
// same reason it returns another account's job of the outbox only if the database answers.
func (s *Store) loadJob(ctx context.Context, d digest, accountID, backend, id string) (policy.Job, error) {
	waiting, unread := s.outbox.find(ctx, backend, id)
	if unread == nil && (accountID == "" || waiting.AccountID == accountID) {
		return waiting, nil
	}
	_, packed, err := lookup(ctx, s, d, s.cache.jobs, func(ctx context.Context, db *database) (none struct{}, packed string, err error) {
		j, err := scanFoundJob(db.reader.QueryRowContext(ctx, jobByName, backend, id))
		if err != nil {
			return none, "", err
		}
		p, err := packJob(&j, d)
		return none, string(p), err
	})
	if err != nil {
		j, err := s.replica.job(ctx, d, accountID, backend, id, err)
		if errors.Is(err, ErrNotFound) {
			return waiting, unread // a job that cannot be read is not called unknown
		}
		return j, err
	}
	s.replica.keep(replicaItem{d, id})
	j := packedJob(packed).job()
	if accountID != "" && j.AccountID != accountID && unread != nil && !errors.Is(unread, ErrNotFound) {
		return policy.Job{}, unread // as of a job that does not exist
	}
	return j, nil
}

// CreateJob records a job. When it returns nil, the record is on the disk. The error is
// ErrJobExists if the backend used the ID before, and ErrInvalid if the job has no
// CreatedAt, or if its Backend or ID is empty or longer than 512 bytes. With [Postgres.AdmitJobs], the disk is that of
// this machine while the database does not answer.
//
// Before the backend creates the job, ask [Store.CheckJobRoom] whether the record has space.
func (s *Store) CreateJob(ctx context.Context, j policy.Job) error {
	return s.CreateReservedJob(ctx, new(WriteReservation), j)
}

// CreateReservedJob is [Store.CreateJob] for a job that [Store.ReserveWrite] has
// announced.
func (s *Store) CreateReservedJob(ctx context.Context, r *WriteReservation, j policy.Job) error {
	if j.Backend == "" || j.ID == "" || len(j.Backend) > maxJobName || len(j.ID) > maxJobName || j.CreatedAt.IsZero() {
		return refuse(ErrInvalid, "job %q of backend %q, created at %s: want names of 1 to %d bytes and a time", j.ID, j.Backend, j.CreatedAt, maxJobName)
	}
	if _, err := s.outbox.find(ctx, j.Backend, j.ID); err == nil { // on another error, the job can still be recorded
		return refuse(ErrJobExists, "job %q of backend %q is recorded already", j.ID, j.Backend)
	}
	err := s.outbox.spares()
	if err == nil {
		err = s.writeJob(ctx, r, &j)
	}
	if err != nil && s.outbox.takes(err) {
		return s.outbox.create(ctx, &j, err)
	}
	if err == nil && s.replica != nil {
		s.replica.keep(replicaItem{jobDigest(j.Backend, j.ID), j.ID})
	}
	return err
}

const (
	maxJobsAtOnce = 64 // jobs in one statement
	fewJobsAtOnce = 8
	jobParameters = 10
)

// insertJobs has the statements that record so many jobs.
var insertJobs = func() map[int]string { //nolint:gochecknoglobals // never changed
	texts := make(map[int]string)
	for _, jobs := range []int{1, fewJobsAtOnce, maxJobsAtOnce} {
		rows := make([]string, jobs)
		for i := range rows {
			rows[i] = "(" + numbered(1+i*jobParameters, jobParameters) + ")"
		}
		texts[jobs] = `INSERT INTO jobs (backend, id, dialect, account_id, key_id, client, created_at, state, ended_at, upstream_key)
			VALUES ` + strings.Join(rows, ", ") + ` ON CONFLICT (id, backend) DO NOTHING RETURNING backend, id`
	}
	return texts
}()

// insertJobsByColumn records any number of jobs. Each parameter has the values of one column. It is for
// [engine.Database.Alone]: SQLite has no arrays.
const insertJobsByColumn = `INSERT INTO jobs (backend, id, dialect, account_id, key_id, client, created_at, state, ended_at, upstream_key)
	SELECT backend, id, dialect, account, key, client, created, state, NULLIF(ended, 0), NULLIF(upstream, 0)
	FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::BIGINT[], $8::TEXT[], $9::BIGINT[], $10::BIGINT[])
		AS j (backend, id, dialect, account, key, client, created, state, ended, upstream)
	ON CONFLICT (id, backend) DO NOTHING RETURNING backend, id`

// createJobs records up to maxJobsAtOnce jobs in one statement, and sets the errors of their writes.
// If the statement fails, it records each job by itself.
func (t *txn) createJobs(writes []*write) (fatal error) {
	err, fatal := t.attempt(func(t *txn) error { return t.insertJobs(writes) })
	if err == nil || fatal != nil {
		return fatal
	}
	if len(writes) == 1 {
		writes[0].err = err
		return nil
	}
	for i := range writes {
		if fatal := t.createJobs(writes[i : i+1]); fatal != nil {
			return fatal
		}
	}
	return nil
}

// checkOwner returns an error if a job belongs to another store than the one that is open.
func checkOwner(db *database, writes []*write) error {
	for _, w := range writes {
		if w.owner != "" && w.owner != db.id {
			return fmt.Errorf("job %q of backend %q is of another keystore: %w", w.job.ID, w.job.Backend, engine.ErrReplaced)
		}
	}
	return nil
}

// insertJobs records jobs. It sets the errors of those that are recorded already.
func (t *txn) insertJobs(writes []*write) error {
	if err := checkOwner(t.db, writes); err != nil {
		return err
	}
	rows := maxJobsAtOnce
	switch n := len(writes); {
	case n == 1:
		rows = 1
	case n <= fewJobsAtOnce:
		rows = fewJobsAtOnce
	}
	args := make([]any, 0, rows*jobParameters)
	for i := range rows {
		j := writes[min(i, len(writes)-1)].job // the last one again, up to the number of rows
		args = append(args, j.Backend, j.ID, j.Dialect, j.AccountID, j.KeyID, addrText(j.Client), j.CreatedAt, j.State.String(), nullTime(j.EndedAt), nullFingerprint(j.UpstreamKey))
	}
	made, err := queryRows(t.ctx, t, scanJobName, insertJobs[rows], args...)
	if err != nil {
		return err
	}
	refuseRecorded(writes, made)
	for _, w := range writes {
		if w.retried && w.err != nil {
			if there, err := scanFoundJob(t.queryRow(jobByName, w.job.Backend, w.job.ID)); err == nil && there == *w.job {
				w.err = nil // the earlier transaction was committed
			}
		}
	}
	return nil
}

// insertAlone records jobs in a transaction of their own, and sets the errors of those that are
// recorded already. undone reports that an error has changed nothing.
func (s *Store) insertAlone(ctx context.Context, writes []*write) (undone bool, err error) {
	if err := s.outbox.spares(); err != nil { // they have waited for others until the database was away
		return false, err
	}
	db, err := s.database()
	if err != nil {
		return false, err
	}
	if err := checkOwner(db, writes); err != nil {
		return true, err
	}
	n := len(writes)
	backends, ids, dialects, accounts, keys := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	clients, states := make([]string, n), make([]string, n)
	created, ended, upstream := make([]int64, n), make([]int64, n), make([]int64, n)
	for i, w := range writes {
		j := w.job
		backends[i], ids[i], dialects[i], accounts[i], keys[i] = j.Backend, j.ID, j.Dialect, j.AccountID, j.KeyID
		clients[i], states[i], created[i] = addrText(j.Client), j.State.String(), int64(j.CreatedAt)
		ended[i], upstream[i] = int64(j.EndedAt), int64(j.UpstreamKey)
	}
	var made []jobName
	undone, err = db.Alone(ctx, insertJobsByColumn, []any{backends, ids, dialects, accounts, keys, clients, created, states, ended, upstream},
		func(row engine.Row) error {
			n, err := scanJobName(row)
			made = append(made, n)
			return err
		})
	if err == nil {
		refuseRecorded(writes, made)
	}
	return undone, err
}

type jobName struct{ backend, id string }

func scanJobName(row scanner) (n jobName, err error) {
	err = row.Scan(&n.backend, &n.id)
	return n, err
}

// refuseRecorded sets the errors of the writes: made has the jobs that were recorded, and the others
// were recorded before.
func refuseRecorded(writes []*write, made []jobName) {
	for _, w := range writes {
		w.err = nil
		n := jobName{w.job.Backend, w.job.ID}
		i := slices.Index(made, n)
		if i < 0 {
			w.err = refuse(ErrJobExists, "job %q of backend %q is recorded already", n.id, n.backend)
			continue
		}
		made[i] = jobName{} // two writes of a batch can have the same job
	}
}

// SetJobState records the state of a job that the gate saw. An ended state is final,
// and now becomes the time when the job ended. JobUnseen changes nothing. The error is
// ErrNotFound if there is no such job.
func (s *Store) SetJobState(ctx context.Context, backend, id string, state policy.JobState, now policy.Time) error {
	// A cached job is in the database, and waits in no outbox.
	if s.outbox != nil && s.cache.jobs.Get(jobDigest(backend, id)).State != recordcache.Present {
		if found, err := s.outbox.setState(ctx, backend, id, state, now); found {
			return err
		}
	}
	j, err := s.FindJob(ctx, backend, id)
	if err != nil || !advances(&j, state) {
		return err
	}
	return s.writeState(ctx, backend, id, state, now, now)
}

// writeState records in the database the state of a job, which was seen at an instant.
func (s *Store) writeState(ctx context.Context, backend, id string, state policy.JobState, seen, now policy.Time) error {
	return s.write(ctx, func(t *txn) error {
		j, err := scanFoundJob(t.QueryRowContext(ctx, jobByName, backend, id))
		if err != nil || !advances(&j, state) {
			return err
		}
		var ended policy.Time
		if state.Ended() {
			ended = seen
		}
		d := jobDigest(backend, id)
		t.exec(`UPDATE jobs SET state = $1, ended_at = $2 WHERE backend = $3 AND id = $4`, state.String(), nullTime(ended), backend, id)
		return t.changed(now, changedJob, d[:])
	})
}

// advances reports whether the state is news about the job.
func advances(j *policy.Job, state policy.JobState) bool {
	return state != policy.JobUnseen && state != j.State && !j.State.Ended()
}

// Job returns a job, as FindJob does, but always reads the database. The error is
// ErrNotFound if there is no such job.
func (s *Store) Job(ctx context.Context, backend, id string) (policy.Job, error) {
	all, err := query(ctx, s, scanJob, jobByName, backend, id)
	return one(all, err, "job", id)
}

// JobsByID returns the jobs of all backends that have this ID.
func (s *Store) JobsByID(ctx context.Context, id string) ([]policy.Job, error) {
	return query(ctx, s, scanJob, `SELECT `+jobColumns+` FROM jobs WHERE id = $1 ORDER BY backend`, id)
}

func scanFoundJob(row *sql.Row) (policy.Job, error) {
	j, err := scanJob(row)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrNotFound
	}
	return j, err
}

const (
	jobColumns = `backend, id, dialect, account_id, key_id, client, created_at, state, COALESCE(ended_at, 0), COALESCE(upstream_key, 0)`
	jobByName  = `SELECT ` + jobColumns + ` FROM jobs WHERE backend = $1 AND id = $2`
)

func scanJob(row scanner) (j policy.Job, err error) {
	var client, state string
	if err = row.Scan(&j.Backend, &j.ID, &j.Dialect, &j.AccountID, &j.KeyID, &client, &j.CreatedAt, &state, &j.EndedAt, &j.UpstreamKey); err != nil {
		return policy.Job{}, err
	}
	if j.State = policy.ParseJobState(state); j.State.String() != state {
		err = fmt.Errorf("unknown job state %q", state)
	}
	if err == nil {
		j.Client, err = scanAddr(client)
	}
	if err != nil {
		return policy.Job{}, fmt.Errorf("the record of job %q of backend %q is damaged: %w", j.ID, j.Backend, err)
	}
	return j, nil
}

func nullTime(t policy.Time) sql.Null[int64] {
	return sql.Null[int64]{V: int64(t), Valid: !t.IsZero()}
}
