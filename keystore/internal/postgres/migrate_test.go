package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore/internal/engine"
)

// openerEnv makes the test process open the database of this connection string.
const openerEnv = "SPEECHGATE_TEST_OPENER"

// openWhenTold says that it is ready, waits for the end of the input, opens the database, and says
// whether it has made it. It returns the exit status.
func openWhenTold(dsn string) int {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // it has no other end than its end
	place, err := ParsePlace(dsn, "")
	if err == nil {
		var opened engine.Database
		if opened, err = openPatiently(context.Background(), place); err == nil {
			fmt.Println("made:", opened.Made())
			err = opened.Close()
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// openPatiently opens the database as soon as no other process holds its lock, as the keystore does.
func openPatiently(ctx context.Context, place Place) (opened engine.Database, err error) {
	e := New(place, true, zap.NewNop())
	for {
		if opened, err = e.Open(ctx, creating); !e.Busy(err) {
			return opened, err
		}
	}
}

// Processes that open an empty database at once wait for each other: one makes the tables, and all
// can use them.
func TestOpen_ProcessesMigrateOnce(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	const count = 4
	type opener struct {
		cmd  *exec.Cmd
		tell io.Closer
		said *bufio.Reader
	}
	var openers []opener
	for range count {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), openerEnv+"="+dsn)
		tell, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		o := opener{cmd, tell, bufio.NewReader(out)}
		if line, err := o.said.ReadString('\n'); line != "ready\n" {
			t.Fatalf("the process says %q, %v", line, err)
		}
		openers = append(openers, o)
	}
	for _, o := range openers {
		if err := o.tell.Close(); err != nil {
			t.Fatal(err)
		}
	}
	made := 0
	for _, o := range openers {
		said, _ := io.ReadAll(o.said) // Wait has the error of the process
		switch err := o.cmd.Wait(); {
		case err != nil:
			t.Errorf("%v: %s", err, said)
		case string(said) == "made: true\n":
			made++
		case string(said) != "made: false\n":
			t.Errorf("the process says %q", said)
		}
	}
	if made != 1 {
		t.Errorf("%d processes have made the tables, want 1", made)
	}
	d, _ := open(t, dsn, "")
	var ids, versions int
	if err := d.reader.QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM meta WHERE name = 'store_id'),
		(SELECT COUNT(*) FROM speechgate_schema WHERE version_id = $1)`, engine.SchemaVersion).Scan(&ids, &versions); err != nil || ids != 1 || versions != 1 {
		t.Errorf("%d stores, %d migrations to the last version, %v; want 1 of each", ids, versions, err)
	}
	if d.Made() {
		t.Error("a later open has made the tables")
	}
}

// Without a direct connection string, the tables are made through the pooler: it has no sessions, and
// so no locks of a session.
func TestOpen_MigratesBehindAPooler(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	pooled := placeOf(t, server.PgBouncer(t, postgrestest.Transaction, dsn), "")
	var made atomic.Int32
	var openers sync.WaitGroup
	for range 4 {
		openers.Go(func() {
			opened, err := openPatiently(t.Context(), pooled)
			if err != nil {
				t.Error(err)
				return
			}
			if opened.Made() {
				made.Add(1)
			}
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	openers.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("%d processes have made the tables, want 1", n)
	}
	d, _ := open(t, dsn, "")
	var locks int
	if err := d.reader.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
		WHERE locktype = 'advisory' AND datname = current_database()`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks are left, %v", locks, err)
	}
}

// A program works with newer tables if they say so, and changes nothing about them.
func TestOpen_TablesOfANewerProgram(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		compatible string // the statement that says which programs work with the tables
		want       string // in the error; empty if the program works with the tables
	}{
		"for this program too":                {``, ""},
		"for newer programs only":             {`UPDATE meta SET value = '` + strconv.Itoa(engine.SchemaVersion+1) + `' WHERE name = 'compatible'`, "run the newer program"},
		"which do not say for which programs": {`DELETE FROM meta WHERE name = 'compatible'`, "run the newer program"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, dsn := openNew(t)
			for _, statement := range []string{
				`INSERT INTO speechgate_schema (version_id, is_applied) VALUES (` + strconv.Itoa(engine.SchemaVersion+1) + `, TRUE)`,
				`ALTER TABLE accounts ADD COLUMN added TEXT`, test.compatible,
			} {
				if _, err := d.working.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			opened, err := New(placeOf(t, dsn, ""), true, zap.NewNop()).Open(t.Context(), creating)
			if err == nil {
				err = opened.Close()
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if schema, err := readSchema(t.Context(), d.reader); err != nil || schema.Version != engine.SchemaVersion+1 {
				t.Errorf("the schema is %+v, %v", schema, err)
			}
		})
	}
}

func TestOpen_MakesNoTablesUnlessTold(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	e := New(placeOf(t, dsn, ""), true, zap.NewNop())
	setup := creating
	setup.Create = false
	if _, err := e.Open(t.Context(), setup); !errors.Is(err, engine.ErrNoStore) {
		t.Errorf("an empty database: %v, want ErrNoStore", err)
	}
	if _, schema, err := e.Inspect(t.Context()); schema.Version != 0 || err != nil {
		t.Errorf("it has version %d, %v", schema.Version, err)
	}
	d, _ := open(t, dsn, "")
	if !d.Made() {
		t.Error("a process that may make the tables has not made them")
	}
	if id, schema, err := e.Inspect(t.Context()); schema != (engine.Schema{Version: engine.SchemaVersion, Compatible: engine.Compatible}) || id != d.storeID || err != nil {
		t.Errorf("it has %+v and the ID %q, %v; want version %d and %q", schema, id, err, engine.SchemaVersion, d.storeID)
	}
}

// What the operator reads, for each mistake that a server can be asked with. No text has the password, the user, a
// line break, or a cause twice.
func TestOpen_SaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	const wrong = "wrong-pa55"
	database := dsn[strings.LastIndex(dsn, "/")+1:]
	for _, c := range []struct{ name, dsn, want string }{
		{"a wrong password", strings.Replace(dsn, server.Password(), wrong, 1), "check the user and the password"},
		{"a wrong password, and TLS if the server has it", strings.Replace(strings.Replace(dsn, server.Password(), wrong, 1), "sslmode=disable", "sslmode=prefer", 1), "connecting to the PostgreSQL server: 127.0.0.1:"},
		{"a port without a server, and TLS if it has it", "postgres://gateway:" + wrong + "@127.0.0.1:1/k?sslmode=prefer", "cannot be reached: 127.0.0.1:1: connection refused"},
		{"no such user", strings.Replace(dsn, "gateway", "nobody", 1), ": check the user and the password of the connection string"},
		{"no such database", strings.Replace(dsn, database, "absent?sslmode=disable", 1), "create the database"},
		{"a server without TLS", strings.Replace(dsn, "sslmode=disable", "sslmode=require", 1), "the server has no TLS: set ssl = on there, or on a safe network sslmode=disable in the connection string"},
		{"a port without a server", "postgres://gateway:" + wrong + "@127.0.0.1:1/k?sslmode=disable", "connection refused"},
		{"a host without an address", "postgres://gateway:" + wrong + "@host.invalid/k?sslmode=disable", "cannot be reached"},
		{"a directory without a socket", "host=" + t.TempDir() + " user=gateway password=" + wrong + " dbname=k", ".s.PGSQL.5432: no such file or directory"},
	} {
		e := New(placeOf(t, c.dsn, ""), true, zap.NewNop())
		_, err := e.Open(t.Context(), creating)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		text := e.Advise(err).Error()
		if !strings.Contains(text, c.want) || strings.Contains(text, wrong) || strings.Contains(text, server.Password()) {
			t.Errorf("%s: %q, want %q, and no password", c.name, text, c.want)
		}
		for _, never := range []string{"gateway", "nobody", "\n", "refused TLS", "refused; ", "dial", "error: ", "connect: ", "timeout: "} {
			if strings.Contains(text, never) {
				t.Errorf("%s: %q has %q", c.name, text, never)
			}
		}
	}
}
