package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// silentConn is a connection whose reads fail if nothing comes for some time, and whose writes fail
// if the other side takes nothing for some time. A network that drops all packets, or a server that
// has stopped, would otherwise hold a request until TCP gives up, which takes minutes. A connection
// that was silent for too long is closed: its answers would come too late.
type silentConn struct {
	net.Conn
	limit time.Duration

	ended func(silent bool) // called when the connection is closed, and whether it was silent

	mu          sync.Mutex
	read, write time.Time // the deadlines that the user of the connection has set
	silent      error     // was silent for too long, or given up for another reason
}

// silenceError says for how long a server was silent. It is a [net.Error].
type silenceError time.Duration

func (e silenceError) Error() string {
	return fmt.Sprintf("the PostgreSQL server was silent for %s", time.Duration(e))
}

// Timeout makes the client library read again. So it gets this error again, and not its own error
// for a closed connection, which would say that the statement was not sent and can be repeated.
func (silenceError) Timeout() bool   { return true }
func (silenceError) Temporary() bool { return false }

// writeChunk is how many bytes a write may give to the connection until it has more time.
const writeChunk = 64 << 10

// limitSilence returns a dial function whose connections fail after so much silence.
func limitSilence(dial pgconn.DialFunc, limit time.Duration) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &silentConn{Conn: conn, limit: limit, ended: func(bool) {}}, nil
	}
}

// limited reads or writes with a deadline: the end of the limit, or the user's deadline if that is
// earlier. set is the function that sets the deadline.
func (c *silentConn) limited(do func([]byte) (int, error), b []byte, user *time.Time, set func(time.Time) error) (int, error) {
	if err := c.begin(user, set); err != nil {
		return 0, err
	}
	n, err := do(b)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = c.end(user, err)
	case errors.Is(err, net.ErrClosed):
		c.mu.Lock()
		defer c.mu.Unlock()
		err = cmp.Or(c.silent, err)
	}
	return n, err
}

func (c *silentConn) begin(user *time.Time, set func(time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent != nil {
		return c.silent
	}
	until := time.Now().Add(c.limit)
	if !user.IsZero() && user.Before(until) {
		until = *user
	}
	return set(until)
}

// end returns err if the deadline of the user has come. Otherwise it closes the connection, and
// returns that it was silent.
func (c *silentConn) end(user *time.Time, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !user.IsZero() && !user.After(time.Now()) {
		return err
	}
	c.silent = silenceError(c.limit)
	_ = c.Conn.Close() // nothing can be done about an error
	c.ended(true)
	return c.silent
}

// giveUp closes the connection. Reads and writes, also those under way, return the error.
func (c *silentConn) giveUp(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silent == nil {
		c.silent = err
	}
	_ = c.Conn.Close() // nothing can be done about an error
}

// givenUp reports whether the connection was silent or given up.
func (c *silentConn) givenUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.silent != nil
}

// Close implements [net.Conn].
func (c *silentConn) Close() error {
	c.ended(false)
	if c.givenUp() {
		return nil // it is closed already
	}
	return c.Conn.Close()
}

// Read implements [net.Conn].
func (c *silentConn) Read(b []byte) (int, error) {
	return c.limited(c.Conn.Read, b, &c.read, c.Conn.SetReadDeadline)
}

// Write implements [net.Conn].
func (c *silentConn) Write(b []byte) (written int, err error) {
	for {
		n, err := c.limited(c.Conn.Write, b[written:min(written+writeChunk, len(b))], &c.write, c.Conn.SetWriteDeadline)
		written += n
		if err != nil || written == len(b) {
			return written, err
		}
	}
}

// SetReadDeadline implements [net.Conn]. It also ends a read under way.
func (c *silentConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements [net.Conn]. It also ends a write under way.
func (c *silentConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements [net.Conn]. It also ends a read and a write under way.
func (c *silentConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read, c.write = t, t
	return c.Conn.SetDeadline(t)
}
