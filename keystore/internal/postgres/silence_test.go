package postgres

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// within fails unless do returns an error after at least half of the limit, and before four times the
// limit and a second: far more than a busy machine needs, and far less than TCP waits.
func within(t *testing.T, what string, limit time.Duration, do func() error) error {
	t.Helper()
	begun := time.Now()
	err := do()
	took := time.Since(begun)
	if err == nil || took < limit/2 || took > 4*limit+time.Second {
		t.Errorf("%s: %v after %s, want an error after %s", what, err, took, limit)
	}
	return err
}

// pair returns the two ends of a TCP connection; the first one fails after so much silence.
func pair(t *testing.T, limit time.Duration) (silent, peer net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dial := limitSilence((&net.Dialer{}).DialContext, limit)
	silent, err = dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = silent.Close(), peer.Close() })
	return silent, peer
}

func TestSilentConn_ReadFailsAfterTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 100 * time.Millisecond
	conn, peer := pair(t, limit)
	buffer := make([]byte, 8)
	for range 3 { // each byte begins the time again
		if _, err := peer.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(buffer); n != 1 || err != nil {
			t.Fatalf("reading what is there: %d, %v", n, err)
		}
	}
	err := within(t, "a silent peer", limit, func() error { _, err := conn.Read(buffer); return err })
	if want := "the PostgreSQL server was silent for 100ms"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	if _, err := peer.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if n, again := conn.Read(buffer); n != 0 || !errors.Is(again, err) {
		t.Errorf("reading a late answer: %d, %v; want the same error", n, again)
	}
	if n, again := conn.Write(buffer); n != 0 || !errors.Is(again, err) {
		t.Errorf("writing after the silence: %d, %v; want the same error", n, again)
	}
}

func TestSilentConn_WriteFailsAfterTheLimit(t *testing.T) {
	t.Parallel()
	const limit = 100 * time.Millisecond
	conn, _ := pair(t, limit)
	_ = within(t, "a peer that reads nothing", limit, func() error {
		for {
			if _, err := conn.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	})
}

// The deadline of the connection's user, by which a context ends a query, counts too, also for a read
// that has begun.
func TestSilentConn_KeepsTheDeadlineOfItsUser(t *testing.T) {
	t.Parallel()
	const long = time.Minute
	for name, set := range map[string]func(net.Conn, time.Time) error{
		"SetDeadline":     net.Conn.SetDeadline,
		"SetReadDeadline": net.Conn.SetReadDeadline,
	} {
		conn, _ := pair(t, long)
		if err := set(conn, time.Now().Add(50*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		err := within(t, name+" before the read", 50*time.Millisecond, func() error { _, err := conn.Read(make([]byte, 1)); return err })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v, want the end of the deadline", name, err)
		}
		if err := set(conn, time.Time{}); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { _, err := conn.Read(make([]byte, 1)); done <- err }()
		timer := time.AfterFunc(50*time.Millisecond, func() { _ = set(conn, time.Unix(1, 0)) })
		_ = within(t, name+" during the read", 50*time.Millisecond, func() error { return <-done })
		timer.Stop()
	}
	conn, _ := pair(t, 50*time.Millisecond)
	if err := conn.SetDeadline(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	_ = within(t, "a deadline after the limit", 50*time.Millisecond, func() error { _, err := conn.Read(make([]byte, 1)); return err })
}

// A server that accepts connections and says nothing is given up after the time for connecting.
func TestOpen_GivesUpASilentServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dsn := "postgres://gateway:s3cret-pa55@" + listener.Addr().String() + "/k?sslmode=disable"
	err = within(t, "opening", connectTimeout, func() error {
		_, err := New(placeOf(t, dsn, ""), true, zap.NewNop()).Open(t.Context(), creating)
		return err
	})
	if err != nil && (!strings.Contains(err.Error(), "cannot be reached") || strings.Contains(err.Error(), "s3cret")) {
		t.Errorf("%q, want that it cannot be reached, and no password", err)
	}
}

// The network stops in the middle. A lookup fails after 2 s and a write after 10 s, and both work when
// the network is back.
func TestQueries_GiveUpASilentServer(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	r := postgrestest.NewRelay(t, dsn)
	opened, err := New(placeOf(t, r.DSN, dsn), true, zap.NewNop()).Open(t.Context(), creating)
	if err != nil {
		t.Fatal(err)
	}
	d := opened.(*database)
	t.Cleanup(func() { _ = d.Close() })
	read := func(q engine.Querier, _ bool) error {
		var n int
		return q.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM feed`).Scan(&n)
	}
	if err := errors.Join(read(d.reader, false), d.Follow(t.Context(), read)); err != nil { // so that both have connections
		t.Fatal(err)
	}
	writing, large := mustBegin(t, d, 0), mustBegin(t, d, engine.Beside)
	r.SetStall(true)
	var all sync.WaitGroup
	for _, c := range []struct {
		what  string
		limit time.Duration
		want  string
		do    func() error
	}{
		{"a read", readSilence, "was silent for 2s", func() error { return read(d.reader, false) }},
		{"following", readSilence, "was silent for 2s", func() error { return d.Follow(t.Context(), read) }},
		{"a write", writeSilence, "was silent for 10s", func() error { _, err := writing.ExecContext(t.Context(), `DELETE FROM feed`); return err }},
		{"a write that is larger than the buffers of the network", writeSilence, "was silent for 10s", func() error {
			_, err := large.ExecContext(t.Context(), `INSERT INTO usage_journal (counts) VALUES ($1)`, make([]byte, 64<<20))
			return err
		}},
		{"a write on a new connection", connectTimeout, "cannot be reached", func() error { _, err := d.Begin(t.Context(), engine.Beside); return err }},
	} {
		all.Go(func() {
			if err := within(t, c.what, c.limit, c.do); err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "gateway")) {
				t.Errorf("%s: %q, want %q, and no user", c.what, err, c.want)
			}
		})
	}
	all.Wait()
	r.SetStall(false)
	testutil.Eventually(t, "reading works again", func() bool { return read(d.reader, false) == nil })
	_, _ = writing.Rollback(), large.Rollback()
	testutil.Eventually(t, "writing works again", func() bool {
		tx, err := d.Begin(t.Context(), 0)
		return err == nil && d.Commit(t.Context(), tx) == nil
	})
	// A context ends a query earlier.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.reader.ExecContext(ctx, `SELECT pg_sleep(60)`); err == nil {
		t.Error("a query has outlived its context")
	}
}
