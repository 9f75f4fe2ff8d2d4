package postgrestest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/internal/testutil"
)

// Standby starts a standby of the server: a server that follows it, and that can be read. The
// standby has the databases, the user and the password of its primary. It stops with the test t.
func (s *Server) Standby(t testing.TB) *Server {
	t.Helper()
	port, err := testutil.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	place, err := newWorkspace("data/postmaster.pid", "QUIT")
	if err != nil {
		t.Fatal(err)
	}
	return s.follow(t, &Server{workspace: place, programs: s.programs, host: local, port: port, password: s.password, primary: s}, s.admin("postgres"))
}

// StandbyAt starts a standby as [Server.Standby] does, on another machine than its primary, which is one
// of [NewAt]: the standby follows over the network, and has the port of its primary.
func (s *Server) StandbyAt(t testing.TB, host string) *Server {
	t.Helper()
	place, err := newWorkspace("data/postmaster.pid", "QUIT")
	if err != nil {
		t.Fatal(err)
	}
	return s.follow(t, &Server{workspace: place, programs: s.programs, host: host, port: s.port, password: s.password, primary: s}, s.dsn(replica, ""))
}

// follow makes a standby follow the server, which it reaches with a connection string.
func (s *Server) follow(t testing.TB, standby *Server, dsn string) *Server {
	t.Helper()
	t.Cleanup(func() { standby.close(t) })
	if err := standby.run(s.programs.baseBackup, "-D", standby.data(), "-d", dsn, "-R", "-X", "stream", "-c", "fast", "--no-sync"); err != nil {
		t.Fatal(err)
	}
	if err := standby.configure(); err != nil {
		t.Fatal(err)
	}
	if err := standby.control("start"); err != nil {
		t.Fatal(err)
	}
	return standby
}

// CatchUp waits until a standby has all that its primary has committed so far.
func (s *Server) CatchUp(t testing.TB) {
	t.Helper()
	var position string
	err := s.primary.connected(func(ctx context.Context, conn *pgx.Conn) error {
		// The commit of a message makes the primary send all that is in its log before the message. Without
		// it, a primary at rest keeps what no commit has flushed until its next checkpoint.
		return conn.QueryRow(ctx, `SELECT pg_logical_emit_message(TRUE, 'postgrestest', '')::text`).Scan(&position)
	})
	if err == nil {
		err = s.connected(func(ctx context.Context, conn *pgx.Conn) error {
			for {
				var there bool
				if err := conn.QueryRow(ctx, `SELECT COALESCE(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, FALSE)`, position).Scan(&there); err != nil || there {
					return err
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	if err != nil {
		t.Fatalf("the standby has not caught up: %v", err)
	}
}

// Promote makes a standby a primary, which can be written.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	if err := s.control("promote"); err != nil {
		t.Fatal(err)
	}
}
