package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// ask runs "caddy speechgate" as a process on the keystore of a connection string, which it has from
// its environment.
func (p *program) ask(dsn string, args ...string) (stdout, stderr string, status int) {
	p.t.Helper()
	cmd := p.command(append([]string{"speechgate"}, args...)...)
	cmd.Dir = p.t.TempDir()
	cmd.Env = append(cmd.Env, "SPEECHGATE_KEYSTORE="+dsn)
	return runProgram(p, cmd)
}

func runProgram(p *program, cmd *exec.Cmd) (stdout, stderr string, status int) {
	p.t.Helper()
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		p.t.Fatal(err)
	}
	return out.String(), log.String(), status
}

// examine returns what doctor finds about a keystore, a line "level check" for each finding.
func (p *program) examine(dsn string) string {
	p.t.Helper()
	cmd := p.command("speechgate", "doctor", "--json", "--offline", "--config", p.config)
	cmd.Env = append(cmd.Env, "SPEECHGATE_DSN="+dsn)
	stdout, stderr, _ := runProgram(p, cmd)
	var report struct {
		Checks []struct {
			Check, Level, Message string
			Fix                   *string
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		p.t.Fatalf("doctor prints %s, %s: %v", stdout, stderr, err)
	}
	var lines strings.Builder
	for _, c := range report.Checks {
		lines.WriteString(c.Level + " " + c.Check + ": " + c.Message)
		if c.Fix != nil {
			lines.WriteString(" (to do: " + *c.Fix + ")")
		}
		lines.WriteString("\n")
	}
	return lines.String()
}

// The commands name the database without its user and password, and find it in every way.
func TestPostgres_CommandsWorkOnTheDatabase(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn, second := server.NewDatabase(t), server.NewDatabase(t)
	p := newProgram(t, pepperConfig)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(u.User.Username())
	bare, password := u.String(), server.Password()
	name := "postgres://" + u.Host + u.Path
	run := func(want int, cmd *exec.Cmd) (stdout, stderr string) {
		t.Helper()
		stdout, stderr, status := runProgram(p, cmd)
		if status != want {
			t.Errorf("%v: status %d, want %d: %s%s", cmd.Args, status, want, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, password) || strings.Contains(stdout+stderr, "@"+u.Host) {
			t.Errorf("%v shows the user or the password: %s%s", cmd.Args, stdout, stderr)
		}
		return stdout, stderr
	}
	wants := func(text string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%q is not in\n%s", part, text)
			}
		}
	}
	command := func(env []string, args ...string) *exec.Cmd {
		cmd := p.command(append([]string{"speechgate"}, args...)...)
		cmd.Env = append(cmd.Env, env...)
		cmd.Dir = t.TempDir()
		return cmd
	}
	inVariable := []string{"SPEECHGATE_KEYSTORE=" + dsn}

	// No keystore yet.
	_, stderr := run(4, command(inVariable, "key", "list"))
	wants(stderr, "there is no keystore at "+name+" (from SPEECHGATE_KEYSTORE)", "caddy speechgate init")
	stdout, _ := run(0, command(inVariable, "init"))
	wants(stdout, "Made keystore ", " at "+name+".")
	stdout, _ = run(0, command(inVariable, "init", "--json"))
	wants(stdout, `"keystore": "`+name+`"`, `"made": false`)

	// A server here has had another keystore.
	_, stderr = run(4, command([]string{"SPEECHGATE_KEYSTORE=" + second}, "account", "create", "--name", "None"))
	wants(stderr, "and the server here has another, keystore ", " at "+name+", opened on ", `if a new, empty keystore is meant, make it with "caddy speechgate init"`)

	// Each way to name it.
	_, stderr = run(0, command([]string{"PGPASSWORD=" + password}, "account", "create", "--name", "One", "--keystore", bare))
	wants(stderr, "Keystore: "+name+" (from --keystore).")
	passfile := filepath.Join(p.dir, "pgpass")
	if err := os.WriteFile(passfile, []byte("*:*:*:*:"+password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr = run(0, command([]string{"PGPASSFILE=" + passfile, "SPEECHGATE_KEYSTORE=" + strings.Replace(bare, "postgres:", "postgresql:", 1)}, "account", "create", "--name", "Two"))
	wants(stderr, "Keystore: "+name+" (from SPEECHGATE_KEYSTORE).")
	config := filepath.Join(p.dir, "gateway.caddyfile")
	secret := filepath.Join(p.dir, "password")
	if err := errors.Join(
		os.WriteFile(secret, []byte(password+"\n"), 0o600),
		os.WriteFile(config, []byte("{\n speechgate {\n keystore postgres "+bare+" {\n password_file "+secret+"\n }\n }\n}\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	_, stderr = run(0, command(nil, "account", "create", "--name", "Three", "--config", config))
	wants(stderr, "Keystore: "+name+" (from --config "+config+").")
	stdout, _ = run(0, command([]string{"SPEECHGATE_CONFIG=" + config}, "account", "list"))
	wants(stdout, "One", "Two", "Three")
	stdout, _ = run(0, command([]string{"SPEECHGATE_CONFIG=" + config}, "health", "--json"))
	wants(stdout, `"keystore": "`+name+`"`)

	// A password in an argument, which other users see.
	const warning = "Warning: the URL of --keystore has a password"
	_, stderr = run(0, command(nil, "account", "list", "--keystore", dsn))
	wants(stderr, warning, "set PGPASSWORD or PGPASSFILE")
	for _, quiet := range []*exec.Cmd{
		command(nil, "account", "list", "--json", "--keystore", dsn), // programs read standard error
		command(inVariable, "account", "list"),
		command([]string{"PGPASSWORD=" + password}, "account", "list", "--keystore", bare),
	} {
		if _, stderr := run(0, quiet); strings.Contains(stderr, "Warning") {
			t.Errorf("%v warns: %s", quiet.Args, stderr)
		}
	}

	// A backup of one database becomes the keystore of another, or a file.
	backup := filepath.Join(p.dir, "backup.db")
	stdout, _ = run(0, command(inVariable, "backup", backup))
	wants(stdout, "Backed up 3 accounts")
	stdout, _ = run(0, command([]string{"SPEECHGATE_KEYSTORE=" + second}, "restore", backup, "--dry-run"))
	wants(stdout, "3 restored")
	run(4, command([]string{"SPEECHGATE_KEYSTORE=" + second}, "account", "list")) // nothing was changed
	_, stderr = run(0, command([]string{"SPEECHGATE_KEYSTORE=" + second}, "restore", backup))
	wants(stderr, "A new keystore was made at postgres://")
	stdout, _ = run(0, command([]string{"SPEECHGATE_KEYSTORE=" + second}, "account", "list"))
	wants(stdout, "One", "Two", "Three")
	file := filepath.Join(p.dir, "keystore.db")
	run(0, command(nil, "restore", backup, "--keystore", file))
	stdout, _ = run(0, command(nil, "account", "list", "--keystore", file))
	wants(stdout, "One", "Two", "Three")
	third := "SPEECHGATE_KEYSTORE=" + server.NewDatabase(t)
	run(0, command(nil, "backup", filepath.Join(p.dir, "file.db"), "--keystore", file))
	run(0, command([]string{third}, "restore", filepath.Join(p.dir, "file.db")))
	stdout, _ = run(0, command([]string{third}, "account", "list"))
	wants(stdout, "One", "Two", "Three")
	run(0, command([]string{third}, "audit", "verify"))

	// Mistakes.
	for _, test := range []struct {
		status int
		named  string
		want   string
	}{
		{2, strings.Replace(dsn, "postgres://", "Postgres://", 1), "want the path of a file, or for PostgreSQL a URL such as postgres://"},
		{2, strings.Replace(dsn, "postgres://", "postgres:/", 1), "want the path of a file, or for PostgreSQL a URL such as postgres://"},
		{2, strings.Replace(dsn, "postgres://", "postgres:", 1), "it looks like a connection string"},
		{2, "host=" + u.Hostname() + " port=" + u.Port() + " dbname=" + u.Path[1:] + " user=canary password=canary", "it looks like a connection string"},
		{2, "host=db dbname=keys password=can$canary", "it looks like a connection string"},
		{2, strings.Replace(dsn, u.Path, "", 1), "a connection string without a database"},
		{2, strings.Replace(dsn, "sslmode=disable", "sslmode=nothing", 1), "sslmode is invalid"},
		{4, strings.Replace(dsn, u.Path, "/nothing", 1), `database "nothing" does not exist`},
		{4, bare, "no password is configured: "},
		{4, "postgres://gateway:canary@127.0.0.1:1/keys", "cannot be reached"},
		{4, "postgres://gateway:canary@" + u.Host + u.Path + "?sslmode=disable", "check the user and the password of the connection string"},
	} {
		for _, cmd := range []*exec.Cmd{command([]string{"SPEECHGATE_KEYSTORE=" + test.named}, "key", "list"), command(nil, "key", "list", "--keystore", test.named)} {
			_, stderr := run(test.status, cmd)
			wants(stderr, test.want)
			if strings.Contains(stderr, "canary") {
				t.Errorf("the error shows a secret: %s", stderr)
			}
			if strings.Contains(stderr, "Caddyfile") {
				t.Errorf("the error of a flag or a variable speaks of a Caddyfile: %s", stderr)
			}
		}
	}
	other := []string{"PGPASSWORD=" + password, "SPEECHGATE_CONFIG=" + filepath.Join(p.dir, "other.caddyfile")}
	if err := os.WriteFile(filepath.Join(p.dir, "other.caddyfile"), []byte("{\n speechgate {\n keystore postgres "+bare+" {\n direct {env.DIRECT}\n }\n }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(0, command(append(other, "DIRECT="+dsn), "account", "list"))
	_, stderr = run(4, command(append(other, "DIRECT="+second), "account", "list"))
	wants(stderr, "the direct connection leads to another database than the connection string")
	for text, want := range map[string]string{password + "\nanother": "several lines", "\n": "is empty"} {
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr := run(4, command(nil, "key", "list", "--config", config))
		wants(stderr, "the password file "+secret, want)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	_, stderr = run(4, command(nil, "key", "list", "--config", config))
	wants(stderr, "the password file cannot be read: open "+secret+": no such file or directory")
}

func TestPostgres_DoctorExaminesTheDatabase(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t, "max_wal_senders = 4", "hot_standby = on")
	dsn := server.NewDatabase(t)
	p := newProgram(t, strings.Replace(pepperConfig, "	pepper {env.PEPPER}\n", "", 1))
	wants := func(what, found string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(found, part) {
				t.Errorf("%s: doctor does not find %q:\n%s", what, part, found)
			}
		}
		if strings.Contains(found, server.Password()) {
			t.Errorf("%s: doctor shows the password:\n%s", what, found)
		}
	}
	wants("an empty database", p.examine(dsn), "warn keystore: There is no keystore.", "pass database: PostgreSQL ", "pass notifications")
	if _, stderr, status := p.ask(dsn, "init"); status != 0 {
		t.Fatalf("init: status %d, %s", status, stderr)
	}
	wants("a sound database", p.examine(dsn), "pass keystore: The keystore can be opened.", "pass database: PostgreSQL ", "pass database_tls: The connections to the database do not leave this machine.",
		"pass notifications: Notifications of changes come.", "pass permissions: The role of the gateway may read and write", "pass migrations", "skip disk: The keystore is in PostgreSQL", "pass clock", "pass tombstone")

	pooled := server.PgBouncer(t, postgrestest.Transaction, dsn)
	wants("a pooler", p.examine(pooled), "through a pooler", "warn notifications: No notifications of changes come", "pass keystore: The keystore can be opened.")

	execute(t, server.AdminDSN(t, dsn), "CREATE ROLE reader LOGIN PASSWORD 'canary'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("reader", "canary")
	wants("a role that only reads", p.examine(u.String()), "fail permissions: The role of the gateway lacks rights on the keystore: INSERT on meta,", "USAGE on public.audit_seq_seq")

	standby := server.Standby(t)
	standby.CatchUp(t)
	wants("a standby", p.examine(standby.DSN(t, dsn)), "fail database: The server is a standby")

	server.Stop(t)
	wants("a server that is down", p.examine(strings.Replace(dsn, "sslmode=disable", "sslmode=prefer", 1)),
		"fail keystore: The PostgreSQL server cannot be reached: "+u.Host+": connection refused. (to do: Make the server accept connections: start it,")
}
