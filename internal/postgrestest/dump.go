package postgrestest

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Dump returns all values of all tables of the database of dsn, as text. Letters in binary values are
// letters.
func Dump(t testing.TB, dsn string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	column := func(query string) []string {
		t.Helper()
		rows, err := conn.Query(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		values, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	if _, err := conn.Exec(ctx, `SET bytea_output = 'escape'`); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, table := range column(`SELECT relid::regclass::text FROM pg_stat_user_tables ORDER BY 1`) {
		for _, row := range column(`SELECT row_of::text FROM ` + table + ` AS row_of`) {
			all.WriteString(table + " " + row + "\n")
		}
	}
	return all.String()
}
