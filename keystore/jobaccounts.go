package keystore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/speechgate/speechgate/keystore/internal/recordcache"
)

// JobAccounts returns the account of each of these jobs; "" for a job that does not exist. It reads the
// jobs that are not in the cache from the database, up to jobsAtOnce in one query, and caches them. While the
// database does not answer, it reads them from the replica, see [Postgres.Replica].
// Strings of the result can share memory with the cache. A lookup goes on if ctx ends, as that of
// [Store.FindJob] does, so an error means that the store failed.
//
// JobAccounts is for the entries of a list that the backend has sent. Its time depends on which of
// them are cached, in contrast to [Store.FindJobFor]: the client has not named them, so the time tells
// nothing about an ID that the client guesses.
func (s *Store) JobAccounts(ctx context.Context, backend string, ids []string) ([]string, error) {
	accounts := make([]string, len(ids))
	var missing []int // indexes in ids
	fresh := s.fresh(s.state.Load())
	waiting, err := s.outbox.waits(ctx)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		if id == "" {
			continue
		}
		if fresh {
			if e := s.cache.jobs.Get(jobDigest(backend, id)); e.State == recordcache.Present {
				accounts[i] = packedJob(e.Record).accountID()
				continue
			}
		}
		if waiting {
			j, err := s.outbox.find(ctx, backend, id)
			if accounts[i] = j.AccountID; err == nil {
				continue
			}
			if !errors.Is(err, ErrNotFound) {
				return nil, err
			}
		}
		missing = append(missing, i)
	}
	if len(missing) == 0 {
		return accounts, nil
	}
	if err := s.loadAllAccounts(ctx, backend, ids, missing, accounts); err != nil {
		if err := s.accountsFromReplica(ctx, backend, ids, missing, accounts, err); err != nil {
			return nil, err
		}
	}
	return accounts, nil
}

// loadAllAccounts sets the accounts of the jobs with these indexes. It waits for a database on another machine as long
// as a lookup does, and not at all if the database is away.
func (s *Store) loadAllAccounts(ctx context.Context, backend string, ids []string, indexes []int, accounts []string) error {
	if err := s.away(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if s.cfg.Postgres != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, lookupLimit)
		defer cancel()
	}
	for part := range slices.Chunk(indexes, jobsAtOnce) {
		if err := s.loadAccounts(ctx, backend, ids, part, accounts); err != nil {
			return err
		}
	}
	return nil
}

// accountsFromReplica does what loadAllAccounts does, in the place of a database that could not be asked because of why. It
// returns why if the replica lacks one of the jobs: the job can have an account.
func (s *Store) accountsFromReplica(ctx context.Context, backend string, ids []string, indexes []int, accounts []string, why error) error {
	for _, i := range indexes {
		j, err := s.replica.job(ctx, jobDigest(backend, ids[i]), "", backend, ids[i], why)
		if err != nil {
			return err
		}
		accounts[i] = j.AccountID
	}
	return nil
}

// jobsAtOnce is the number of jobs in a query of JobAccounts.
const jobsAtOnce = 64

var jobsByName = `SELECT ` + jobColumns + ` FROM jobs WHERE backend = $1 AND id IN (` + numbered(2, jobsAtOnce) + `)`

// loadAccounts sets the accounts of the jobs with these indexes, which are jobsAtOnce at most.
func (s *Store) loadAccounts(ctx context.Context, backend string, ids []string, indexes []int, accounts []string) error {
	args := append(make([]any, 0, 1+jobsAtOnce), backend)
	for i := range jobsAtOnce {
		id := "" // no job has this ID
		if i < len(indexes) {
			id = ids[indexes[i]]
		}
		args = append(args, id)
	}
	generations := make([]uint64, len(indexes))
	for range lookupTries {
		st := s.state.Load()
		if st.fault != nil {
			return st.fault
		}
		for i, index := range indexes {
			generations[i] = s.cache.jobs.Generation(jobDigest(backend, ids[index]))
		}
		jobs, err := queryRows(ctx, st.db.reader, scanJob, jobsByName, args...)
		if s.loaded != nil {
			s.loaded()
		}
		switch {
		case s.state.Load() != st:
			continue // another database is open now
		case s.engine.Broken(err):
			continue // on another connection
		case err != nil:
			return fault(err)
		}
		found := make(map[string]string, len(jobs)) // packed, by ID
		for i := range jobs {
			packed, err := packJob(&jobs[i], jobDigest(backend, jobs[i].ID))
			if err != nil {
				return fault(err)
			}
			found[jobs[i].ID] = string(packed)
		}
		for i, index := range indexes {
			if packed := found[ids[index]]; packed != "" {
				accounts[index] = packedJob(packed).accountID()
				// A job never changes its account, so it does not matter if it has changed since the query.
				_ = s.cache.jobs.Put(jobDigest(backend, ids[index]), generations[i], struct{}{}, packed)
			}
		}
		return nil
	}
	return fault(errOvertaken)
}

// numbered returns n numbered parameters of a query.
func numbered(from, n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(from+i))
	}
	return b.String()
}
