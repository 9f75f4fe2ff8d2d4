package keystore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// In PostgreSQL no query for a page reads more than 3,500 rows, or a table with 20,000 rows without an
// index. A query that counts is explained once, for the first of its parameters. The server plans for the
// statistics of the tables, so a page is read as in production, where most keys are those of one account.
func TestLists_PagesReadFewRowsInPostgreSQL(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	f := openStore(t, "", func(c *Config) {
		c.Path, c.Postgres, c.CommandLine = "", &Postgres{DSN: policy.NewSecret(dsn)}, true
	})
	tracer := traceLists(t, f, dsn)
	const mostRows = 3_500 // of all tables together, in one query
	windows := keyWindows{keys: 200, first: 100, labels: 400, few: 100}
	db := connectForPlans(t, dsn)
	fillForPlans(t, db)
	accounts := []string{"", "acc_000", "acc_007"}
	var lists []func() error
	for _, list := range []KeyList{
		{},
		{Status: "revoked"},
		{Status: "active"},
		{UnusedSince: start.Add(-day)},
		{ExpiresBy: start.Add(day)},
		{Label: "no such label"},
		{Bounded: true, Status: "deleted"},
		{Order: OrderLabel},
		{Order: OrderLabel, Status: "revoked"},
		{Order: OrderEnd},
		{Order: OrderEnd, Status: "active"},
		{Order: OrderEnd, Status: "suspended"},
		{Order: OrderUse},
		{Order: OrderUse, Status: "expired"},
		{Search: "device-00"},
		{Search: "vice-0007"},
		{Search: "no such label"},
		{Search: "key_99"},
		{IssuerID: "key_1"},
	} {
		for _, accountID := range accounts {
			for _, newestFirst := range []bool{false, true} {
				list.AccountID, list.NewestFirst, list.Limit, list.Now, list.windows = accountID, newestFirst, 50, start, windows
				lists = append(lists, func() error {
					for range 3 { // the second page begins at a cursor
						_, next, err := f.Keys(t.Context(), list)
						if list.Cursor = next; err != nil || next == "" {
							return err
						}
					}
					return nil
				})
			}
		}
	}
	last := func(_ any, _ string, err error) error { return err }
	only := func(_ any, err error) error { return err }
	for _, accountID := range accounts {
		lists = append(lists,
			func() error {
				return last(f.EndingKeys(t.Context(), EndingList{AccountID: accountID, After: start, By: start.Add(30 * day), Limit: 50}))
			},
			func() error {
				return last(f.Jobs(t.Context(), JobList{AccountID: accountID, Limit: 50, NewestFirst: true}))
			},
			func() error { return only(f.LiveKeys(t.Context(), accountID, start, 100)) })
	}
	lists = append(lists,
		func() error { return last(f.Accounts(t.Context(), AccountList{Limit: 50, NewestFirst: true})) },
		func() error { return last(f.Accounts(t.Context(), AccountList{Limit: 50, Search: "customer 1"})) },
		func() error { return only(f.UnfinishedJobs(t.Context(), "key_77", 10)) },
		func() error { return only(f.LiveChildren(t.Context(), "key_1", start, 10)) },
		func() error { return only(f.Key(t.Context(), "key_77")) })
	for _, read := range lists {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	explained := make(map[string]bool)
	for _, q := range tracer.take() {
		if explained[q.text] && strings.Contains(q.text, "SELECT COUNT") {
			continue
		}
		explained[q.text] = true
		plan, text := explain(t, db, q)
		if rows := plan.rows(); rows > mostRows {
			t.Errorf("a query reads %.0f rows, want %d at most:\n%s\n%v\n%s", rows, mostRows, q.text, q.args, text)
		}
		for _, table := range plan.scanned() {
			if slices.Contains([]string{"api_keys", "last_uses", "jobs"}, table) {
				t.Errorf("a query reads all of %s:\n%s\n%v\n%s", table, q.text, q.args, text)
			}
		}
	}
	if len(explained) < 30 {
		t.Errorf("%d different queries were explained: the lists are not read through the pool that is traced", len(explained))
	}
}

// connectForPlans returns a connection that plans as those of lists do: for the values of the parameters.
func connectForPlans(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	db, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.WithoutCancel(t.Context())) })
	return db
}

// fillForPlans writes 20,000 keys, nine tenths of them in one of 200 accounts, and their uses and jobs.
func fillForPlans(t *testing.T, db *pgx.Conn) {
	t.Helper()
	for _, text := range []string{
		`INSERT INTO accounts (id, name, service_id, spw_digest, created_at)
			SELECT 'acc_' || lpad(n::TEXT, 3, '0'), 'Customer ' || n, n, '', n FROM generate_series(0, 199) AS n`,
		`INSERT INTO api_keys (id, account_id, digest, prefix, origin, label, allow, issuable, issuer_id, created_at, expires_at, revoked_at)
			SELECT 'key_' || n, 'acc_' || CASE WHEN n % 10 = 0 THEN lpad((n / 10 % 200)::TEXT, 3, '0') ELSE '000' END, sha256(n::TEXT::BYTEA), 'sgk_1234',
				CASE n % 3 WHEN 0 THEN 'initial' WHEN 1 THEN 'console' ELSE 'api' END, 'device-' || lpad((n * 7919 % 20011)::TEXT, 5, '0'), '[]', FALSE,
				CASE WHEN n % 30 = 2 THEN 'key_1' WHEN n % 3 = 2 THEN 'key_' || n % 300 END, start + n, CASE WHEN n % 4 > 0 THEN start + (n % 1000 - 500) * 3600000::BIGINT END,
				CASE WHEN n % 5000 = 5 THEN start END FROM generate_series(1, 20000) AS n, CAST(` + fmt.Sprint(int64(start.Add(-90*day))) + ` AS BIGINT) AS start`,
		`INSERT INTO last_uses (digest, at) SELECT digest, created_at FROM api_keys WHERE rowid % 2 = 0`,
		`INSERT INTO jobs (id, backend, dialect, account_id, key_id, client, created_at, state)
			SELECT 'job-' || rowid, 'amivoice', 'amivoice', account_id, id, '', created_at, 'queued' FROM api_keys`,
		`ANALYZE`,
	} {
		if _, err := db.Exec(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// listTracer notes the queries of a pool, without the beginnings and ends of transactions.
type listTracer struct {
	mu      sync.Mutex
	queries []tracedQuery
}

type tracedQuery struct {
	text string
	args []any
}

// TraceQueryStart implements [pgx.QueryTracer].
func (l *listTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasPrefix(q.SQL, "SELECT") {
		l.queries = append(l.queries, tracedQuery{q.SQL, q.Args})
	}
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (*listTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// take returns the queries that were noted.
func (l *listTracer) take() []tracedQuery {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queries
}

// traceLists lets the lists of a store use a pool whose queries are noted. The pool plans as the engine's
// does.
func traceLists(t *testing.T, f fixture, dsn string) *listTracer {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	tracer := new(listTracer)
	cfg.Tracer, cfg.DefaultQueryExecMode = tracer, pgx.QueryExecModeCacheDescribe
	pool := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { _ = pool.Close() })
	f.state.Load().db.lists = pool
	return tracer
}

// planNode is a node of a plan of PostgreSQL.
type planNode struct {
	Type     string     `json:"Node Type"`
	Relation string     `json:"Relation Name"`
	Rows     float64    `json:"Actual Rows"`
	Loops    float64    `json:"Actual Loops"`
	Filtered float64    `json:"Rows Removed by Filter"`
	Rechecks float64    `json:"Rows Removed by Index Recheck"`
	Plans    []planNode `json:"Plans"`
}

// rows returns how many rows the scans of tables and indexes have read.
func (n *planNode) rows() (sum float64) {
	if strings.Contains(n.Type, "Scan") && len(n.Plans) == 0 {
		sum = (n.Rows + n.Filtered + n.Rechecks) * n.Loops
	}
	for i := range n.Plans {
		sum += n.Plans[i].rows()
	}
	return sum
}

// scanned returns the tables that were read without an index.
func (n *planNode) scanned() (tables []string) {
	if n.Type == "Seq Scan" && n.Loops > 0 {
		tables = append(tables, n.Relation)
	}
	for i := range n.Plans {
		tables = append(tables, n.Plans[i].scanned()...)
	}
	return tables
}

// explain runs a query, and returns its plan and the plan's text.
func explain(t *testing.T, db *pgx.Conn, q tracedQuery) (plan planNode, text string) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+q.text, q.args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", q.text, err)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan, text
}
