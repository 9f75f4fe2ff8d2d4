package e2e_test

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// The command copy moves a keystore from a file into a database, and back into a file. Every key and
// the pepper are there.
func TestPostgres_CopyMovesTheKeystore(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	name := "postgres://" + u.Host + u.Path
	p := newProgram(t, pepperConfig)
	back := filepath.Join(t.TempDir(), "back.db")
	run := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		cmd := p.command(append([]string{"speechgate", "--config", p.config}, args...)...)
		cmd.Dir, cmd.Env = t.TempDir(), append(cmd.Env, "PEPPER=pepper-and-salt-and-more")
		stdout, stderr, status := runProgram(p, cmd)
		if status != want {
			t.Errorf("%v: status %d, want %d: %s%s", args, status, want, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, server.Password()) {
			t.Errorf("%v shows the password: %s%s", args, stdout, stderr)
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
	file := filepath.Join(t.TempDir(), "keystore.db")
	run(0, "account", "create", "--name", "One", "--keystore", file)
	run(0, "key", "issue", "--account", "One", "--label", "first", "--keystore", file)
	keys, _ := run(0, "key", "list", "--json", "--keystore", file)

	stdout, stderr := run(0, "copy", "--from", "sqlite:"+file, "--to", dsn)
	wants(stdout, "Copied 1 account, 1 key and 0 jobs to "+name+"; the audit trail's head is ")
	wants(stderr, "api_keys: 1 of 1 row copied", "api_keys: 1 of 1 row compared", "are the same in both keystores.",
		"Let the gateways use "+name+" now, and move "+file+" away")
	moved, _ := run(0, "key", "list", "--json", "--keystore", dsn)
	if moved != keys {
		t.Errorf("the database has the keys %s, want %s", moved, keys)
	}
	_, stderr = run(1, "copy", "--from", file, "--to", dsn)
	wants(stderr, name+": the database has a keystore already: want an empty database")

	stdout, stderr = run(0, "copy", "--from", dsn, "--to", back, "--json")
	var c struct {
		To, StoreID   string
		Keys, Rows    int64
		SourceChanged *bool `json:"source_changed"`
		Tables        []struct{ Table, SHA256 string }
	}
	if err := json.Unmarshal([]byte(stdout), &c); err != nil || c.To != back || c.Keys != 1 || c.SourceChanged == nil || *c.SourceChanged || len(c.Tables) != 20 || len(c.Tables[0].SHA256) != 64 {
		t.Errorf("copied %s, %v", stdout, err)
	}
	if strings.Contains(stderr, "copied") {
		t.Errorf("the progress is beside the JSON: %s", stderr)
	}
	again, _ := run(0, "key", "list", "--json", "--keystore", back)
	if again != keys {
		t.Errorf("the file has the keys %s, want %s", again, keys)
	}
	run(0, "audit", "verify", "--keystore", back)
	if entries, err := os.ReadDir(filepath.Dir(back)); err != nil || len(entries) != 1 {
		t.Errorf("files %v, %v: want the keystore only", entries, err)
	}
	_, stderr = run(1, "copy", "--from", dsn, "--to", back)
	wants(stderr, back+" is in the way")
}
