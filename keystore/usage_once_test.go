package keystore

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// cutter is a TCP proxy in front of a PostgreSQL server that breaks one connection at a commit.
type cutter struct {
	dsn      string // through the proxy
	server   string
	listener net.Listener

	mu    sync.Mutex
	cut   cut
	broke int // connections
}

type cut uint8

const (
	cutNothing cut = iota
	cutAnswer      // the server commits, and its answer is lost
	cutCommit      // the commit is lost on its way to the server
)

func newCutter(t *testing.T, dsn string) *cutter {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{server: u.Host}
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	u.Host = c.listener.Addr().String()
	c.dsn = u.String()
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := c.listener.Accept()
			if err != nil {
				return // the test has ended
			}
			running.Go(func() { c.pass(client) })
		}
	})
	t.Cleanup(func() {
		_ = c.listener.Close()
		running.Wait() // the store is closed by now, and all its connections
	})
	return c
}

func (c *cutter) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	var inserted bool // rows in the transaction: its commit comes next
	var mu sync.Mutex
	var both sync.WaitGroup
	both.Go(func() {
		c.copy(client, server, func(answer []byte) bool {
			mu.Lock()
			defer mu.Unlock()
			inserted = bytes.Contains(answer, []byte("INSERT 0 "))
			return bytes.Contains(answer, []byte("COMMIT\x00")) && c.take(cutAnswer)
		})
	})
	both.Go(func() {
		c.copy(server, client, func([]byte) bool {
			mu.Lock()
			defer mu.Unlock()
			return inserted && c.take(cutCommit)
		})
	})
	both.Wait()
}

// take reports whether this is the cut that the test waits for, which comes once.
func (c *cutter) take(at cut) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut != at {
		return false
	}
	c.cut = cutNothing
	c.broke++
	return true
}

// arm lets the proxy break the next connection at this point.
func (c *cutter) arm(at cut) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = at
}

func (c *cutter) broken() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broke
}

// copy passes bytes on until one side ends, or until drop says of some that they are lost.
func (*cutter) copy(to, from net.Conn, drop func([]byte) bool) {
	buffer := make([]byte, 1<<20)
	for {
		n, err := from.Read(buffer)
		if n > 0 && drop(buffer[:n]) {
			break
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
}

// Usage counts once, whether a commit or its answer was lost when the connection broke.
func TestUsage_IsCountedOnceIfAConnectionBreaks(t *testing.T) {
	t.Parallel()
	for _, keys := range []int{1, 2 * usageFew, journalCells + usageFew} { // in the tables, in a row of the journal, in two
		for _, at := range []cut{cutAnswer, cutCommit} {
			c := newCutter(t, postgrestest.Start(t).NewDatabase(t))
			f := openStore(t, "", inPostgres(c.dsn), commandLine)
			f.countEach(keys)
			f.usage.flush(t.Context()) // the connections are there, and have used the statements
			f.countEach(keys)
			c.arm(at)
			f.usage.flush(t.Context())
			if f.usage.unsure.name == "" || c.broken() != 1 {
				t.Errorf("%d keys, cut %d: nothing is unsure after %d connections that broke", keys, at, c.broken())
			}
			f.countEach(keys)
			f.usage.flush(t.Context())
			if got := f.sumOf(UsageList{}).Requests; got != 3*int64(keys) || f.usage.unsure.name != "" {
				t.Errorf("%d keys, cut %d: %d requests, want %d", keys, at, got, 3*keys)
			}
		}
	}
}

// A write that has failed is not unsure: its counters are written again. While the database cannot say whether
// unsure counters were written, they stay so, and no others are written.
func TestUsage_IsUnsureOnlyAfterACommit(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	f := openStore(t, "", inPostgres(dsn), commandLine)
	db := rawDB(t, dsn)
	mustExec(t, db, `ALTER TABLE usage_hours RENAME TO usage_hours_away`)
	f.countEach(1)
	if f.usage.flush(t.Context()); f.usage.unsure.name != "" {
		t.Error("a write that was refused is unsure")
	}
	mustExec(t, db, `ALTER TABLE usage_hours_away RENAME TO usage_hours`)
	if f.usage.flush(t.Context()); f.sumOf(UsageList{}).Requests != 1 {
		t.Errorf("%d requests, want 1", f.sumOf(UsageList{}).Requests)
	}

	f.countEach(2)
	f.usage.unsure = unsureUsage{f.usage.take(), "9223372036854775807"} // of a server whose transactions a promotion has lost
	server.Stop(t)
	f.countEach(1)
	if f.usage.flush(t.Context()); f.usage.unsure.name == "" {
		t.Error("counters are sure while the database is away")
	}
	server.StartAgain(t)
	f.usage.flush(t.Context())
	if got := f.sumOf(UsageList{}).Requests; got != 4 {
		t.Errorf("%d requests, want 4: what a promotion has lost is written again", got)
	}
}
