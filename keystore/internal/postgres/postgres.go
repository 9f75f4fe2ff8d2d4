// Package postgres is the keystore's engine for PostgreSQL: the tables are in one
// database, which the gateways of many machines share.
//
// # Transactions
//
// Transactions that write run one after another, as SQLite's do: Begin takes an advisory
// lock, which ends with the transaction. So the numbers of the change feed and of the audit
// trail follow the order of the commits. Without the lock, a number is handed out before the
// commit, and a reader that has seen number 8 would never look for number 7, which is
// committed later.
//
// # Connections
//
// The pools for reads and writes may go through a pooler, such as PgBouncer in transaction
// mode. LISTEN, migrations, backups and restores use the direct connection string.
//
// Reads from the network fail after some silence, see silentConn. The keystore then answers
// as for any database that cannot be read.
//
// # Names
//
// The tables are in the first schema of the connection's search_path, which is public
// unless the database, the role or the connection string says otherwise.
package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/keystore/internal/engine"
)

var (
	_ engine.Engine   = (*Engine)(nil)
	_ engine.Database = (*database)(nil)
)

// Engine opens the keystore in a PostgreSQL database.
type Engine struct {
	place       Place
	commandLine bool
	log         *zap.Logger
	opening     bool // by Open: the connections must lead to the primary
	pooler      bool // found by Open: a pooler is between this process and the server
	silent      silentServers
	open        connections
}

// New returns the engine for a database. A command line opens the database for one
// command, and does not call Follow.
func New(place Place, commandLine bool, log *zap.Logger) *Engine {
	return &Engine{place: place, commandLine: commandLine, log: log}
}

// Open implements [engine.Engine].
func (e *Engine) Open(ctx context.Context, setup engine.Setup) (_ engine.Database, err error) {
	if err := e.findPooler(ctx); err != nil {
		return nil, connectError(err)
	}
	e.opening = true
	d := &database{engine: e, pools: e.connect()}
	defer func() {
		if err != nil {
			_ = d.Close() // err says more
		}
	}()
	if err := d.checkDirect(ctx); err != nil {
		return nil, err
	}
	if err := d.migrate(ctx, setup); err != nil {
		return nil, err
	}
	if err := d.readID(ctx); err != nil {
		return nil, err
	}
	first, err := serverOf(ctx, d.reader)
	if err == nil {
		first, err = d.named(ctx, d.reader, first)
	}
	if err != nil {
		return nil, err
	}
	d.server, d.timeline = first.begun, first.timeline()
	if err := setup.Prepare(ctx, d); err != nil {
		return nil, err
	}
	if !e.commandLine {
		d.startListening(ctx)
	}
	return d, nil
}

// CheckAccess implements [engine.Engine]. Who can read and write the database is for the
// server to decide.
func (*Engine) CheckAccess() (readable []string, err error) { return nil, nil }

// Busy implements [engine.Engine].
func (*Engine) Busy(err error) bool {
	return hasCode(err, codeLockNotAvailable, codeDeadlock, codeSerialization)
}

// Broken implements [engine.Engine].
func (*Engine) Broken(err error) bool {
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return false // the server is away
	}
	return hasCode(err, codeAdminShutdown, codeCrashShutdown) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, otherServerError{}) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Full implements [engine.Engine]. A full disk of the server is never Full: this process
// cannot give any of its space back.
func (*Engine) Full(error) bool { return false }

// Advise implements [engine.Engine].
func (*Engine) Advise(err error) error { return advise(err) }

// Unstorable implements [engine.Engine]. PostgreSQL keeps no text with a zero byte, or with
// bytes that are no UTF-8.
func (*Engine) Unstorable(err error) bool { return hasCode(err, codeBadText) }

// texts has what differs:
//   - SQLite avoids a slow path by (SELECT $1), and PostgreSQL does not know the type of such a
//     parameter, nor of one in VALUES. These parameters are digests.
//   - The tables of an attached copy are temporary tables.
var texts = strings.NewReplacer( //nolint:gochecknoglobals // never changed
	"(SELECT $1)", "$1", "(SELECT $2)", "$2",
	"(VALUES ($1)", "(VALUES (CAST($1 AS BYTEA))",
	"backup.", "backup_",
)

// Text implements [engine.Engine].
func (*Engine) Text(query string) string { return texts.Replace(query) }

// besides is how many transactions of this process write at the same time.
const besides = 3

// Beside implements [engine.Engine].
func (*Engine) Beside() int { return besides }
