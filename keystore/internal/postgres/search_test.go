package postgres

import (
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// A search gives up a query that takes too long. The connection goes on, and its later queries have the
// time that they had before, also behind a pooler.
func TestSearch_GivesUpASlowQuery(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	owner, _ := open(t, dsn, "")
	for _, statement := range []string{`CREATE EXTENSION pg_trgm`, `CREATE INDEX ` + SearchIndex + ` ON api_keys USING gin (lower(label) gin_trgm_ops) WHERE label <> ''`} {
		if _, err := owner.working.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for name, pooled := range map[string]string{"direct": dsn, "behind a pooler": server.PgBouncer(t, postgrestest.Transaction, dsn)} {
		d, _ := open(t, pooled, dsn)
		d.lists.SetMaxOpenConns(1)
		run := func(limit time.Duration, query string) (done bool, err error) {
			return d.Search(t.Context(), limit, func(q engine.Querier) error {
				rows, err := q.QueryContext(t.Context(), query)
				if err != nil {
					return err
				}
				defer func() { _ = rows.Close() }() // rows.Err returns the error
				for rows.Next() {
				}
				return rows.Err()
			})
		}
		begun := time.Now()
		if done, err := run(time.Millisecond, `SELECT pg_sleep(60)`); done || err != nil || time.Since(begun) > 30*time.Second {
			t.Errorf("%s: a slow query: done %t, %v, after %s; want neither", name, done, err, time.Since(begun))
		}
		var slept string
		if err := d.lists.QueryRowContext(t.Context(), `SELECT pg_sleep(0.05)::TEXT`).Scan(&slept); err != nil {
			t.Errorf("%s: a query that takes longer, afterwards: %v", name, err)
		}
		if done, err := run(time.Minute, `SELECT 1`); !done || err != nil {
			t.Errorf("%s: a quick query: done %t, %v", name, done, err)
		}
		if done, err := run(time.Minute, `SELECT nothing`); done || !hasCode(err, "42703") {
			t.Errorf("%s: a wrong query: done %t, %v; want its error", name, done, err)
		}
		if done, err := run(time.Minute, `DELETE FROM api_keys`); done || !hasCode(err, codeReadOnly) {
			t.Errorf("%s: a write: done %t, %v; want an error", name, done, err)
		}
	}
}
