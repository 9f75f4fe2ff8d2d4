package postgres

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
)

// After a failover, the first server of the connection string can be one that never answers. A lookup
// comes to the second one while it has time.
func TestSilentServers_ASilentServerDoesNotKeepFromTheNext(t *testing.T) {
	t.Parallel()
	const first = "192.0.2.1:5432"
	u, err := url.Parse(postgrestest.Start(t).NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Host = first + "," + u.Host
	place := placeOf(t, u.String(), "")
	var tried atomic.Int64
	place.pooled.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == first {
			tried.Add(1)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	opened, err := New(place, true, zap.NewNop()).Open(t.Context(), creating)
	if err != nil {
		t.Fatal(err)
	}
	d := opened.(*database)
	t.Cleanup(func() { _ = d.Close() })
	d.reader.SetMaxIdleConns(0) // each of its queries connects
	for range 3 {
		before, begun := tried.Load(), time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), connectTimeout-50*time.Millisecond)
		var one int
		err := d.reader.QueryRowContext(ctx, `SELECT 1`).Scan(&one)
		cancel()
		if err != nil {
			t.Errorf("a lookup after %s: %v", time.Since(begun), err)
		}
		if tried.Load() == before {
			t.Error("the first server is not tried any more: it could not come back")
		}
	}
}

// A server that accepts connections and is silent, such as one whose disk hangs, keeps nobody from the next
// one either. When it answers again, it has all the time that it needs.
func TestSilentServers_AServerThatOnlyAcceptsDoesNotKeepFromTheNext(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	r := postgrestest.NewRelay(t, dsn)
	u, err := url.Parse(r.DSN)
	if err != nil {
		t.Fatal(err)
	}
	second, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host += "," + second.Host
	r.SetStall(true)
	opened, err := New(placeOf(t, u.String(), ""), true, zap.NewNop()).Open(t.Context(), creating)
	if err != nil {
		t.Fatal(err)
	}
	d := opened.(*database)
	t.Cleanup(func() { _ = d.Close() })
	d.reader.SetMaxIdleConns(0) // each of its queries connects
	lookUp := func() {
		t.Helper()
		before, begun := r.Dialed.Load(), time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), connectTimeout-50*time.Millisecond)
		defer cancel()
		var one int
		if err := d.reader.QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
			t.Errorf("a lookup after %s: %v", time.Since(begun), err)
		}
		if r.Dialed.Load() == before {
			t.Error("the first server is not tried any more: it could not come back")
		}
	}
	for range 3 {
		lookUp()
	}
	r.SetStall(false)
	testutil.Eventually(t, "the first server counts again", func() bool { lookUp(); return !d.engine.silent.wasSilent(u.Host[:len(u.Host)-len(second.Host)-1]) })
}

func TestSilentServers_RemembersSilenceUntilAnAnswer(t *testing.T) {
	t.Parallel()
	var r silentServers
	var answer error
	var given time.Duration
	dial := r.hurry(func(ctx context.Context, _, _ string) (net.Conn, error) {
		until, _ := ctx.Deadline()
		given = time.Until(until)
		if answer == nil {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, answer
	})
	try := func(patience time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, _ = dial(ctx, "tcp", "a")
	}
	for _, step := range []struct {
		what     string
		patience time.Duration
		answer   error
		hurries  bool
	}{
		{"the first time", 10 * time.Millisecond, nil, false},
		{"after silence", time.Minute, errors.New("connection refused"), true},
		{"after an answer", time.Minute, errors.New("connection refused"), false},
	} {
		answer = step.answer
		try(step.patience)
		if hurries := given <= silentDial && step.patience > silentDial; hurries != step.hurries {
			t.Errorf("%s: the server has %s to answer", step.what, given)
		}
	}
}
