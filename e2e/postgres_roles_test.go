package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// roles are a server without the roles of docs/clustering.md, and the statements of the page.
type roles struct {
	server                          *postgrestest.Server
	dsn                             string
	make, grants, index, dashboards string
}

func newRoles(t *testing.T) *roles {
	t.Helper()
	page, err := os.ReadFile("../docs/clustering.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := sqlBlock.FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 4 {
		t.Fatalf("the page has %d blocks of SQL, want 4", len(blocks))
	}
	server := postgrestest.New(t)
	return &roles{server, server.NewDatabase(t), blocks[0][1], blocks[1][1], blocks[2][1], blocks[3][1]}
}

// of returns the connection string of a role, to the database speechgate.
func (r *roles) of(role string) string {
	return r.at(role, "speechgate")
}

func (r *roles) at(role, database string) string {
	return as(role, r.dsn, database)
}

// as returns the connection string of a role, to the database of dsn or, if it is not empty, to another one.
func as(role, dsn, database string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		panic(err) // it is the connection string of a test server
	}
	u.User = url.UserPassword(role, "canary-"+role)
	if database != "" {
		u.Path = database
	}
	return u.String()
}

// admin returns the connection string of a superuser.
func (r *roles) admin(t *testing.T, database string) string {
	t.Helper()
	return r.server.AdminDSN(t, r.at("", database))
}

// give makes the roles and the database as the page does, and gives the roles passwords.
func (r *roles) give(t *testing.T) {
	t.Helper()
	execute(t, r.admin(t, "postgres"), r.make)
	r.passwords(t, "speechgate_migrate", "speechgate_serve", "speechgate_read")
}

func (r *roles) passwords(t *testing.T, names ...string) {
	t.Helper()
	for _, role := range names {
		execute(t, r.admin(t, "postgres"), "ALTER ROLE "+role+" PASSWORD 'canary-"+role+"';")
	}
}

// allow gives the roles their rights in the database as the page does.
func (r *roles) allow(t *testing.T) {
	t.Helper()
	execute(t, r.admin(t, "speechgate"), r.grants)
}

// migrating returns a command with the configuration of a gateway, as the role that migrates.
func (r *roles) migrating(gate *program, args ...string) *exec.Cmd {
	owner := strings.Replace(r.of("speechgate_migrate"), ":canary-speechgate_migrate@", "@", 1)
	cmd := gate.command(append([]string{"speechgate", "--config", gate.config, "--keystore", owner}, args...)...)
	cmd.Env = append(cmd.Env, "PGPASSWORD=canary-speechgate_migrate")
	return cmd
}

// The rights are the same if the tables were made before them. The commands of the page make the tables of
// a gateway with a pepper.
func TestPostgres_RolesOfTheDocumentationAfterTheTables(t *testing.T) {
	t.Parallel()
	jobs := newJobBackend(t)
	for name, prepare := range map[string]func(t *testing.T, r *roles, gate *program){
		"the role that migrates has made the tables": func(t *testing.T, r *roles, gate *program) {
			t.Helper()
			r.give(t)
			made(t, gate, r.migrating(gate, "init"))
		},
		"another role has made the tables": func(t *testing.T, r *roles, gate *program) {
			t.Helper()
			database := regexp.MustCompile(`(?s)CREATE DATABASE.*?;`)
			execute(t, r.admin(t, "postgres"), "CREATE ROLE single LOGIN; "+strings.Replace(database.FindString(r.make), "speechgate_migrate", "single", 1))
			r.passwords(t, "single")
			single := gate.command("speechgate", "init", "--config", gate.config, "--keystore", r.of("single"))
			made(t, gate, single)
			r.make = database.ReplaceAllString(r.make, "")
			r.give(t)
			execute(t, r.admin(t, "speechgate"), "REASSIGN OWNED BY single TO speechgate_migrate")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoles(t)
			gate := newProgram(t, postgresCaddyfile("localhost:"+port(t), "\n\t\tpepper {env.PEPPER}", "", jobs, ""))
			gate.dsn = r.of("speechgate_serve")
			gate.env = []string{"SPEECHGATE_DSN=" + gate.dsn, "PEPPER=0123456789abcdef0123456789abcdef"}
			prepare(t, r, gate)
			for range 2 {
				r.allow(t)
			}
			execute(t, r.of("speechgate_migrate"), r.dashboards)
			made(t, gate, r.migrating(gate, "init")) // as an upgrade does

			gate.start()
			ask := func(args ...string) (answer map[string]any) {
				t.Helper()
				stdout, stderr, status := runProgram(gate, gate.command(append([]string{"speechgate", "--json", "--config", gate.config}, args...)...))
				if status != 0 {
					t.Fatalf("%v: status %d, %s", args, status, stderr)
				}
				if err := json.Unmarshal([]byte(stdout), &answer); err != nil {
					t.Fatalf("%v prints %q: %v", args, stdout, err)
				}
				return answer
			}
			account, ok := ask("account", "create", "--name", "Test")["account_id"].(string)
			issued := ask("key", "issue", "--account", account)
			key, isText := issued["key"].(string)
			if !ok || !isText || !gate.recognizes(key) {
				t.Errorf("the key is refused; the gateway's output:\n%s", gate.output)
			}
			if status, created := gate.post("/v1/recognitions", key); created["sessionid"] == nil {
				t.Errorf("no job was created: %d, %v", status, created)
			}
			if found := gate.examine(gate.dsn); !strings.Contains(found, "pass permissions") {
				t.Errorf("doctor finds\n%s\nwant that the role of the gateway has its rights", found)
			}
			if err := tryStatement(t, r.of("speechgate_read"), "SELECT * FROM audit"); err != nil {
				t.Errorf("the role of dashboards: %v", err)
			}
			if err := tryStatement(t, gate.dsn, "DROP TABLE audit"); err == nil {
				t.Error("the role of gateways can drop a table")
			}

			// An older state beside the keystore, which is restored as the page says, revives no key.
			archive, older := r.server.Archive(t, gate.dsn), r.server.NewDatabase(t)
			ask("key", "revoke", fmt.Sprint(issued["key_id"]))
			r.server.PutBack(t, older, archive, func() {})
			backup := filepath.Join(gate.dir, "older.db")
			ask("backup", backup, "--keystore", as("speechgate_serve", older, ""))
			made(t, gate, r.migrating(gate, "restore", backup))
			ask("audit", "verify")
			gate.eventually("the revoked key is refused", func() bool { return !gate.recognizes(key) })
		})
	}
}

// made runs a command that must succeed.
func made(t *testing.T, gate *program, cmd *exec.Cmd) {
	t.Helper()
	if stdout, stderr, status := runProgram(gate, cmd); status != 0 {
		t.Fatalf("%v: status %d, %s%s", cmd.Args, status, stdout, stderr)
	}
}
