package keystore

import (
	"context"

	"github.com/speechgate/speechgate/keystore/internal/sqlite"
	"github.com/speechgate/speechgate/policy"
)

// replicaItem is a job or a token that this gateway has recorded or looked up.
type replicaItem struct {
	digest digest
	jobID  string // empty for a token
}

// keep lets the file have a job or a token. It does nothing while too many are waiting.
func (r *replica) keep(item replicaItem) {
	if r == nil {
		return
	}
	select {
	case r.queue <- item:
	default:
	}
}

// takeQueue returns what keep has brought.
func (r *replica) takeQueue() (items []replicaItem) {
	for range replicaChunk {
		select {
		case item := <-r.queue:
			items = append(items, item)
		default:
			return items
		}
	}
	return items
}

// putBack lets the file have items later: they could not be copied now.
func (r *replica) putBack(items []replicaItem) {
	for _, item := range items {
		r.keep(item)
	}
}

// reread reads the rows that changes and items concern.
func (r *replica) reread(ctx context.Context, db *database, file *sqlite.Replica, changes []change, items []replicaItem) (rows replicaRows, err error) {
	var accounts, issuers []string
	var tokens, jobs [][]byte
	seen := make(map[string]bool)
	for _, c := range changes {
		name := c.kind + string(c.ref)
		if seen[name] {
			continue
		}
		seen[name] = true
		switch c.kind {
		case changedKey:
			rows.replacedKeys = append(rows.replacedKeys, c.ref)
		case changedAccount, changedNewAccount:
			accounts = append(accounts, string(c.ref))
		case changedChildren:
			issuers = append(issuers, string(c.ref))
		case changedToken:
			tokens = append(tokens, c.ref)
		case changedJob:
			jobs = append(jobs, c.ref)
		case changedJobs:
			rows.jobsBefore = r.store.cfg.Clock().Add(-r.store.jobsKept())
		case changedTokens:
			rows.tokensBefore = r.store.cfg.Clock().Add(-tokenKept)
		}
	}
	if rows.accounts, err = in(ctx, db.lists, rawScan(replicaAccountParameters), accountsByID, accounts); err != nil {
		return rows, err
	}
	if rows.keys, err = in(ctx, db.lists, rawScan(replicaKeyParameters), keysByDigests, rows.replacedKeys); err != nil {
		return rows, err
	}
	for _, key := range rows.keys {
		rows.newest = max(rows.newest, key.number(0))
	}
	parents, err := in(ctx, db.lists, rawScan(replicaKeyParameters), keysByID, issuers)
	if err != nil {
		return rows, err
	}
	rows.keys = append(rows.keys, parents...)
	if err := r.rereadTokens(ctx, db, file, &rows, tokens, items); err != nil {
		return rows, err
	}
	rows.replacedJobs, rows.jobs, err = readJobsAgain(ctx, db, file, items, func(q querier) ([]replicaJobName, error) {
		return in(ctx, q, scanReplicaJobName, `SELECT digest, id FROM jobs WHERE digest IN (`, jobs)
	})
	return rows, err
}

// rereadTokens reads tokens again: of those that have changed, the ones that the file has.
func (*replica) rereadTokens(ctx context.Context, db *database, file *sqlite.Replica, rows *replicaRows, changed [][]byte, items []replicaItem) (err error) {
	rows.replacedTokens, err = in(ctx, file.Reader(), scanColumn[[]byte], `SELECT DISTINCT digest FROM tokens WHERE digest IN (`, changed)
	if err != nil {
		return &fileError{file.Advise(err)}
	}
	for _, item := range items {
		if item.jobID == "" {
			rows.replacedTokens = append(rows.replacedTokens, item.digest[:])
		}
	}
	rows.tokens, err = in(ctx, db.lists, rawScan(replicaTokenParameters), tokensOf, rows.replacedTokens)
	return err
}

type replicaJobName struct {
	digest []byte
	id     string
}

func scanReplicaJobName(row scanner) (n replicaJobName, err error) {
	return n, row.Scan(&n.digest, &n.id)
}

// readJobsAgain reads the jobs again that names finds in the file, and those of items. It returns the digests of
// all these, and the jobs that the database has.
func readJobsAgain(ctx context.Context, db *database, file *sqlite.Replica, items []replicaItem, names func(querier) ([]replicaJobName, error)) (old [][]byte, jobs []policy.Job, err error) {
	found, err := names(file.Reader())
	if err != nil {
		return nil, nil, &fileError{file.Advise(err)}
	}
	for _, item := range items {
		if item.jobID != "" {
			found = append(found, replicaJobName{item.digest[:], item.jobID})
		}
	}
	known, ids := make(map[string]bool), []string{}
	for _, n := range found {
		if !known[string(n.digest)] {
			old, known[string(n.digest)], ids = append(old, n.digest), true, append(ids, n.id)
		}
	}
	all, err := in(ctx, db.lists, scanJob, jobsByIDs, ids)
	if err != nil {
		return nil, nil, err
	}
	for _, j := range all {
		if d := jobDigest(j.Backend, j.ID); known[string(d[:])] { // another backend can have the same ID
			jobs = append(jobs, j)
		}
	}
	return old, jobs, nil
}
