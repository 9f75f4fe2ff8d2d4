// Package postgrestest starts PostgreSQL servers for tests.
//
//	dsn := postgrestest.Start(t).NewDatabase(t)
//
// A server listens on a free port of 127.0.0.1, and on a socket in a temporary directory of its
// own. PostgreSQL refuses to run as root, so a test of root runs it as the user postgres or nobody.
//
// No server survives the test process, even if the process is killed: a shell waits for the end of
// the process, stops the server and removes its directory.
//
// # Differences to a server in production
//
// The server does not wait for the disk: a killed server loses nothing, a power failure would lose
// everything. [Durable] is the opposite. Texts without a collation of their own are sorted as in US
// English: so a test notices a column or an expression that needs the order of bytes.
package postgrestest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/internal/testutil"
)

// Durable makes a server wait for the disk, as a server in production does.
const Durable = "fsync = on\nfull_page_writes = on\nsynchronous_commit = on"

// role owns the databases of NewDatabase. It is not a superuser.
const role = "gateway"

// replica is the role of a standby on another machine.
const replica = "replica"

// local is the address of servers that are only for this machine.
const local = "127.0.0.1"

// Server is a PostgreSQL server on this machine. Its methods may be called concurrently, except
// Stop, StartAgain, Restart and Promote.
type Server struct {
	*workspace

	programs  programs
	host      string // where connection strings lead
	port      string
	password  string
	primary   *Server // nil, except for a standby
	shared    bool
	stopped   bool
	databases atomic.Int32
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Start returns the server that all tests of this process share. The first call starts it. It stops
// when the process ends. If PostgreSQL is not installed, Start skips the test; if CI is set, it
// fails the test.
func Start(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		if shared.server, shared.err = start(local); shared.err == nil {
			shared.server.shared = true
		}
	})
	return started(t, shared.server, shared.err)
}

// New starts a server that only the test t and its subtests use, and that stops with the test t.
// Settings are lines of postgresql.conf, such as "max_connections = 20". Without PostgreSQL, New
// does what [Start] does.
func New(t testing.TB, settings ...string) *Server { t.Helper(); return NewAt(t, local, settings...) }

// NewAt starts a server as [New] does, which listens on all addresses of the machine, such as the network
// namespace of the calling thread. Connection strings lead to host.
func NewAt(t testing.TB, host string, settings ...string) *Server {
	t.Helper()
	server, err := start(host, settings...)
	server = started(t, server, err)
	t.Cleanup(func() { server.close(t) })
	return server
}

func started(t testing.TB, server *Server, err error) *Server {
	t.Helper()
	var lacking lackingError
	switch {
	case errors.As(err, &lacking):
		testutil.Needed(t, lacking.Error())
	case err != nil:
		t.Fatal(err)
	}
	return server
}

// start makes a database cluster and starts its server.
func start(host string, settings ...string) (_ *Server, err error) {
	s := &Server{host: host, password: rand.Text()}
	if s.programs, err = findPrograms(); err != nil {
		return nil, err
	}
	if s.port, err = testutil.FreePort(); err != nil {
		return nil, err
	}
	if s.workspace, err = newWorkspace("data/postmaster.pid", "QUIT"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.end())
		}
	}()
	if err := s.run(s.programs.initdb, "-D", s.data(), "--no-sync", "-U", "postgres", "--encoding=UTF8",
		"--locale=C", "--locale-provider=icu", "--icu-locale=en-US",
		"--auth-local=trust", "--auth-host=scram-sha-256"); err != nil {
		return nil, err
	}
	if err := s.trustPasswords(); err != nil {
		return nil, err
	}
	if err := s.configure(append([]string{"fsync = off", "full_page_writes = off", "max_connections = 400", "wal_keep_size = 64MB"}, settings...)...); err != nil {
		return nil, err
	}
	if err := s.control("start"); err != nil {
		return nil, err
	}
	if err := s.exec(`CREATE ROLE ` + role + ` LOGIN PASSWORD '` + s.password + `'; CREATE ROLE ` + replica + ` LOGIN REPLICATION PASSWORD '` + s.password + `'`); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.path, "data") }
func (s *Server) log() string  { return filepath.Join(s.path, "log") }

// trustPasswords lets every address in that has a password. initdb lets this machine in.
func (s *Server) trustPasswords() error {
	if s.host == local {
		return nil
	}
	file, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString("host all all all scram-sha-256\nhost replication " + replica + " all scram-sha-256\n")
	return errors.Join(err, file.Close())
}

// configure adds lines to the configuration of the server, which must not run.
func (s *Server) configure(settings ...string) error {
	file, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	addresses := local
	if s.host != local {
		addresses = "*"
	}
	_, err = fmt.Fprintf(file, "\nlisten_addresses = '%s'\nport = %s\nunix_socket_directories = '%s'\n%s\n", addresses, s.port, s.path, strings.Join(settings, "\n"))
	return errors.Join(err, file.Close())
}

// control runs pg_ctl, which waits until the server has done what the action says.
func (s *Server) control(action string, args ...string) error {
	err := s.run(s.programs.control, append([]string{action, "-D", s.data(), "-l", s.log(), "-s", "-w", "-t", "60"}, args...)...)
	if err != nil {
		return fmt.Errorf("%w\nthe server's log:\n%s", err, s.readLog())
	}
	return nil
}

// NewDatabase makes an empty database, which goes with the test t, and returns its connection
// string. The user of the connection string owns the database, and is not a superuser.
func (s *Server) NewDatabase(t testing.TB) (dsn string) {
	t.Helper()
	name := fmt.Sprintf("test%d", s.databases.Add(1))
	if err := s.exec(`CREATE DATABASE ` + name + ` OWNER ` + role + ` TEMPLATE template0`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.stopped {
			return // the database goes with the server
		}
		if err := s.exec(`DROP DATABASE IF EXISTS ` + name + ` WITH (FORCE)`); err != nil {
			t.Error(err)
		}
	})
	return s.dsn(role, name)
}

// dsn returns the connection string of a database.
func (s *Server) dsn(as, database string) string {
	return (&url.URL{
		Scheme: "postgres", User: url.UserPassword(as, s.password), Host: net.JoinHostPort(s.host, s.port),
		Path: database, RawQuery: "sslmode=disable",
	}).String()
}

// Password returns the password in the server's connection strings. Tests look for it where no
// password may be.
func (s *Server) Password() string { return s.password }

// DSN returns the connection string of the same database as dsn, on this server.
func (s *Server) DSN(t testing.TB, dsn string) string {
	t.Helper()
	return s.dsn(role, databaseOf(t, dsn))
}

// AdminDSN returns a connection string with which a superuser reaches the database of dsn through
// the server's socket.
func (s *Server) AdminDSN(t testing.TB, dsn string) string {
	t.Helper()
	return s.admin(databaseOf(t, dsn))
}

func (s *Server) admin(database string) string {
	return "host=" + s.path + " port=" + s.port + " user=postgres dbname=" + database
}

func databaseOf(t testing.TB, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// Refuse lets nobody connect to the database of dsn, and ends all connections to it.
func (s *Server) Refuse(t testing.TB, dsn string) {
	t.Helper()
	name := databaseOf(t, dsn)
	if err := s.exec(`ALTER DATABASE ` + name + ` ALLOW_CONNECTIONS false`); err != nil {
		t.Fatal(err)
	}
	if err := s.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '` + name + `'`); err != nil {
		t.Fatal(err)
	}
}

// Connections returns how many connections there are to the database of dsn.
func (s *Server) Connections(t testing.TB, dsn string) (count int) {
	t.Helper()
	err := s.connected(func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = $1`, databaseOf(t, dsn)).Scan(&count)
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// Rename gives the database of dsn the name in another connection string, and ends all connections to it.
func (s *Server) Rename(t testing.TB, dsn, to string) {
	t.Helper()
	s.Refuse(t, dsn)
	before, after := databaseOf(t, dsn), databaseOf(t, to)
	if err := s.exec(`ALTER DATABASE ` + before + ` RENAME TO ` + after); err != nil {
		t.Fatal(err)
	}
	if err := s.exec(`ALTER DATABASE ` + after + ` ALLOW_CONNECTIONS true`); err != nil {
		t.Fatal(err)
	}
}

// exec runs statements as a superuser.
func (s *Server) exec(statements string) error {
	return s.connected(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, statements)
		return err
	})
}

// connected calls use with a superuser's connection to the database postgres.
func (s *Server) connected(use func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.admin("postgres"))
	if err != nil {
		return err
	}
	return errors.Join(use(ctx, conn), conn.Close(ctx))
}

// Stop stops the server as a crash does: every connection breaks at once, and the next start
// recovers the data. A committed transaction is still there after it.
func (s *Server) Stop(t testing.TB) { t.Helper(); s.stop(t, "immediate") }

// StartAgain starts a stopped server, on the same port.
func (s *Server) StartAgain(t testing.TB) {
	t.Helper()
	if err := s.control("start"); err != nil {
		t.Fatal(err)
	}
	s.stopped = false
}

// Restart stops the server as an administrator does, and starts it. Every connection breaks.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.stop(t, "fast")
	s.StartAgain(t)
}

func (s *Server) stop(t testing.TB, mode string) {
	t.Helper()
	if s.shared {
		t.Fatal("other tests use this server: want one of postgrestest.New")
	}
	if err := s.control("stop", "-m", mode); err != nil {
		t.Fatal(err)
	}
	s.stopped = true
}

// close stops the server and removes its directory.
func (s *Server) close(t testing.TB) {
	t.Helper()
	s.stopped = true
	if err := s.end(); err != nil {
		t.Error(err)
	}
}

// Logs returns what the server has logged.
func (s *Server) Logs(t testing.TB) string {
	t.Helper()
	log, err := os.ReadFile(s.log())
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// readLog returns the end of the log for an error; empty if there is no log.
func (s *Server) readLog() string {
	log, _ := os.ReadFile(s.log()) // without a log, the error of the program says what happened
	lines := bytes.SplitAfter(log, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], nil))
}
