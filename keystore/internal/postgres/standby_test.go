package postgres

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// A server that must wait for its standby, and gives up, reports the commit as done. The connection gives
// up before, so that nobody takes the write for done.
func TestCommit_IsNotDoneUntilTheStandbyHasIt(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	d, _ := open(t, dsn, "")
	waitForStandby := func(names string) {
		t.Helper()
		admin, err := pgx.Connect(context.Background(), server.AdminDSN(t, dsn))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = admin.Close(context.Background()) }()
		for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + names + "'", "SELECT pg_reload_conf()"} {
			if _, err := admin.Exec(context.Background(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	waitForStandby("*")
	t.Cleanup(func() { waitForStandby("") })
	const silence = 500 * time.Millisecond
	e := New(placeOf(t, dsn, ""), true, zap.NewNop())
	writer := e.pool(e.place.pooled, 1, silence, nil)
	usual := d.writer
	d.writer = writer
	t.Cleanup(func() { _ = usual.Close() })
	waitFor(t, "the server waits for a standby", func() bool {
		var names string
		err := d.reader.QueryRowContext(t.Context(), `SHOW synchronous_standby_names`).Scan(&names)
		return err == nil && names == "*"
	})
	tx := mustBegin(t, d, 0)
	insertChange(t, tx, "key")
	_ = within(t, "committing without a standby", silence, func() error { return d.Commit(tx) })
}
