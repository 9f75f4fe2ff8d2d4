package e2e_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// A password can change in the database and in its file while a gateway runs.
func TestPostgres_PasswordChangesWhileAGatewayRuns(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(u.User.Username())
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(server.Password())
	p, _ := newPostgresProgram(t, u.String(), newJobBackend(t), " {\n			password_file "+file+"\n		}")
	p.dsn = dsn
	id, key := p.key(p.account())
	if !p.recognizes(key) {
		t.Fatalf("the key is refused; the gateway's output:\n%s", p.output)
	}

	const changed = "canary-of-a-new-password"
	admin := server.AdminDSN(t, dsn)
	execute(t, admin, "ALTER ROLE gateway PASSWORD '"+changed+"'")
	write(changed)
	execute(t, admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'")
	u.User = url.UserPassword("gateway", changed)
	p.dsn = u.String()
	_, later := p.key(p.account())
	p.eventually("a key that was issued since is accepted", func() bool { return p.recognizes(later) })
	p.run("key", "revoke", id)
	p.eventually("a key that was revoked since is refused", func() bool { return !p.recognizes(key) })
	p.kept(server.Password(), changed, key, later)
}

// A reload does not take the place of a running configuration if its database cannot be used.
func TestPostgres_ReloadIsRefusedIfTheDatabaseCannotBeUsed(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn, empty := server.NewDatabase(t), server.NewDatabase(t)
	p, admin := newPostgresProgram(t, dsn, newJobBackend(t), "")
	_, key := p.key(p.account())
	config, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	load := func(dsn, block string) (status int, answer string) {
		t.Helper()
		text := strings.Replace(string(config), "postgres {env.SPEECHGATE_DSN}", "postgres "+dsn+block, 1)
		return p.reload(admin, text)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	place := "postgres://" + u.Host
	for name, test := range map[string]struct{ dsn, block, want string }{
		"no server":             {"postgres://gateway:canary@127.0.0.1:1/keys", "", "postgres://127.0.0.1:1/keys: the PostgreSQL server cannot be reached"},
		"a wrong password":      {"postgres://gateway:canary@" + u.Host + u.Path + "?sslmode=disable", "", "check the user and the password of the connection string"},
		"no database":           {strings.Replace(dsn, u.Path, "/nothing", 1), "", "create the database, or name another one"},
		"an empty database":     {empty, "", "this server had one before, keystore "},
		"one that must exist":   {empty, " {\n must_exist\n }", "and the configuration says must_exist; this server had one before, keystore "},
		"a mistake":             {strings.Replace(dsn, "sslmode=disable", "sslmode=canary", 1), "", "sslmode is invalid"},
		"no password":           {dsn, " {\n password_file /nonexistent/password\n }", "the password file cannot be read: open /nonexistent/password"},
		"another direct server": {dsn, " {\n direct " + empty + "\n }", "the direct connection leads to another database"},
	} {
		status, answer := load(test.dsn, test.block)
		if status != http.StatusBadRequest || !strings.Contains(answer, test.want) || strings.Contains(answer, "canary") || strings.Contains(answer, server.Password()) {
			t.Errorf("%s: status %d, %s, want %q", name, status, answer, test.want)
		}
		if strings.Contains(answer, "this server had one before") && (!strings.Contains(answer, " at "+place+u.Path+", opened on ") || !strings.Contains(answer, "correct the connection string, or restore a backup")) {
			t.Errorf("%s: the error does not say what to do: %s", name, answer)
		}
	}
	if !p.recognizes(key) {
		t.Errorf("the configuration before does not serve any more; the gateway's output:\n%s", p.output)
	}

	// The password is in these configurations, so a warning says it; the password itself is not logged.
	if status, answer := load(dsn, ""); status != http.StatusOK {
		t.Errorf("the same database: status %d, %s", status, answer)
	}
	if !p.recognizes(key) {
		t.Errorf("after the reload the key is refused; the gateway's output:\n%s", p.output)
	}
	if status, answer := load(empty, " {\n create\n }"); status != http.StatusOK {
		t.Errorf("an empty database, and create: status %d, %s", status, answer)
	}
	p.eventually("the key is unknown to the new keystore", func() bool { return !p.recognizes(key) })
	output := p.output.String()
	if !strings.Contains(output, "the connection string of the keystore has its password in the configuration") || !strings.Contains(output, "this is another keystore than this server had before") {
		t.Errorf("the log warns of neither the password nor the other keystore:\n%s", output)
	}
	p.kept(server.Password(), key)
}
