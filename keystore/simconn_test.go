package keystore

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"
)

// The errors of the network and the server of a simulation.
var (
	errSimCut     = errors.New("the connection was cut")
	errSimRefused = errors.New("the server refuses connections")
	errSimSilent  = errors.New("the server was silent for too long")
	errSimBusy    = errors.New("another transaction has the lock")
)

// simPool is what the connections of a pool are for. A read fails after silence, as a
// connection of package postgres does.
type simPool struct {
	name    string
	silence time.Duration
	size    int
}

// The pools of a gateway: those of package postgres.
var (
	simReader = simPool{"reader", 2 * time.Second, 8}
	simFollow = simPool{"follow", 2 * time.Second, 1}
	simWriter = simPool{"writer", 10 * time.Second, 4}
	simListen = simPool{"listen", 2 * time.Second, 1}
)

// simConn is a connection of a gateway to the server. A message takes time, waits while the
// network drops packets, and fails if the connection breaks or is silent for too long.
type simConn struct {
	gateway *simGateway
	pool    simPool
	rng     *rand.Rand // only the goroutine that uses the connection uses it

	dead   chan struct{} // closed when the connection has broken
	once   sync.Once
	broken bool // the user of the connection knows that it has broken
	used   time.Time
}

// simConnector makes the connections of a pool.
type simConnector struct {
	gateway *simGateway
	pool    simPool
}

// Connect implements [driver.Connector].
func (c simConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err // a nil *simConn would be a connection
	}
	return conn, nil
}

func (c simConnector) dial(ctx context.Context) (*simConn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	g := c.gateway
	conn := &simConn{gateway: g, pool: c.pool, rng: g.newRand(c.pool.name), dead: make(chan struct{}), used: time.Now()}
	g.track(conn)
	for range 2 { // the handshakes of TCP and of the server
		if err := conn.roundTrip(ctx, nil); err != nil {
			conn.kill()
			return nil, errSimRefused
		}
		if !g.reachable() {
			conn.kill()
			return nil, errSimRefused
		}
	}
	return conn, nil
}

// Driver implements [driver.Connector].
func (c simConnector) Driver() driver.Driver { return simDriver{c} }

// simDriver is the driver of a connector. Only database/sql uses it.
type simDriver struct{ connector simConnector }

// Open implements [driver.Driver].
func (d simDriver) Open(string) (driver.Conn, error) {
	return d.connector.Connect(context.Background())
}

// hop lets one message pass.
func (c *simConn) hop(ctx context.Context) error {
	silence := time.Now().Add(c.pool.silence)
	wait := c.gateway.delay(c.rng)
	for wait > 0 {
		left := time.Until(silence)
		timer := time.NewTimer(min(wait, left))
		var err error
		select {
		case <-timer.C:
			if left < wait {
				err = errSimSilent
			}
		case <-c.dead:
			err = errSimCut
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		if err != nil {
			c.kill()
			c.broken = true
			return err
		}
		wait = 0
		if until := c.gateway.silentUntil(time.Now()); !until.IsZero() {
			wait = time.Until(until) + c.gateway.delay(c.rng) // TCP sends it again
		}
	}
	return nil
}

// roundTrip sends a message to the server, lets it do something, and waits for the answer.
func (c *simConn) roundTrip(ctx context.Context, do func() error) error {
	if err := c.hop(ctx); err != nil {
		return err
	}
	var result error
	if do != nil {
		result = do()
	}
	if err := c.hop(ctx); err != nil {
		return err
	}
	c.used = time.Now()
	return result
}

// kill breaks the connection. The server ends its transaction when it hears of the end, or after simIdle.
func (c *simConn) kill() {
	c.once.Do(func() {
		close(c.dead)
		c.gateway.forget(c)
		end := func() { c.gateway.sim.server.abort(c) }
		if until := c.gateway.silentUntil(time.Now()); !until.IsZero() {
			time.AfterFunc(time.Until(until), end)
			return
		}
		end()
	})
}

// ResetSession implements [driver.SessionResetter]. As package postgres does, it notices without an exchange that the
// other side has closed a connection that was idle for more than a second.
func (c *simConn) ResetSession(context.Context) error {
	if c.broken || time.Since(c.used) > time.Second && c.closed() {
		return driver.ErrBadConn
	}
	return nil
}

// closed reports whether the gateway has heard that the connection is closed.
func (c *simConn) closed() bool {
	select {
	case <-c.dead:
		return c.gateway.silentUntil(time.Now()).IsZero()
	default:
		return false
	}
}

// IsValid implements [driver.Validator].
func (c *simConn) IsValid() bool { return !c.broken }

// Close implements [driver.Conn].
func (c *simConn) Close() error {
	c.kill()
	return nil
}

// Prepare implements [driver.Conn]. The keystore prepares no statement by itself.
func (*simConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }

// Begin implements [driver.Conn]. database/sql calls BeginTx.
func (*simConn) Begin() (driver.Tx, error) { return nil, errors.ErrUnsupported }

// QueryContext implements [driver.QueryerContext].
func (c *simConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	var rows *simRows
	err := c.roundTrip(ctx, func() (err error) { //nolint:contextcheck // the queries of the rows are not interrupted
		c.gateway.count(c.pool)
		rows, err = c.gateway.sim.server.query(c, query, args)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// ExecContext implements [driver.ExecerContext].
func (c *simConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	err = c.roundTrip(ctx, func() (err error) { //nolint:contextcheck // the statements of the rows are not interrupted
		result, err = c.gateway.sim.server.exec(c, query, args)
		return err
	})
	return result, err
}

// BeginTx implements [driver.ConnBeginTx]. It waits for the lock, as the transactions of package
// postgres do.
func (c *simConn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	err := c.roundTrip(ctx, func() error { return c.gateway.sim.server.begin(ctx, c) })
	if err != nil {
		return nil, err
	}
	return simTx{c}, nil
}

type simTx struct{ conn *simConn }

// Commit implements [driver.Tx].
func (tx simTx) Commit() error {
	return tx.conn.roundTrip(context.Background(), func() error { return tx.conn.gateway.sim.server.commit(tx.conn) })
}

// Rollback implements [driver.Tx].
func (tx simTx) Rollback() error {
	return tx.conn.roundTrip(context.Background(), func() error {
		tx.conn.gateway.sim.server.abort(tx.conn)
		return nil
	})
}

// simRows are the rows of an answer. Several readers may share the values.
type simRows struct {
	columns []string
	values  [][]driver.Value
}

// Columns implements [driver.Rows].
func (r *simRows) Columns() []string { return r.columns }

// Close implements [driver.Rows].
func (*simRows) Close() error { return nil }

// Next implements [driver.Rows].
func (r *simRows) Next(to []driver.Value) error {
	if len(r.values) == 0 {
		return io.EOF
	}
	copy(to, r.values[0])
	r.values = r.values[1:]
	return nil
}
