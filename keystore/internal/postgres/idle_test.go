package postgres

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// After a connection was idle for more than a second, a pool notices without an exchange that the server has closed it. If the
// server is silent, a statement waits once.
func TestPools_AnIdleConnection(t *testing.T) {
	t.Parallel()
	r := postgrestest.NewRelay(t, postgrestest.Start(t).NewDatabase(t))
	opened, err := New(placeOf(t, r.DSN, ""), true, zap.NewNop()).Open(t.Context(), creating)
	if err != nil {
		t.Fatal(err)
	}
	d := opened.(*database)
	t.Cleanup(func() { _ = d.Close() })
	pools := map[string]*sql.DB{"reader": d.reader, "lists": d.lists, "follow": d.follow, "reports": d.reports, "writer": d.writer, "working": d.working}
	ask := func(pool *sql.DB) error {
		var one int
		return pool.QueryRowContext(t.Context(), `SELECT 1`).Scan(&one)
	}
	useAll := func(what string) {
		t.Helper()
		for name, pool := range pools {
			if err := ask(pool); err != nil {
				t.Errorf("%s %s: %v", name, what, err)
			}
		}
		used := time.Now()
		testutil.Eventually(t, "the connections are idle for more than a second", func() bool { return time.Since(used) > 1100*time.Millisecond })
	}
	useAll("at first")
	before := r.Dialed.Load()
	useAll("with the same connections")
	if n := r.Dialed.Load() - before; n != 0 {
		t.Errorf("%d connections that work were replaced", n)
	}
	r.BreakAll()
	useAll("after the server has closed the connections")

	r.SetStall(true)
	defer r.SetStall(false)
	err = within(t, "a read", readSilence, func() error { return ask(d.reader) })
	if want := "was silent for 2s"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// A pool does not notice that a server has forgotten a connection, such as when its machine was reset. The statement
// then fails with an error after which the keystore tries again.
func TestPools_AConnectionThatTheServerHasForgotten(t *testing.T) {
	t.Parallel()
	r := postgrestest.NewRelay(t, postgrestest.Start(t).NewDatabase(t))
	e := New(placeOf(t, r.DSN, ""), true, zap.NewNop())
	opened, err := e.Open(t.Context(), creating)
	if err != nil {
		t.Fatal(err)
	}
	d := opened.(*database)
	t.Cleanup(func() { _ = d.Close() })
	read := func() error {
		var n int
		return d.reader.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM feed`).Scan(&n)
	}
	alone := func() error {
		_, err := d.Alone(t.Context(), `SELECT 1`, nil, func(engine.Row) error { return nil })
		return err
	}
	for name, do := range map[string]func() error{"a read": read, "a write": alone} {
		testutil.Eventually(t, name+" fails", func() bool {
			if do() != nil {
				return false // the other one has broken this connection too
			}
			r.BreakAll() // the connection was used just now: the pool does not look at it
			err := do()
			if err != nil && !e.Broken(err) {
				t.Fatalf("%s: %v, want an error that is Broken", name, err)
			}
			return err != nil // otherwise the pool has looked: the connection was new, or the test was slow
		})
	}
}
