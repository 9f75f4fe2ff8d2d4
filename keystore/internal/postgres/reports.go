package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// reports are the reports of gateways, in an unlogged table: they cost no flush of the log, no
// standby has them, and a crash of the server loses them.
type reports struct{ *database }

// databaseNow is the time of the database in milliseconds since 1970, also within a transaction.
const databaseNow = `CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`

// Statements that write have the version of this program as their last parameter, for check_program.
const (
	sendReport = `INSERT INTO gateway_reports (gateway, number, at, body)
		SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), ` + databaseNow + `, CAST($3 AS BYTEA) WHERE check_program($4)
		ON CONFLICT (gateway, number) DO NOTHING`
	// $3 has the numbers that were seen, by gateway.
	receiveReports = `SELECT gateway, number, now - at, body FROM gateway_reports, (SELECT ` + databaseNow + ` AS now) AS clock
		WHERE at >= now - CAST($1 AS BIGINT) AND gateway <> $2 AND number > COALESCE(CAST(CAST($3 AS JSONB) ->> gateway AS BIGINT), 0)
		ORDER BY gateway, number`
	// Several gateways sweep at the same time: none waits for a row of another one.
	sweepReports = `DELETE FROM gateway_reports WHERE (SELECT check_program($2)) AND (gateway, number) IN (SELECT gateway, number FROM gateway_reports
		WHERE at < ` + databaseNow + ` - CAST($1 AS BIGINT) FOR UPDATE SKIP LOCKED)`
)

// Send implements [engine.Reports].
func (r reports) Send(ctx context.Context, gateway string, number int64, body []byte) error {
	_, err := r.reports.ExecContext(ctx, sendReport, gateway, number, body, engine.SchemaVersion)
	if r.engine.Broken(err) {
		_, err = r.reports.ExecContext(ctx, sendReport, gateway, number, body, engine.SchemaVersion) // on a new connection
	}
	return orTooOld(err)
}

// Receive implements [engine.Reports].
func (r reports) Receive(ctx context.Context, gateway string, span time.Duration, seen map[string]int64) (all []engine.Report, err error) {
	numbers, err := json.Marshal(seen)
	if err != nil {
		return nil, err
	}
	rows, err := r.reports.QueryContext(ctx, receiveReports, span.Milliseconds(), gateway, string(numbers))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err returns the error
	for rows.Next() {
		var report engine.Report
		var age int64
		if err := rows.Scan(&report.Gateway, &report.Number, &age, &report.Body); err != nil {
			return nil, err
		}
		report.Age = time.Duration(age) * time.Millisecond
		all = append(all, report)
	}
	return all, rows.Err()
}

// Sweep implements [engine.Reports].
func (r reports) Sweep(ctx context.Context, kept time.Duration) error {
	_, err := r.reports.ExecContext(ctx, sweepReports, kept.Milliseconds(), engine.SchemaVersion)
	return orTooOld(err)
}
