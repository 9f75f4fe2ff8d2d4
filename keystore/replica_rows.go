package keystore

import (
	"context"
	"database/sql"
	"slices"

	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

// The columns that a replica copies. The names are the same in the replica, except that of the row.
const (
	replicaAccountColumns = `id, closed_at, suspended_at, limits`
	replicaKeyColumns     = `id, account_id, digest, origin, allow, issuable, issuer_id, created_at, expires_at, deleted_at,
		revoked_at, revoke_from, outlives_issuer, children_revoked_at, suspended_at, limits`
	replicaTokenColumns = `digest, backend, key_id, created_at, expires_at, upstream_key`
	replicaJobColumns   = `backend, id, dialect, account_id, key_id, client, created_at, state, ended_at, upstream_key`

	replicaAccountParameters = 4
	replicaKeyParameters     = 17
	replicaTokenParameters   = 6
)

// replicaPage is how many rows a replica reads at a time. The queries of pages have few different texts.
const replicaPage = 2000

// Pages of the database, for the filling of a replica.
const (
	accountPage = `SELECT ` + replicaAccountColumns + ` FROM accounts WHERE id > $1 ORDER BY id LIMIT $2`
	// keyWindow finds where a page of keys ends.
	keyWindow = `SELECT COALESCE(MAX(r), 0), COUNT(*) FROM (SELECT rowid AS r FROM api_keys WHERE rowid > $1 ORDER BY rowid LIMIT $2) AS w`
	// keyPage leaves out keys that have ended, except those by whose record other keys end.
	keyPage = `SELECT rowid, ` + replicaKeyColumns + ` FROM api_keys WHERE rowid > $1 AND rowid <= $2
		AND (` + firstEnd + ` > $3 OR issuable OR children_revoked_at IS NOT NULL OR revoke_from IS NOT NULL)`

	accountsByID  = `SELECT ` + replicaAccountColumns + ` FROM accounts WHERE id IN (`
	keysByID      = `SELECT rowid, ` + replicaKeyColumns + ` FROM api_keys WHERE id IN (`
	keysByDigests = `SELECT rowid, ` + replicaKeyColumns + ` FROM api_keys WHERE digest IN (`
	tokensOf      = `SELECT ` + replicaTokenColumns + ` FROM tokens WHERE digest IN (`
	jobsByIDs     = `SELECT ` + jobColumns + ` FROM jobs WHERE id IN (`
)

// rawRow is a row as the database has it.
type rawRow []any

// rawScan returns a function that reads rows of so many columns.
func rawScan(columns int) func(scanner) (rawRow, error) {
	return func(row scanner) (rawRow, error) {
		values, to := make(rawRow, columns), make([]any, columns)
		for i := range values {
			to[i] = &values[i]
		}
		if err := row.Scan(to...); err != nil {
			return nil, err
		}
		for i, v := range values {
			if b, ok := v.([]byte); ok {
				values[i] = slices.Clone(b) // the driver may use the memory again
			}
		}
		return values, nil
	}
}

// text returns the text in a column, which some drivers return as bytes.
func (r rawRow) text(column int) string {
	switch v := r[column].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

func (r rawRow) number(column int) int64 {
	n, _ := r[column].(int64)
	return n
}

// inSizes are the numbers of values in a query of in: queries have few different texts.
var inSizes = []int{1, 4, 16, 64, 256, 1024} //nolint:gochecknoglobals // a constant

// in reads the rows that query, which ends with IN (, finds for the values. It reads up to 1024 in one query, because a
// database can be far away.
func in[T, V any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, values []V) (all []T, err error) {
	for part := range slices.Chunk(values, inSizes[len(inSizes)-1]) {
		size, _ := slices.BinarySearch(inSizes, len(part))
		args := make([]any, inSizes[size])
		for i := range args {
			args[i] = part[min(i, len(part)-1)] // the last one again, up to the size
		}
		rows, err := queryRows(ctx, q, scan, query+numbered(1, len(args))+`)`, args...)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// replicaRows are rows for the tables of a replica, and what they take the place of.
type replicaRows struct {
	accounts, keys, tokens []rawRow
	jobs                   []policy.Job

	replacedKeys, replacedTokens, replacedJobs [][]byte // digests: their old rows are removed first
	newest                                     int64    // the highest row of the keys

	jobsBefore, tokensBefore policy.Time // those that were created or have expired before are removed too; 0: none
}

// write writes the rows.
func (r *replicaRows) write(ctx context.Context, tx *sql.Tx) error {
	for _, old := range []struct {
		remove  string
		digests [][]byte
	}{
		{`DELETE FROM api_keys WHERE digest IN (`, r.replacedKeys},
		{`DELETE FROM tokens WHERE digest IN (`, r.replacedTokens},
		{`DELETE FROM jobs WHERE digest IN (`, r.replacedJobs},
	} {
		for _, part := range chunks(old.digests) {
			args := make([]any, len(part))
			for i, d := range part {
				args[i] = d
			}
			if _, err := tx.ExecContext(ctx, old.remove+numbered(1, len(part))+`)`, args...); err != nil {
				return err
			}
		}
	}
	if r.jobsBefore != 0 {
		if _, err := tx.ExecContext(ctx, `DELETE FROM jobs WHERE created_at <= $1`, r.jobsBefore); err != nil {
			return err
		}
	}
	if r.tokensBefore != 0 {
		if _, err := tx.ExecContext(ctx, `DELETE FROM tokens WHERE expires_at <= $1`, r.tokensBefore); err != nil {
			return err
		}
	}
	if err := insertRaw(ctx, tx, `INSERT OR REPLACE INTO accounts (`+replicaAccountColumns+`) VALUES `, r.accounts); err != nil {
		return err
	}
	if err := insertRaw(ctx, tx, `INSERT OR REPLACE INTO api_keys (row, `+replicaKeyColumns+`) VALUES `, r.keys); err != nil {
		return err
	}
	if err := insertRaw(ctx, tx, `INSERT OR REPLACE INTO tokens (`+replicaTokenColumns+`) VALUES `, r.tokens); err != nil {
		return err
	}
	for i := range r.jobs {
		if err := putJob(ctx, tx, &r.jobs[i]); err != nil {
			return err
		}
	}
	return nil
}

// insertRaw inserts rows, many in one statement.
func insertRaw(ctx context.Context, tx *sql.Tx, insert string, rows []rawRow) error {
	return engine.RunEach(ctx, tx, insertParts(insert, rows, ""))
}

// putJob writes a job into a replica.
func putJob(ctx context.Context, tx *sql.Tx, j *policy.Job) error {
	d := jobDigest(j.Backend, j.ID)
	_, err := tx.ExecContext(ctx, insertRows(`INSERT OR REPLACE INTO jobs (digest, `+replicaJobColumns+`) VALUES `, 1+jobParameters, 1),
		d[:], j.Backend, j.ID, j.Dialect, j.AccountID, j.KeyID, addrText(j.Client), j.CreatedAt, j.State.String(), nullTime(j.EndedAt), nullFingerprint(j.UpstreamKey))
	return err
}
