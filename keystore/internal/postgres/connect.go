package postgres

import (
	"context"
	"database/sql"
	"maps"
	"runtime"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	readSilence  = 2 * time.Second  // a lookup that takes longer has failed: the answer is then 503
	writeSilence = 10 * time.Second // also for statements that prune or fold many rows

	connIdle = time.Minute      // how long a pool keeps a connection that nobody needs
	connLife = 10 * time.Minute // so that connections come back to the primary after a failover
)

// pools are the connections to a database.
type pools struct {
	reader  *sql.DB // its transactions are read-only
	follow  *sql.DB // one connection, so that no lookup delays Follow
	writer  *sql.DB // one connection for the batches, and besides others
	working *sql.DB // for work that takes long: migrations, backups, restores
}

// connect opens the pools. They connect when they are used.
func (e *Engine) connect() pools {
	readers := min(max(8, 4*runtime.GOMAXPROCS(0)), 32)
	readOnly := map[string]string{"default_transaction_read_only": "on"}
	return pools{
		reader:  e.pool(e.place.pooled, readers, readSilence, readOnly),
		follow:  e.pool(e.place.pooled, 1, readSilence, readOnly),
		writer:  e.pool(e.place.pooled, 1+besides, writeSilence, nil),
		working: e.pool(e.place.direct, 2, 0, nil),
	}
}

// pool returns a pool of up to most connections. The server ends a statement that the
// connection does not wait for any more.
func (e *Engine) pool(to *pgx.ConnConfig, most int, silence time.Duration, params map[string]string) *sql.DB {
	cfg := to.Copy()
	if e.pooler {
		// A pooler gives the statements of a connection to several servers' connections, and
		// knows few parameters.
		if cfg.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
			cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		}
	} else {
		maps.Copy(cfg.RuntimeParams, params)
		if silence > 0 {
			cfg.RuntimeParams["statement_timeout"] = strconv.FormatInt(silence.Milliseconds(), 10)
		}
	}
	if silence > 0 {
		cfg.DialFunc = limitSilence(cfg.DialFunc, silence)
	}
	db := stdlib.OpenDB(*cfg, e.place.withPassword())
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxIdleTime(connIdle)
	db.SetConnMaxLifetime(connLife)
	return db
}

// findPooler finds out whether there is a pooler between this process and the server: a
// pooler gives its clients numbers of processes that are not those of the server.
func (e *Engine) findPooler(ctx context.Context) error {
	cfg := e.place.pooled.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.DialFunc = limitSilence(cfg.DialFunc, writeSilence)
	conn, err := e.place.connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // it has written nothing
	var pid uint32
	if err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		return err
	}
	e.pooler = pid != conn.PgConn().PID()
	return nil
}
