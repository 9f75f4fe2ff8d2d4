package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// table is a table that both engines have.
type table struct {
	name string
	// byRow is true if the order of the rows is kept: in the column rowid here, and in the row's
	// number in SQLite.
	byRow bool
	// counter is the column whose numbers are never used twice; empty if the table has no such column.
	counter string
	// key has the columns by which rows are told apart and sorted, such as "kind, id".
	key string
	// name of a row in messages, where key says little: such as "id".
	label string
	// copied is the condition on the rows that are copied; empty if all rows are.
	copied string
}

// from returns the clause FROM of a query for the rows that are copied.
func (t table) from() string {
	if t.copied == "" {
		return ` FROM ` + t.name
	}
	return ` FROM ` + t.name + ` WHERE ` + t.copied
}

// tables has all tables, each after the tables to which it refers. The last ones change most often:
// a copy that goes on after an interruption begins again at the first table that has changed.
func tables() []table {
	return []table{
		{name: "meta", key: "name", copied: `name NOT LIKE 'timeline %'`}, // they are of one server
		{name: "accounts", byRow: true, key: "rowid", label: "id"},
		{name: "api_keys", byRow: true, key: "rowid", label: "id"},
		{name: "jobs", byRow: true, key: "rowid, id, backend", label: "id, backend"},
		{name: "dead_digests", key: "digest"},
		{name: "audit", counter: "seq", key: "seq"},
		{name: "feed", counter: "seq", key: "seq"},
		{name: "tokens", key: "digest, backend"},
		{name: "console_users", key: "kind, id"},
		{name: "console_recovery", key: "kind, id, digest"},
		{name: "console_passkeys", key: "credential"},
		{name: "console_sessions", key: "digest"},
		{name: "usage_scopes", counter: "id", key: "id"},
		{name: "usage_kinds", counter: "id", key: "id"},
		{name: "usage_days", key: "day, scope, kind"},
		{name: "usage_hours", key: "hour, scope, kind"},
		{name: "usage_totals", key: "scope, kind"},
		{name: "usage_fold", key: "upto, done"},
		{name: "usage_journal", counter: "id", key: "id"},
		{name: "last_uses", key: "digest"},
	}
}

// retired has the columns of SQLite that only servers of an older version use.
var retired = map[string]string{"api_keys": "last_used_at"} //nolint:gochecknoglobals // never changed

// columnsOf returns the columns of a table in the database from. The database to has the same: it
// is an error if it has not.
func columnsOf(ctx context.Context, from, to engine.Querier, t table) (columns []string, err error) {
	var of [2][]string
	for i, q := range []engine.Querier{from, to} {
		if of[i], err = namesOf(ctx, q, t); err != nil {
			return nil, err
		}
	}
	if !slices.Equal(of[0], of[1]) {
		return nil, fmt.Errorf("it has the columns %v in the one database, and %v in the other", of[0], of[1])
	}
	columns = of[0]
	if t.byRow {
		columns = append(columns, "rowid")
	}
	return columns, nil
}

// namesOf returns the names of the columns of a table, sorted.
func namesOf(ctx context.Context, q engine.Querier, t table) ([]string, error) {
	rows, err := q.QueryContext(ctx, `SELECT * FROM `+t.name+` LIMIT 0`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // it has no row
	names, err := rows.Columns()
	if err := firstError(err, rows.Err()); err != nil {
		return nil, err
	}
	// The driver of SQLite returns the same slice for a statement that it keeps.
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == "rowid" || name == retired[t.name] })
	slices.Sort(names)
	return names, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// rowSource has the rows of a query. It is an [engine.Rows].
type rowSource struct {
	rows     *sql.Rows
	values   []any
	pointers []any // to values
	err      error
}

// readTable returns the rows of a table that are copied, whose values are in the order of the columns. The order of
// the rows is empty, or as in table.key.
func readTable(ctx context.Context, from engine.Querier, t table, columns []string, order string) (*rowSource, error) {
	query := `SELECT ` + strings.Join(columns, `, `) + t.from()
	if order != "" {
		query += ` ORDER BY ` + order
	}
	rows, err := from.QueryContext(ctx, query) //nolint:rowserrcheck // rowSource.Err does
	if err != nil {
		return nil, err
	}
	s := &rowSource{rows: rows, values: make([]any, len(columns)), pointers: make([]any, len(columns))}
	for i := range s.values {
		s.pointers[i] = &s.values[i]
	}
	return s, nil
}

// Next implements [engine.Rows].
func (s *rowSource) Next() bool {
	if s.err != nil || !s.rows.Next() {
		return false
	}
	s.err = s.rows.Scan(s.pointers...)
	return s.err == nil
}

// Values implements [engine.Rows].
func (s *rowSource) Values() ([]any, error) { return s.values, s.err }

// Err implements [engine.Rows].
func (s *rowSource) Err() error { return firstError(s.err, s.rows.Err()) }

func (s *rowSource) close() { _ = s.rows.Close() } // Err returns the error
