package keystore

import (
	"context"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// Census has numbers of records, for dashboards. Counting them reads every job, and every key
// that ends soon: a second for some millions of them.
type Census struct {
	Jobs     map[policy.JobState]int // the recorded jobs by their state; each state has an entry
	OnGrace  int                     // jobs that their expired keys may still read
	Expiring []int                   // keys that end within each of the times asked for
}

// CensusRequest says what to count.
type CensusRequest struct {
	Now policy.Time
	// Within are times from Now on, the shortest first. A key counts in each time in which it
	// ends: by its expiry, or by the end of a rotation's overlap. A key of a closed account
	// has ended already.
	Within []time.Duration
	// LongestGrace is the longest grace window of the gates.
	LongestGrace time.Duration
	// OnGrace reports whether the grace window of a gate lets a key read a job.
	OnGrace func(*policy.Key, *policy.Job) bool
}

// Census counts records. Any error is an ErrUnavailable.
func (s *Store) Census(ctx context.Context, r CensusRequest) (Census, error) {
	db, err := s.database()
	if err != nil {
		return Census{}, err
	}
	c := Census{Expiring: make([]int, len(r.Within))}
	if c.Jobs, err = countJobs(ctx, db); err == nil {
		c.OnGrace, err = countOnGrace(ctx, db, r)
	}
	for i, within := range r.Within {
		if err == nil {
			err = db.lists.QueryRowContext(ctx, expiringKeys, r.Now, r.Now.Add(within)).Scan(&c.Expiring[i])
		}
	}
	return c, fault(err)
}

// expiringKeys counts keys that end in a span of time. It reads an index and the accounts.
const expiringKeys = `SELECT COUNT(*) FROM api_keys AS k JOIN accounts a ON a.id = k.account_id
	WHERE ` + firstEnd + ` > $1 AND ` + firstEnd + ` <= $2 AND a.closed_at IS NULL`

// countJobs counts the jobs in one pass. A GROUP BY would sort them.
func countJobs(ctx context.Context, db *database) (map[policy.JobState]int, error) {
	var n [6]int
	err := db.lists.QueryRowContext(ctx, `SELECT
		COUNT(CASE WHEN state = $1 THEN 1 END), COUNT(CASE WHEN state = $2 THEN 1 END), COUNT(CASE WHEN state = $3 THEN 1 END),
		COUNT(CASE WHEN state = $4 THEN 1 END), COUNT(CASE WHEN state = $5 THEN 1 END), COUNT(CASE WHEN state = $6 THEN 1 END)
		FROM jobs`,
		policy.JobUnseen.String(), policy.JobQueued.String(), policy.JobStarted.String(),
		policy.JobProcessing.String(), policy.JobCompleted.String(), policy.JobFailed.String(),
	).Scan(&n[0], &n[1], &n[2], &n[3], &n[4], &n[5])
	jobs := make(map[policy.JobState]int, len(n))
	for i, state := range policy.JobStates() {
		jobs[state] = n[i]
	}
	return jobs, err
}

// countOnGrace counts the jobs on grace. A job on grace was created within the longest grace
// window, by a key that has ended since then: an index finds these keys.
func countOnGrace(ctx context.Context, db *database, r CensusRequest) (n int, err error) {
	if r.LongestGrace <= 0 {
		return 0, nil
	}
	rows, err := db.lists.QueryContext(ctx, jobsOfEndedKeys, r.Now.Add(-r.LongestGrace), r.Now)
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }() // after the last row, Close has nothing to say
	for rows.Next() {
		j, key, err := scanJobAndKey(rows)
		if err != nil {
			return 0, err
		}
		if r.OnGrace(&key, &j) {
			n++
		}
	}
	return n, rows.Err()
}

const jobsOfEndedKeys = `SELECT j.backend, j.id, j.account_id, j.client, j.created_at, COALESCE(j.ended_at, 0), ` + keyColumns + `
	FROM ` + keyTables + ` JOIN jobs j ON j.key_id = k.id
	WHERE k.id IN (SELECT id FROM api_keys WHERE ` + firstEnd + ` > $1 AND ` + firstEnd + ` <= $2) AND j.created_at > $1`

// scanJobAndKey reads a row of jobsOfEndedKeys.
func scanJobAndKey(row scanner) (j policy.Job, key policy.Key, err error) {
	var client string
	key, err = scanKey(beforeKey{row, []any{&j.Backend, &j.ID, &j.AccountID, &client, &j.CreatedAt, &j.EndedAt}})
	if err != nil {
		return j, key, err
	}
	j.KeyID = key.ID
	j.Client, err = scanAddr(client)
	return j, key, err
}

// beforeKey is a row that has other columns in front of keyColumns.
type beforeKey struct {
	row   scanner
	first []any
}

func (b beforeKey) Scan(dest ...any) error { return b.row.Scan(append(b.first, dest...)...) }
