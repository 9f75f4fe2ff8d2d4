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
}

// tables has all tables, each after the tables to which it refers.
func tables() []table {
	return []table{
		{name: "meta"},
		{name: "accounts", byRow: true},
		{name: "api_keys", byRow: true},
		{name: "last_uses"},
		{name: "jobs", byRow: true},
		{name: "dead_digests"},
		{name: "audit", counter: "seq"},
		{name: "feed", counter: "seq"},
		{name: "tokens"},
		{name: "usage_scopes", counter: "id"},
		{name: "usage_kinds", counter: "id"},
		{name: "usage_hours"},
		{name: "usage_days"},
		{name: "usage_totals"},
		{name: "usage_journal", counter: "id"},
		{name: "usage_fold"},
		{name: "console_users"},
		{name: "console_recovery"},
		{name: "console_sessions"},
		{name: "console_passkeys"},
	}
}

// retired has the columns of SQLite that only servers of an older version use.
var retired = map[string]string{"api_keys": "last_used_at"} //nolint:gochecknoglobals // never changed

// columnsOf returns the columns of a table in the SQLite database lite. The table in PostgreSQL
// has the same: it is an error if it has not.
func columnsOf(ctx context.Context, lite, pg engine.Querier, t table) (columns []string, err error) {
	var of [2][]string
	for i, q := range []engine.Querier{lite, pg} {
		if of[i], err = namesOf(ctx, q, t); err != nil {
			return nil, err
		}
	}
	if !slices.Equal(of[0], of[1]) {
		return nil, fmt.Errorf("the table %s has the columns %v in SQLite, and %v in PostgreSQL", t.name, of[0], of[1])
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
	names = slices.DeleteFunc(names, func(name string) bool { return name == "rowid" || name == retired[t.name] })
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

// rowSource reads the rows of a query. It is a pgx.CopyFromSource.
type rowSource struct {
	rows   *sql.Rows
	values []any
	err    error
}

// readTable returns the rows of a table, whose values are in the order of the columns.
func readTable(ctx context.Context, from engine.Querier, t table, columns []string) (*rowSource, error) {
	rows, err := from.QueryContext(ctx, `SELECT `+strings.Join(columns, `, `)+` FROM `+t.name) //nolint:rowserrcheck // rowSource.Err does
	if err != nil {
		return nil, err
	}
	return &rowSource{rows: rows, values: make([]any, len(columns))}, nil
}

// Next reads the next row, if there is one.
func (s *rowSource) Next() bool {
	if s.err != nil || !s.rows.Next() {
		return false
	}
	pointers := make([]any, len(s.values))
	for i := range s.values {
		pointers[i] = &s.values[i]
	}
	s.err = s.rows.Scan(pointers...)
	return s.err == nil
}

// Values returns the row.
func (s *rowSource) Values() ([]any, error) { return s.values, s.err }

// Err returns the error that has ended the rows.
func (s *rowSource) Err() error { return firstError(s.err, s.rows.Err()) }

func (s *rowSource) close() { _ = s.rows.Close() } // Err returns the error
