package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
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
	writer := e.pool(e.place.pooled, 1, limits{silence: silence}, nil)
	usual := d.writer
	d.writer = writer
	t.Cleanup(func() { _ = usual.Close() })
	testutil.Eventually(t, "the server waits for a standby", func() bool {
		var names string
		err := d.reader.QueryRowContext(t.Context(), `SHOW synchronous_standby_names`).Scan(&names)
		return err == nil && names == "*"
	})
	tx := mustBegin(t, d, 0)
	insertChange(t, tx, "key")
	_ = within(t, "committing without a standby", silence, func() error { return d.Commit(t.Context(), tx) })
}

// After a failover, the old primary can still be there: what it shows is old, and what it takes is lost. When
// the changes come from the new one, no connection leads to the old one any more.
func TestFollow_LeavesTheOldPrimary(t *testing.T) {
	t.Parallel()
	old := postgrestest.New(t)
	dsn := old.NewDatabase(t)
	r := postgrestest.NewRelay(t, dsn) // the address of the primary, which moves
	d, _ := open(t, r.DSN, dsn)
	standby := old.Standby(t)
	standby.CatchUp(t)
	follow := func() error { return d.Follow(t.Context(), func(engine.Querier, bool) error { return nil }) }
	begunAt := func() (at string) {
		t.Helper()
		if err := d.reader.QueryRowContext(t.Context(), `SELECT CAST(pg_postmaster_start_time() AS TEXT)`).Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	if err := follow(); err != nil {
		t.Fatal(err)
	}
	before, writing := begunAt(), mustBegin(t, d, engine.Beside)

	standby.Promote(t)
	written := make(chan error, 1)
	go func() {
		_, err := writing.ExecContext(context.Background(), `SELECT pg_sleep(60)`)
		written <- err
	}()
	u, err := url.Parse(standby.DSN(t, dsn))
	if err != nil {
		t.Fatal(err)
	}
	r.SetTarget(u.Host)
	if err := follow(); err != nil {
		t.Fatal(err)
	}
	if begunAt() != before {
		t.Fatal("a connection has left the old primary, although nothing says that there is another one")
	}
	d.follow.SetMaxIdleConns(0) // its connection has come to its age
	testutil.Eventually(t, "the changes come from the new primary", func() bool { return follow() == nil && d.server != before })
	if begunAt() == before {
		t.Error("a lookup reads the old primary")
	}
	if err, want := <-written, (otherServerError{}); !errors.Is(err, want) {
		t.Errorf("a write at the old primary: %v, want %q", err, want)
	}
}

// Two standbys that were promoted apart write timelines with the same number. A record that was read at one
// of them can be another one at the other. A restart of a server undoes nothing.
func TestFollow_TellsStandbysApartThatWerePromotedApart(t *testing.T) {
	t.Parallel()
	primary := postgrestest.New(t)
	dsn := primary.NewDatabase(t)
	r := postgrestest.NewRelay(t, dsn)
	d, _ := open(t, r.DSN, dsn)
	standbys := []*postgrestest.Server{primary.Standby(t), primary.Standby(t)}
	for _, standby := range standbys {
		standby.CatchUp(t)
		standby.Promote(t)
	}
	primary.Stop(t)
	var timelines []string
	undone := func() (undone bool) {
		t.Helper()
		testutil.Eventually(t, "the changes are read", func() bool {
			return d.Follow(t.Context(), func(_ engine.Querier, u bool) error { undone = u; return nil }) == nil
		})
		number, _, _ := strings.Cut(d.timeline, " ")
		timelines = append(timelines, number)
		return undone
	}
	goTo := func(server *postgrestest.Server) {
		t.Helper()
		u, err := url.Parse(server.DSN(t, dsn))
		if err != nil {
			t.Fatal(err)
		}
		r.SetTarget(u.Host)
		r.BreakAll()
	}
	for i, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"to the first standby", func() { goTo(standbys[0]) }, true},
		{"nothing has happened", func() {}, false},
		{"to the second one", func() { goTo(standbys[1]) }, true},
		{"the second one restarts", func() { standbys[1].Restart(t) }, false},
		{"back to the first one", func() { goTo(standbys[0]) }, true},
	} {
		step.do()
		if got := undone(); got != step.want {
			t.Errorf("step %d, %s: undone is %t, want %t", i, step.what, got, step.want)
		}
	}
	if slices.Sort(timelines); timelines[0] != timelines[len(timelines)-1] {
		t.Errorf("the standbys write the timelines %q: want one number", timelines)
	}
}

// Without the right to write, a gateway cannot give a timeline a name. It then takes each start of the server
// for another timeline.
func TestFollow_WithoutANameARestartUndoesChanges(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	d, _ := open(t, dsn, "")
	exec := func(statement string) {
		t.Helper()
		testutil.Eventually(t, statement, func() bool { // the first connection can be one of before the restart
			_, err := d.working.ExecContext(t.Context(), statement)
			return err == nil
		})
	}
	exec(`CREATE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the disk is full' USING ERRCODE = '53100'; END $$`)
	exec(`CREATE TRIGGER full_disk BEFORE INSERT ON meta FOR EACH ROW EXECUTE FUNCTION refuse()`)
	exec(`DELETE FROM meta WHERE name LIKE 'timeline %'`)
	for i, step := range []struct {
		what string
		do   func()
		want bool
	}{
		{"the name is lost", func() {}, true},
		{"nothing has happened", func() {}, false},
		{"the server restarts", func() { server.Restart(t) }, true},
		{"the disk has space again", func() { exec(`DROP TRIGGER full_disk ON meta`) }, true},
		{"nothing has happened", func() {}, false},
		{"the server restarts again", func() { server.Restart(t) }, false},
	} {
		step.do()
		var undone bool
		testutil.Eventually(t, "the changes are read", func() bool {
			return d.Follow(t.Context(), func(_ engine.Querier, u bool) error { undone = u; return nil }) == nil
		})
		if undone != step.want {
			t.Errorf("step %d, %s: undone is %t, want %t", i, step.what, undone, step.want)
		}
	}
}

// A transaction whose connection has ended between two statements begins again on another connection.
func TestBroken_IsAConnectionThatEndedInATransaction(t *testing.T) {
	t.Parallel()
	d, _ := open(t, postgrestest.Start(t).NewDatabase(t), "")
	tx, err := d.writer.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	end := func() error {
		_, err := tx.ExecContext(t.Context(), `SELECT pg_terminate_backend(pg_backend_pid())`)
		return err
	}
	if err := end(); !d.engine.Broken(err) {
		t.Errorf("the statement that the server ends: %v", err)
	}
	if err := end(); !errors.Is(err, driver.ErrBadConn) || !d.engine.Broken(err) {
		t.Errorf("the next one: %v", err)
	}
	again, err := d.Begin(t.Context(), 0)
	if err != nil {
		t.Fatalf("another transaction: %v", err)
	}
	_ = again.Rollback()
}
