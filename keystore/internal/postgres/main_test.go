package postgres

import (
	"context"
	"database/sql"
	"os"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(openerEnv); dsn != "" {
		os.Exit(openWhenTold(dsn))
	}
	goleak.VerifyTestMain(m)
}

func placeOf(t *testing.T, dsn, direct string) Place {
	t.Helper()
	place, err := ParsePlace(dsn, direct)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// creating is the set-up of a server that may make the database.
var creating = engine.Setup{
	Create:  true,
	Prepare: func(context.Context, engine.Database) error { return nil },
}

// open opens the database as a server does, and closes it when the test ends. direct is empty if
// there is no pooler.
func open(t *testing.T, dsn, direct string) (*database, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	opened, err := New(placeOf(t, dsn, direct), false, zap.New(core)).Open(t.Context(), creating)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return opened.(*database), logs
}

// openNew opens a new database on the shared server.
func openNew(t *testing.T) (d *database, dsn string) {
	t.Helper()
	dsn = postgrestest.Start(t).NewDatabase(t)
	d, _ = open(t, dsn, "")
	return d, dsn
}

// insertChange adds an entry to the change feed, and returns its number.
func insertChange(t *testing.T, tx *sql.Tx, ref string) (seq int64) {
	t.Helper()
	if err := tx.QueryRowContext(t.Context(), `INSERT INTO feed (at, kind, ref) VALUES (1, 'key', $1) RETURNING seq`, []byte(ref)).Scan(&seq); err != nil {
		t.Fatal(err)
	}
	return seq
}

func mustBegin(t *testing.T, d *database, mode engine.Mode) *sql.Tx {
	t.Helper()
	tx, err := d.Begin(t.Context(), mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() }) // if the test has failed before its end
	return tx
}

func mustCommit(t *testing.T, d *database, tx *sql.Tx) {
	t.Helper()
	if err := d.Commit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
}

// addChange adds an entry to the change feed in a transaction of its own.
func addChange(t *testing.T, d *database, ref string) {
	t.Helper()
	tx := mustBegin(t, d, 0)
	insertChange(t, tx, ref)
	mustCommit(t, d, tx)
}

// changesAfter returns the numbers of the feed after seq, in their order.
func changesAfter(t *testing.T, q engine.Querier, seq int64) (numbers []int64) {
	t.Helper()
	rows, err := q.QueryContext(t.Context(), `SELECT seq FROM feed WHERE seq > $1 ORDER BY seq`, seq)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return numbers
}
