package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"net"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	readSilence  = 2 * time.Second  // a lookup that takes longer has failed: the answer is then 503
	listSilence  = 30 * time.Second // for sums of the usage of many keys
	writeSilence = 10 * time.Second // also for statements that prune or fold many rows

	// afterSilence is how much later than the connection the server gives up a statement. A server that
	// waits for its synchronous standby and gives up reports the commit as done, although no standby has it:
	// so the connection must have failed before.
	afterSilence = 5 * time.Second

	// lockLimit is how many milliseconds a write waits for a lock, such as that of a restore. It then fails with
	// an error of the server, before the connection is given up as silent: nobody would know then whether
	// the server has committed.
	lockLimit = "2000"

	connIdle = time.Minute      // how long a pool keeps a connection that nobody needs
	connLife = 10 * time.Minute // so that connections come back to the primary after a failover
	// followLife is the same for the connection that follows the changes. When it has found another server,
	// the other connections go there too.
	followLife = time.Minute
)

// pools are the connections to a database.
type pools struct {
	reader  *sql.DB // its transactions are read-only
	lists   *sql.DB // the same, for lists
	follow  *sql.DB // one connection, so that no lookup delays Follow
	reports *sql.DB // one connection, so that the reports of gateways wait for nothing else
	writer  *sql.DB // one connection for the batches, and besides others
	working *sql.DB // for work that takes long: migrations (up to three connections, beside the one of a copy), backups, restores
}

// connect opens the pools. They connect when they are used.
func (e *Engine) connect() pools {
	readers := min(max(8, 4*runtime.GOMAXPROCS(0)), 32)
	// To compile a plan takes some tenths of a second, and the server does so for a list because it does
	// not know that few rows of it are read. A pooler gets no parameters: behind one, plans are compiled
	// unless the role has jit = off.
	readOnly := map[string]string{"default_transaction_read_only": "on", "jit": "off"}
	p := pools{
		reader:  e.pool(e.place.pooled, readers, e.kept(readSilence), readOnly),
		lists:   e.pool(planned(e.place.pooled), lists, e.kept(listSilence), readOnly),
		follow:  e.pool(e.place.pooled, 1, limits{silence: readSilence}, readOnly),
		reports: e.pool(e.place.pooled, 1, e.kept(readSilence), nil),
		writer:  e.pool(e.place.pooled, 1+besides, e.kept(writeSilence), map[string]string{"lock_timeout": lockLimit}),
		working: e.pool(e.place.direct, 4, limits{}, nil),
	}
	p.follow.SetConnMaxLifetime(followLife)
	return p
}

// limits say when connections of a pool are given up.
type limits struct {
	silence time.Duration // after so much silence; zero: never
	kept    *connections  // when the changes come from another server; nil: never
}

func (e *Engine) kept(silence time.Duration) limits { return limits{silence, &e.open} }

// lists is how many lists a process reads at the same time.
const lists = 4

// planned returns a configuration with which the server plans each query for the values of its
// parameters. A plan for any value is wrong for an account with most of the keys: it would sort them.
// Lookups do without, because to plan a query takes longer than a lookup.
func planned(to *pgx.ConnConfig) *pgx.ConnConfig {
	cfg := to.Copy()
	if cfg.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	return cfg
}

// pool returns a pool of up to most connections. The server ends a statement that the
// connection does not wait for any more.
func (e *Engine) pool(to *pgx.ConnConfig, most int, limit limits, params map[string]string) *sql.DB {
	cfg := to.Copy()
	if e.pooler {
		// A pooler gives the statements of a connection to several servers' connections, and
		// knows few parameters.
		if cfg.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
			cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		}
	} else {
		maps.Copy(cfg.RuntimeParams, params)
		if limit.silence > 0 {
			cfg.RuntimeParams["statement_timeout"] = strconv.FormatInt((limit.silence + afterSilence).Milliseconds(), 10)
		}
	}
	if e.opening {
		// A standby is behind, and could show a key that was revoked as one that is not. The check of
		// target_session_attrs=read-write would refuse the pools whose transactions are read-only.
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	cfg.DialFunc = e.dialer(to)
	if limit.silence > 0 {
		cfg.DialFunc = limitSilence(cfg.DialFunc, limit.silence)
	}
	if limit.kept != nil {
		cfg.DialFunc = limit.kept.keep(cfg.DialFunc, &e.silent)
	}
	db := sql.OpenDB(connector{stdlib.GetConnector(*cfg, e.place.withPassword(), stdlib.OptionResetSession(checkUsable),
		stdlib.OptionShouldPing(closedWhileIdle)), e.place})
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxIdleTime(connIdle)
	db.SetConnMaxLifetime(connLife)
	return db
}

// connector makes connections. Its errors do not have the user of the connection string.
type connector struct {
	driver.Connector
	place Place
}

// Connect implements [driver.Connector].
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := c.Connector.Connect(connecting(ctx))
	if err != nil {
		return nil, c.place.adviseLogin(connectError(err))
	}
	conn, ok := made.(*stdlib.Conn)
	if !ok {
		return nil, fmt.Errorf("a connection of the type %T", made)
	}
	return &batchConn{Conn: conn}, nil
}

// connectingKey is in the context of connecting.
type connectingKey struct{}

func connecting(ctx context.Context) context.Context {
	return context.WithValue(ctx, connectingKey{}, true)
}

// dialer returns the dial function of a configuration. If it leads to a pooler, it only dials in the
// contexts of connecting. The client library also dials to cancel the query of a connection that it
// gives up. Behind a pooler, the cancellation can come when another client has the connection to the
// server, so the query goes on until its end.
func (e *Engine) dialer(to *pgx.ConnConfig) pgconn.DialFunc {
	dial := to.DialFunc
	if several(to) {
		dial = e.silent.hurry(dial)
	}
	if !e.pooler || to == e.place.direct && to != e.place.pooled {
		return dial
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if ctx.Value(connectingKey{}) == nil {
			return nil, errors.New("a pooler is asked for no cancellation")
		}
		return dial(ctx, network, address)
	}
}

// findPooler finds out whether there is a pooler between this process and the server: a
// pooler gives its clients numbers of processes that are not those of the server.
func (e *Engine) findPooler(ctx context.Context) error {
	cfg := e.place.pooled.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.DialFunc = limitSilence(e.dialer(e.place.pooled), writeSilence)
	conn, err := e.place.connect(connecting(ctx), cfg)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it has written nothing
	e.pooler, err = isPooled(ctx, conn)
	return err
}

// isPooled reports whether a connection leads to a pooler.
func isPooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var pid uint32
	err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeExec).Scan(&pid)
	return pid != conn.PgConn().PID(), err
}
