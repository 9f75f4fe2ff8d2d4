package postgres

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

const (
	logDeaf  = "no notifications of the change feed come: the feed is read every 100 ms instead"
	logHears = "notifications of the change feed come again"
)

func told(logs *observer.ObservedLogs, message string) int {
	return logs.FilterMessage(message).Len()
}

// drain takes a signal of the listener that is there already.
func drain(d *database) {
	select {
	case <-d.Wake():
	default:
	}
}

// wantWoken fails if the database does not wake within a second, which is before the next look at
// the feed without a notification.
func wantWoken(t *testing.T, d *database) {
	t.Helper()
	select {
	case <-d.Wake():
	case <-time.After(pollHeard):
		t.Error("no notification wakes the reader of the feed")
	}
}

func TestListener_WakesForEachCommit(t *testing.T) {
	t.Parallel()
	reader, dsn := openNew(t)
	writer, _ := open(t, dsn, "")
	if got := reader.Period(); got != pollHeard {
		t.Errorf("the feed is read every %s, want %s", got, pollHeard)
	}
	drain(reader)
	for range 3 {
		addChange(t, writer, "wake")
		wantWoken(t, reader)
	}
	tx := mustBegin(t, writer, 0)
	insertChange(t, tx, "rolled back")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	addChange(t, writer, "wake")
	wantWoken(t, reader)
	select {
	case <-reader.Wake():
		t.Error("a transaction that was rolled back has woken the reader, or one commit has woken it twice")
	default:
	}
}

func TestListener_CommandLineHasNone(t *testing.T) {
	t.Parallel()
	_, dsn := openNew(t)
	opened, err := New(placeOf(t, dsn, ""), true, zap.NewNop()).Open(t.Context(), creating)
	if err != nil {
		t.Fatal(err)
	}
	if opened.Wake() != nil || opened.Period() != pollDeaf {
		t.Errorf("a command line listens, or reads the feed every %s", opened.Period())
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
}

// A pooler in transaction mode accepts LISTEN, and gives the notifications to nobody. The other modes,
// and a direct connection beside the pooler, are as good as no pooler.
func TestListener_NoticesAPoolerThatLosesNotifications(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	for _, c := range []struct {
		name, mode string
		direct     bool
		hears      bool
	}{
		{"transaction mode", postgrestest.Transaction, false, false},
		{"transaction mode, and a direct connection", postgrestest.Transaction, true, true},
		{"session mode", postgrestest.Session, false, true},
		{"session mode, and a direct connection", postgrestest.Session, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dsn := server.NewDatabase(t)
			writer, _ := open(t, dsn, "")
			r, direct := postgrestest.NewRelay(t, server.PgBouncer(t, c.mode, dsn)), ""
			if c.direct {
				direct = dsn
			}
			reader, logs := open(t, r.DSN, direct)
			if !reader.engine.pooler || writer.engine.pooler {
				t.Errorf("a pooler is found: %t with PgBouncer, %t without", reader.engine.pooler, writer.engine.pooler)
			}
			want := pollDeaf
			if c.hears {
				want = pollHeard
			}
			if got := reader.Period(); got != want {
				t.Errorf("the feed is read every %s, want %s", got, want)
			}
			if !c.hears {
				if n := told(logs, logDeaf); n != 1 {
					t.Errorf("the log says it %d times, want once: %v", n, logs.All())
				}
				if why := logs.FilterMessage(logDeaf).All()[0].ContextMap()["error"]; why != errDeaf.Error() {
					t.Errorf("the log says %q, want %q", why, errDeaf)
				}
				before := r.Dialed.Load()
				testutil.Eventually(t, "the listener tries again", func() bool { return r.Dialed.Load() > before+1 })
				if n := told(logs, logDeaf); n != 1 || reader.Period() != pollDeaf {
					t.Errorf("after the second try the log has said it %d times, and the feed is read every %s", n, reader.Period())
				}
				return
			}
			drain(reader)
			addChange(t, writer, "wake")
			wantWoken(t, reader)
			if n := logs.Len(); n != 0 {
				t.Errorf("the log has %d lines: %v", n, logs.All())
			}
		})
	}
}

// After a restart of the server, the listener hears again, and wakes the reader for what it has missed.
func TestListener_HearsAgainAfterARestart(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	reader, logs := open(t, dsn, "")
	writer, _ := open(t, dsn, "")
	var seen int64
	for _, restart := range []func(){
		func() { server.Restart(t) },
		func() { server.Stop(t); server.StartAgain(t) },
	} {
		logs.TakeAll()
		drain(reader)
		restart()
		testutil.Eventually(t, "the listener notices", func() bool { return told(logs, logDeaf) == 1 })
		testutil.Eventually(t, "another process writes", func() bool {
			tx, err := writer.Begin(t.Context(), 0)
			if err != nil {
				return false
			}
			insertChange(t, tx, "missed")
			mustCommit(t, writer, tx)
			return true
		})
		testutil.Eventually(t, "the listener hears again", func() bool { return reader.Period() == pollHeard })
		wantWoken(t, reader)
		if n := told(logs, logHears); n != 1 {
			t.Errorf("the log says %d times that the listener hears again: %v", n, logs.All())
		}
		var missed []int64
		err := reader.Follow(t.Context(), func(q engine.Querier, _ bool) error {
			missed = changesAfter(t, q, seen)
			return nil
		})
		if err != nil || len(missed) != 1 {
			t.Errorf("then the reader finds the changes %v, %v; want one", missed, err)
		}
		seen = last(missed)
	}
}

// While the server is away, the listener tries less and less often.
func TestListener_BacksOff(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	r := postgrestest.NewRelay(t, dsn)
	reader, logs := open(t, dsn, r.DSN)
	r.SetRefuse(true)
	before := r.Dialed.Load()
	begun := time.Now()
	r.BreakAll()
	// The client library dials a second time for each connection that breaks, to cancel its query.
	testutil.Eventually(t, "the listener tries five times", func() bool { return r.Dialed.Load() > before+2*5 })
	// At least the half of each pause: 50, 100, 200, 400 and 800 ms.
	if took := time.Since(begun); took < 1550*time.Millisecond {
		t.Errorf("five tries took %s only", took)
	}
	if n := told(logs, logDeaf); n != 1 {
		t.Errorf("the log says %d times that the listener is deaf, want once", n)
	}
	r.SetRefuse(false)
	testutil.Eventually(t, "the listener hears again", func() bool { return reader.Period() == pollHeard })
}

// A network that drops everything breaks no connection. The listener notices by its probes.
func TestListener_NoticesASilentNetwork(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	r := postgrestest.NewRelay(t, dsn)
	reader, logs := open(t, dsn, r.DSN)
	if reader.Period() != pollHeard {
		t.Fatal("the listener does not hear")
	}
	r.SetStall(true)
	testutil.Eventually(t, "the listener notices", func() bool { return reader.Period() == pollDeaf })
	if entries := logs.FilterMessage(logDeaf).All(); len(entries) != 1 || entries[0].ContextMap()["error"] != errNoReply.Error() {
		t.Errorf("the log says of the deaf listener %v, want once %q", entries, errNoReply)
	}
	r.SetStall(false)
	testutil.Eventually(t, "the listener hears again", func() bool { return reader.Period() == pollHeard })
}

// Closing does not wait for a server that says nothing.
func TestListener_StopsWhileItConnects(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	r := postgrestest.NewRelay(t, dsn)
	opened, err := New(placeOf(t, dsn, r.DSN), false, zap.NewNop()).Open(t.Context(), creating)
	if err != nil {
		t.Fatal(err)
	}
	before := r.Dialed.Load()
	r.SetStall(true)
	r.BreakAll()
	testutil.Eventually(t, "the listener connects", func() bool { return r.Dialed.Load() > before })
	begun := time.Now()
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > connectTimeout/2 {
		t.Errorf("closing took %s", took)
	}
}

// Some poolers end by a request to cancel a query, which the client library sends when a context ends.
func TestPooler_IsNotAskedToCancel(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	for _, c := range []struct {
		name, dsn string
		want      int64 // connections
	}{
		{"a pooler", server.PgBouncer(t, postgrestest.Transaction, dsn), 1},
		{"a server", dsn, 2},
	} {
		r := postgrestest.NewRelay(t, c.dsn)
		opened, err := New(placeOf(t, r.DSN, dsn), true, zap.NewNop()).Open(t.Context(), creating)
		if err != nil {
			t.Fatal(err)
		}
		d := opened.(*database)
		t.Cleanup(func() { _ = d.Close() })
		read := func(ctx context.Context, statement string) error {
			_, err := d.follow.ExecContext(ctx, statement)
			return err
		}
		if err := read(t.Context(), `SELECT 1`); err != nil {
			t.Fatal(err)
		}
		before := r.Dialed.Load()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := read(ctx, `SELECT pg_sleep(1)`); err == nil {
			t.Errorf("%s: a query has outlived its context", c.name)
		}
		cancel()
		if err := read(t.Context(), `SELECT 1`); err != nil {
			t.Errorf("%s: the next query: %v", c.name, err)
		}
		testutil.Eventually(t, c.name+": the connections are made", func() bool { return r.Dialed.Load() >= before+c.want })
		if got := r.Dialed.Load() - before; got != c.want {
			t.Errorf("%s: %d connections, want %d", c.name, got, c.want)
		}
	}
}
