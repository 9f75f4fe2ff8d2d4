//go:build unix

package postgrestest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/speechgate/speechgate/internal/testutil"
)

// abandonedEnv makes the test process start servers and wait to be killed.
const abandonedEnv = "SPEECHGATE_TEST_ABANDONED_SERVERS"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func mustExec(t *testing.T, conn *pgx.Conn, statement string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func query[T any](t *testing.T, conn *pgx.Conn, statement string) (v T) {
	t.Helper()
	// A pooler does not keep a prepared statement for its client.
	if err := conn.QueryRow(t.Context(), statement, pgx.QueryExecModeExec).Scan(&v); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return v
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != code {
		t.Errorf("error %v, want one with the code %s", err, code)
	}
}

func TestNewDatabase_IsEmptyAndGoesWithItsTest(t *testing.T) { //nolint:tparallel // the database goes with the subtest
	t.Parallel()
	server := Start(t)
	whole := t
	var first string
	t.Run("first", func(t *testing.T) {
		first = server.NewDatabase(t)
		conn := connect(whole, first) // still open when the database goes
		mustExec(t, conn, `CREATE TABLE words (word TEXT)`)
		mustExec(t, conn, `INSERT INTO words VALUES ('one'), ('two')`)
		if n := query[int](t, conn, `SELECT count(*) FROM words`); n != 2 {
			t.Errorf("%d words, want 2", n)
		}
		second := connect(t, server.NewDatabase(t))
		if n := query[int](t, second, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); n != 0 {
			t.Errorf("a new database has %d tables", n)
		}
	})
	_, err := pgx.Connect(t.Context(), first)
	wantCode(t, err, "3D000") // there is no such database
}

func TestNewDatabase_PsqlReadsIt(t *testing.T) {
	t.Parallel()
	dsn := Start(t).NewDatabase(t)
	psql, err := exec.LookPath("psql")
	if err != nil {
		testutil.Needed(t, "psql on the PATH")
	}
	conn := connect(t, dsn)
	mustExec(t, conn, `CREATE TABLE words AS SELECT 'hello' AS word`)
	out, err := exec.CommandContext(t.Context(), psql, "-At", "-c", `SELECT word FROM words`, dsn).CombinedOutput()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("psql: %v, %q", err, out)
	}
}

// A gateway in production is not a superuser either, and its database rarely has the collation C.
func TestNewDatabase_IsLikeOneInProduction(t *testing.T) {
	t.Parallel()
	server := Start(t)
	dsn := server.NewDatabase(t)
	conn := connect(t, dsn)
	if query[bool](t, conn, `SELECT usesuper FROM pg_user WHERE usename = current_user`) {
		t.Error("the user is a superuser")
	}
	if !query[bool](t, conn, `SELECT 'a' < 'B'`) {
		t.Error("texts are sorted by their bytes")
	}
	if encoding := query[string](t, conn, `SHOW server_encoding`); encoding != "UTF8" {
		t.Errorf("the encoding is %s", encoding)
	}
	if !query[bool](t, connect(t, server.AdminDSN(t, dsn)), `SELECT usesuper FROM pg_user WHERE usename = current_user`) {
		t.Error("the user of AdminDSN is not a superuser")
	}
	wrong, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	wrong.Password += "x"
	_, err = pgx.ConnectConfig(t.Context(), wrong)
	wantCode(t, err, "28P01")
}

func TestNew_TakesSettings(t *testing.T) {
	t.Parallel()
	quick, durable := Start(t), New(t, Durable, "max_connections = 7")
	for _, c := range []struct {
		server      *Server
		name, value string
	}{
		{quick, "fsync", "off"},
		{quick, "full_page_writes", "off"},
		{durable, "fsync", "on"},
		{durable, "full_page_writes", "on"},
		{durable, "synchronous_commit", "on"},
		{durable, "max_connections", "7"},
	} {
		if got := query[string](t, connect(t, c.server.AdminDSN(t, c.server.dsn(role, "postgres"))), `SHOW `+c.name); got != c.value {
			t.Errorf("%s is %s, want %s", c.name, got, c.value)
		}
	}
}

func TestStart_SharesOneServer(t *testing.T) {
	t.Parallel()
	one, two := Start(t), Start(t)
	if one != two {
		t.Error("two calls of Start have started two servers")
	}
	if own := New(t); own.port == one.port || own.path == one.path {
		t.Errorf("a server of New has the port %s and the directory %s of the shared one", own.port, own.path)
	}
}

func TestStart_ServerCannotBeStopped(t *testing.T) {
	t.Parallel()
	server := Start(t)
	for name, stop := range map[string]func(testing.TB){"Stop": server.Stop, "Restart": server.Restart} {
		var refused failure
		func() {
			defer func() { _ = recover() }()
			stop(&refused)
		}()
		if !strings.Contains(refused.said, "want one of postgrestest.New") {
			t.Errorf("%s of the shared server: %q", name, refused.said)
		}
	}
}

// failure is a test that fails, which it records.
type failure struct {
	testing.TB
	said string
}

func (*failure) Helper()          {}
func (f *failure) Fatal(a ...any) { f.said = fmt.Sprint(a...); panic(f) }

func TestServers_AtOnceDoNotCollide(t *testing.T) {
	t.Parallel()
	_ = Start(t) // skips without PostgreSQL
	const count = 3
	results := make(chan string, count)
	for n := range count {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			server := New(t)
			conn := connect(t, server.NewDatabase(t))
			mustExec(t, conn, `CREATE TABLE me AS SELECT `+strconv.Itoa(n)+` AS n`)
			if got := query[int](t, conn, `SELECT n FROM me`); got != n {
				t.Errorf("the server of test %d has the table of test %d", n, got)
			}
			results <- server.port
		})
	}
	t.Cleanup(func() {
		close(results)
		ports := make(map[string]bool)
		for port := range results {
			ports[port] = true
		}
		if len(ports) != count {
			t.Errorf("%d servers have %d ports", count, len(ports))
		}
	})
}

func TestStop_KeepsWhatWasCommitted(t *testing.T) {
	t.Parallel()
	server := New(t)
	dsn := server.NewDatabase(t)
	conn := connect(t, dsn)
	mustExec(t, conn, `CREATE TABLE words (word TEXT)`)
	stops := []struct {
		word string
		stop func()
	}{
		{"crash", func() { server.Stop(t); server.StartAgain(t) }},
		{"restart", func() { server.Restart(t) }},
	}
	for n, c := range stops {
		mustExec(t, conn, `INSERT INTO words VALUES ('`+c.word+`')`)
		c.stop()
		if _, err := conn.Exec(t.Context(), `SELECT 1`); err == nil {
			t.Errorf("%s: the connection still works", c.word)
		}
		conn = connect(t, dsn)
		if got := query[int](t, conn, `SELECT count(*) FROM words`); got != n+1 {
			t.Errorf("%s: %d words, want %d", c.word, got, n+1)
		}
	}
	if log := server.Logs(t); !strings.Contains(log, "database system was not properly shut down; automatic recovery in progress") || !strings.Contains(log, "received fast shutdown request") {
		t.Errorf("the log does not tell of the crash and the restart:\n%s", log)
	}
	server.Stop(t)
	if _, err := pgx.Connect(t.Context(), dsn); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a stopped server: %v", err)
	}
}

func TestPgBouncer_SharesConnectionsBetweenTransactions(t *testing.T) {
	t.Parallel()
	server := Start(t)
	dsn := server.NewDatabase(t)
	for _, c := range []struct {
		mode   string
		shares bool
	}{{Transaction, true}, {Session, false}} {
		pooled := server.PgBouncer(t, c.mode, dsn)
		one, two := connect(t, pooled), connect(t, pooled)
		const backend = `SELECT pg_backend_pid()`
		if same := query[int](t, one, backend) == query[int](t, two, backend); same != c.shares {
			t.Errorf("in %s mode, two clients have the same connection to the server: %t, want %t", c.mode, same, c.shares)
		}
	}
}

func TestStandby_FollowsAndIsPromoted(t *testing.T) {
	t.Parallel()
	primary := New(t)
	dsn := primary.NewDatabase(t)
	conn := connect(t, dsn)
	mustExec(t, conn, `CREATE TABLE words AS SELECT 'before' AS word`)
	standby := primary.Standby(t)
	mustExec(t, conn, `INSERT INTO words VALUES ('after')`)
	standby.CatchUp(t)
	replica := connect(t, standby.DSN(t, dsn))
	if n := query[int](t, replica, `SELECT count(*) FROM words`); n != 2 {
		t.Errorf("the standby has %d words, want 2", n)
	}
	_, err := replica.Exec(t.Context(), `INSERT INTO words VALUES ('no')`)
	wantCode(t, err, "25006") // read-only
	primary.Stop(t)
	standby.Promote(t)
	mustExec(t, replica, `INSERT INTO words VALUES ('promoted')`)
	if n := query[int](t, replica, `SELECT count(*) FROM words`); n != 3 {
		t.Errorf("the promoted standby has %d words, want 3", n)
	}
}

// The second process starts servers and says where their numbers are. Then it is killed, so that
// no code of its own stops them.
func TestServers_StopWithAKilledProcess(t *testing.T) {
	t.Parallel()
	if os.Getenv(abandonedEnv) != "" {
		abandon(t)
	}
	_ = Start(t) // skips without PostgreSQL
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), abandonedEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	servers := make(map[string]int) // by directory
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		dir, file, _ := strings.Cut(lines.Text(), "\t")
		servers[dir] = readPID(t, file)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if len(servers) != 4 {
		t.Errorf("the process has started %d servers, want 4", len(servers))
	}
	for dir, pid := range servers {
		testutil.Eventually(t, fmt.Sprintf("process %d ends", pid), func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
		testutil.Eventually(t, dir+" is removed", func() bool {
			_, err := os.Stat(dir)
			return errors.Is(err, fs.ErrNotExist)
		})
	}
}

// abandon starts servers of each kind, and waits to be killed.
func abandon(t *testing.T) {
	t.Helper()
	common, own := Start(t), New(t)
	standby := own.Standby(t)
	_, pooler := common.startPgBouncer(t, local, Transaction, common.NewDatabase(t))
	for _, w := range []*workspace{common.workspace, own.workspace, standby.workspace, pooler} {
		fmt.Println(w.path + "\t" + w.pid)
	}
	fmt.Println("ready")
	select {}
}

func readPID(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return pid
}
