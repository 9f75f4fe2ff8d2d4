package e2e_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// The statements of docs/clustering.md make three roles, and the index for searches. A gateway runs with the
// role that can change no table.
func TestPostgres_RolesOfTheDocumentation(t *testing.T) {
	t.Parallel()
	r := newRoles(t)
	r.give(t)
	r.allow(t)
	serve, migrate, read := r.of("speechgate_serve"), r.of("speechgate_migrate"), r.of("speechgate_read")

	// Only the role that migrates makes the tables.
	p := newProgram(t, "")
	refused := func(remedy string, args ...string) {
		t.Helper()
		_, stderr, status := p.ask(serve, args...)
		if status != 4 || !strings.Contains(stderr, "permission denied") || strings.Contains(stderr, "grant") ||
			!strings.HasSuffix(stderr, ": this needs the role that owns the tables, such as speechgate_migrate in docs/clustering.md: "+remedy+"\n") {
			t.Errorf("%v with the role of gateways: status %d, %s", args, status, stderr)
		}
	}
	refused(`run "caddy speechgate init" with the URL of this role, as in --keystore postgres://speechgate_migrate@db.example.com/speechgate, before a server starts`, "init")
	file := filepath.Join(p.dir, "file.db")
	if _, stderr, status := p.ask(file, "init"); status != 0 {
		t.Fatalf("init of a file: status %d, %s", status, stderr)
	}
	copying := p.command("speechgate", "copy", "--from", file, "--to", serve)
	if _, stderr, status := runProgram(p, copying); status != 4 || !strings.Contains(stderr, "permission denied") || !strings.Contains(stderr, ": name the database with the URL of this role, such as postgres://speechgate_migrate@") {
		t.Errorf("copy with the role of gateways: status %d, %s", status, stderr)
	}
	if _, stderr, status := p.ask(migrate, "init"); status != 0 {
		t.Fatalf("init: status %d, %s", status, stderr)
	}
	execute(t, migrate, r.index)
	execute(t, migrate, r.dashboards)

	// A gateway does everything with its role.
	gate, admin := newPostgresProgram(t, serve, newJobBackend(t), "")
	account := gate.account()
	id, key := gate.key(account)
	if !gate.recognizes(key) {
		t.Errorf("the key is refused; the gateway's output:\n%s", gate.output)
	}
	if status, created := gate.post("/v1/recognitions", key); created["sessionid"] == nil {
		t.Errorf("no job was created: %d, %v", status, created)
	}
	if _, stderr, status := p.ask(serve, "key", "issue", "--account", account, "--label", "Terminal 7, entrance"); status != 0 {
		t.Errorf("issuing a key with a label: status %d, %s", status, stderr)
	}
	if found, stderr, status := p.ask(serve, "key", "list", "--search", "entrance"); status != 0 || !strings.Contains(found, "Terminal 7, entrance") {
		t.Errorf("a search: status %d, %s%s", status, found, stderr)
	}
	backup := filepath.Join(p.dir, "backup.db")
	for _, args := range [][]string{
		{"key", "rotate", id, "--overlap", "1h"},
		{"key", "suspend", id},
		{"key", "resume", id},
		{"key", "list"},
		{"job", "list"},
		{"usage"},
		{"forecast"},
		{"audit", "verify"},
		{"account", "rename", account, "--name", "Another"},
		{"operator", "invite", "someone"},
		{"key", "revoke", id},
		{"backup", backup},
		{"account", "close", account, "--yes"},
		{"health"},
	} {
		if _, stderr, status := p.ask(serve, args...); status != 0 {
			t.Errorf("%v with the role of gateways: status %d, %s", args, status, stderr)
		}
	}
	p.eventually("the server has written usage", func() bool {
		return strings.Contains(getText(t, "http://"+admin+"/speechgate/usage"), `"requests"`)
	})
	gate.kept("canary-speechgate_serve")
	if output := gate.output.String(); strings.Contains(output, "permission denied") {
		t.Errorf("the gateway lacks a right:\n%s", output)
	}

	// The role of gateways cannot change tables, and the one of dashboards sees no digest.
	for _, test := range []struct{ as, statement string }{
		{serve, "DROP TABLE audit"},
		{serve, "ALTER TABLE api_keys DROP COLUMN expires_at"},
		{serve, "TRUNCATE audit"},
		{serve, "CREATE TABLE mine (id INTEGER)"},
		{serve, "CREATE TEMPORARY TABLE mine (id INTEGER)"},
		{read, "SELECT digest FROM api_keys"},
		{read, "SELECT * FROM console_users"},
		{read, "SELECT spw_digest FROM accounts"},
		{read, "DELETE FROM jobs"},
	} {
		if err := tryStatement(t, test.as, test.statement); err == nil || !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "must be owner") {
			t.Errorf("%s: error %v", test.statement, err)
		}
	}
	for _, statement := range []string{
		"SELECT id, account_id, expires_at FROM api_keys", "SELECT name FROM accounts", "SELECT * FROM audit",
		"SELECT SUM(requests) FROM usage_hours JOIN usage_scopes ON id = scope",
	} {
		if err := tryStatement(t, read, statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}

	// The role that migrates restores, with the configuration of the gateway.
	refused("run the command with the URL of this role, as in --keystore postgres://speechgate_migrate@db.example.com/speechgate", "restore", backup)
	restore := r.migrating(gate, "restore", backup)
	stdout, stderr, status := runProgram(p, restore)
	if status != 0 || !strings.Contains(stdout, "Before    "+backup+".before-restore-") {
		t.Errorf("restore: status %d, %s%s", status, stdout, stderr)
	}
}

// execute runs statements one by one.
func execute(t *testing.T, dsn, statements string) {
	t.Helper()
	for statement := range strings.SplitSeq(statements, ";") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if err := tryStatement(t, dsn, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func tryStatement(t *testing.T, dsn, statement string) error {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// Without sslmode, the server must show a certificate for its name.
func TestPostgres_ConnectionsToOtherMachinesAreVerified(t *testing.T) {
	t.Parallel()
	trusted, certificate, key := newAuthority(t)
	stranger, _, _ := newAuthority(t)
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	plain, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	// The server's own directory, which belongs to the user who runs the server.
	admin := server.AdminDSN(t, dsn)
	socket, err := pgx.ParseConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.Stat(filepath.Join(socket.Host, "data"))
	if err != nil {
		t.Fatal(err)
	}
	owner, ok := data.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("this system does not tell the owner of a file")
	}
	for name, file := range map[string]string{"ssl_cert_file": certificate, "ssl_key_file": key} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(socket.Host, filepath.Base(file))
		if err := errors.Join(os.WriteFile(file, text, 0o600), os.Chown(file, int(owner.Uid), int(owner.Gid))); err != nil {
			t.Fatal(err)
		}
		execute(t, admin, "ALTER SYSTEM SET "+name+" = '"+file+"'")
	}
	execute(t, admin, "ALTER SYSTEM SET ssl = on")
	server.Restart(t)

	// In capital letters, the name of this machine counts as another machine's.
	named := func(query ...string) string {
		u := *plain
		u.Host = net.JoinHostPort("LOCALHOST", plain.Port())
		u.RawQuery = strings.Join(query, "&")
		return u.String()
	}
	p := newProgram(t, "")
	for name, test := range map[string]struct{ dsn, want string }{
		"an authority that the machine does not know":    {named(), "certificate signed by unknown authority"},
		"another authority":                              {named("sslrootcert=" + stranger), "certificate signed by unknown authority"},
		"a certificate for another name":                 {strings.Replace(named("sslrootcert="+trusted, "sslmode=verify-full"), "LOCALHOST", "127.0.0.1", 1), "cannot validate certificate for 127.0.0.1"},
		"no mode, and an authority that signed the name": {named("sslrootcert=" + trusted), ""},
		"a weaker mode that was written out":             {named("sslmode=require"), ""},
	} {
		_, stderr, status := p.ask(test.dsn, "init")
		if failed := status != 0; failed != (test.want != "") || !strings.Contains(stderr, test.want) || strings.Contains(stderr, server.Password()) {
			t.Errorf("%s: status %d, %s", name, status, stderr)
		}
	}

	gate, _ := newPostgresProgram(t, named("sslrootcert="+trusted), newJobBackend(t), "")
	_, secret := gate.key(gate.account())
	if !gate.recognizes(secret) {
		t.Errorf("the key is refused; the gateway's output:\n%s", gate.output)
	}
	gate.kept(server.Password())
	for dsn, want := range map[string]string{
		named("sslrootcert=" + trusted):                    "pass database_tls",
		named("sslrootcert="+trusted, "sslmode=verify-ca"): "pass database_tls",
		named("sslmode=require"):                           "warn database_tls",
		named("sslmode=prefer", "sslrootcert="+trusted):    "pass database_tls", // it counts as verify-full
		named("sslmode=disable"):                           "fail database_tls",
	} {
		if found := gate.examine(dsn); !strings.Contains(found, want) {
			t.Errorf("%s: doctor finds\n%s\nwant %s", dsn, found, want)
		}
	}
}

// A gateway with another pepper would know none of the keys.
func TestPostgres_GatewayWithAnotherPepperDoesNotStart(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	one := newProgram(t, pepperConfig)
	one.dsn, one.env = dsn, []string{"SPEECHGATE_DSN=" + dsn, "PEPPER=0123456789abcdef0123456789abcdef"}
	one.start()
	for pepper, want := range map[string]string{
		"fedcba9876543210fedcba9876543210": "its pepper is not the one that is configured",
		"":                                 "it has a pepper, and none is configured",
	} {
		text := pepperConfig
		if pepper == "" {
			text = strings.Replace(text, "pepper {env.PEPPER}", "", 1)
		}
		other := newProgram(t, text)
		other.env = []string{"SPEECHGATE_DSN=" + dsn, "PEPPER=" + pepper}
		output, err := other.command("run", "--config", other.config).CombinedOutput()
		if err == nil || !strings.Contains(string(output), want) || strings.Contains(string(output), "fedcba98") {
			t.Errorf("pepper %q: error %v, output\n%s", pepper, err, output)
		}
	}
	resp, err := http.Get(one.base + one.probe)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("the first gateway does not serve any more: %v, %v", resp, err)
		return
	}
	_ = resp.Body.Close()
}

const pepperConfig = `{
	admin off
	speechgate {
		keystore postgres {env.SPEECHGATE_DSN}
		pepper {env.PEPPER}
	}
}
http://localhost:8080 {
	speechgate amivoice {
		upstream_key sandbox-backend-key
	}
	respond 200
}
`
