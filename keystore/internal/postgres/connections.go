package postgres

import (
	"context"
	"crypto/tls"
	"database/sql/driver"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// connections are the open connections of pools, except the one that follows the changes. When that one
// comes to another server, such as a standby that was promoted, the others may still lead to the server
// before. If it is fenced, they are silent, one after the other; if it is not, it shows revoked keys as
// valid.
type connections struct {
	mu   sync.Mutex
	born map[*silentConn]time.Time // when the pool began to dial
	from time.Time                 // connections that were dialed before are given up
}

// otherServerError is a [net.Error], for the reason that silenceError is one.
type otherServerError struct{}

func (otherServerError) Error() string {
	return "the connection led to another PostgreSQL server than the changes come from now"
}
func (otherServerError) Timeout() bool   { return true }
func (otherServerError) Temporary() bool { return false }

// keep returns a dial function whose connections are kept as long as they are open. The connections of dial
// are those of limitSilence.
func (c *connections) keep(dial pgconn.DialFunc, silent *silentServers) pgconn.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		begun := time.Now()
		made, err := dial(ctx, network, address)
		conn, limited := made.(*silentConn)
		if err != nil || !limited {
			return made, err
		}
		conn.ended = func(wasSilent bool) {
			if wasSilent {
				silent.note(address, true)
			}
			c.forget(conn)
		}
		if c.add(conn, begun) {
			return conn, nil
		}
		conn.giveUp(otherServerError{})
		return nil, otherServerError{}
	}
}

// add reports whether a connection that was dialed at an instant is kept.
func (c *connections) add(conn *silentConn, begun time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if begun.Before(c.from) {
		return false
	}
	if c.born == nil {
		c.born = make(map[*silentConn]time.Time)
	}
	c.born[conn] = begun
	return true
}

func (c *connections) forget(conn *silentConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.born, conn)
}

// giveUpBefore closes all connections that were dialed before an instant, also those that are being
// dialed.
func (c *connections) giveUpBefore(instant time.Time) {
	for _, conn := range c.keepFrom(instant) {
		conn.giveUp(otherServerError{})
		c.forget(conn)
	}
}

// keepFrom lets add keep only connections that are dialed from an instant on. It returns those that were dialed before.
func (c *connections) keepFrom(instant time.Time) (old []*silentConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from = instant
	for conn, born := range c.born {
		if born.Before(instant) {
			old = append(old, conn)
		}
	}
	return old
}

// checkUsable makes a pool drop an idle connection that was given up.
func checkUsable(_ context.Context, conn *pgx.Conn) error {
	made := conn.PgConn().Conn()
	if secured, ok := made.(*tls.Conn); ok {
		made = secured.NetConn()
	}
	if c, ok := made.(*silentConn); ok && c.givenUp() {
		return driver.ErrBadConn
	}
	return nil
}

// closedWhileIdle makes a pool drop a connection that the server has closed while the connection was idle. A ping of
// a closed connection fails at once. No other connection is pinged: a ping costs an exchange, and a server that
// has fallen silent does not answer it, so the caller would wait twice. A connection that is broken in another
// way fails with an error for which [Engine.Broken] is true.
func closedWhileIdle(_ context.Context, conn stdlib.ShouldPingParams) bool {
	return conn.IdleDuration > time.Second && conn.Conn.PgConn().CheckConn() != nil //nolint:staticcheck // deprecated in favour of a ping
}
