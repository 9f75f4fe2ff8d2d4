package postgrestest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/internal/testutil"
)

// The modes of PgBouncer: for how long a client keeps a connection to the server.
const (
	Session     = "session"
	Transaction = "transaction"
)

// PgBouncer starts PgBouncer in front of the server, and returns the connection string of the same
// database as dsn through it. PgBouncer stops with the test t. Without PgBouncer on the machine,
// the function does what [Start] does without PostgreSQL.
func (s *Server) PgBouncer(t testing.TB, mode, dsn string) (pooled string) {
	t.Helper()
	pooled, _ = s.startPgBouncer(t, local, mode, dsn)
	return pooled
}

// PgBouncerAt starts PgBouncer as [Server.PgBouncer] does, on all addresses of a machine, such as the
// network namespace of the calling thread. The connection string leads to host. PgBouncer reaches the
// server at the address of dsn, which can also be one that moves to a standby.
func (s *Server) PgBouncerAt(t testing.TB, host, mode, dsn string) (pooled string) {
	t.Helper()
	pooled, _ = s.startPgBouncer(t, host, mode, dsn)
	return pooled
}

func (s *Server) startPgBouncer(t testing.TB, host, mode, dsn string) (pooled string, place *workspace) {
	t.Helper()
	program, err := findPgBouncer()
	if err != nil {
		testutil.Needed(t, err.Error())
	}
	port, err := testutil.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	place, err = newWorkspace("pid", "TERM")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := place.end(); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listen := local
	if host != local {
		listen = "*"
	}
	users, config := filepath.Join(place.path, "users"), filepath.Join(place.path, "pgbouncer.ini")
	for path, text := range map[string]string{
		users: fmt.Sprintf("%q %q\n", role, s.password),
		config: fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = %s
max_client_conn = 400
server_login_retry = 1
server_connect_timeout = 2
logfile = %[7]s/log
pidfile = %[8]s
`, u.Hostname(), u.Port(), listen, port, users, mode, place.path, place.pid),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := place.as.own(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := place.run(program, "-d", config); err != nil {
		t.Fatal(err)
	}
	u.Host = net.JoinHostPort(host, port)
	if err := reachable(u.String()); err != nil {
		log, _ := os.ReadFile(filepath.Join(place.path, "log")) // without a log, the error says what happened
		t.Fatalf("PgBouncer: %v\n%s", err, log)
	}
	return u.String(), place
}

// findPgBouncer finds the program. Debian has it where only root looks.
func findPgBouncer() (string, error) {
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		return path, nil
	}
	if isProgram("/usr/sbin/pgbouncer") {
		return "/usr/sbin/pgbouncer", nil
	}
	return "", lackingError("PgBouncer (pgbouncer on the PATH)")
}

// reachable waits until a connection can be made. PgBouncer, which begins to listen in the
// background, needs some milliseconds.
func reachable(dsn string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, dsn)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}
