package postgres

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// silentConn is a connection whose reads fail if nothing comes for some time. A network that
// drops all packets would otherwise hold a request until TCP gives up, which takes minutes.
type silentConn struct {
	net.Conn
	limit time.Duration

	mu    sync.Mutex
	until time.Time // the deadline that the user of the connection has set
}

// limitSilence returns a dial function whose connections fail after so much silence.
func limitSilence(dial pgconn.DialFunc, limit time.Duration) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &silentConn{Conn: conn, limit: limit}, nil
	}
}

// Read implements [net.Conn].
func (c *silentConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	until := time.Now().Add(c.limit)
	if !c.until.IsZero() && c.until.Before(until) {
		until = c.until
	}
	err := c.Conn.SetReadDeadline(until)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// SetReadDeadline implements [net.Conn]. It also ends a read under way.
func (c *silentConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetReadDeadline(t)
}

// SetDeadline implements [net.Conn].
func (c *silentConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetDeadline(t)
}
