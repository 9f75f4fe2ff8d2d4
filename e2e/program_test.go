package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/testutil"
)

// program is the gateway as a process of its own.
type program struct {
	t      *testing.T
	binary string // the program; caddy unless it says otherwise
	dir    string // its home
	config string
	base   string // of the gate's URLs
	other  string // the port that replaces 8081
	probe  string // a path that answers 401 to an unknown key
	env    []string
	dsn    string // of the keystore in PostgreSQL; empty if the keystore is a file
	cmd    *exec.Cmd
	output *safeBuffer
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newProgram prepares a gateway with this Caddyfile, whose ports 8080, of the
// gate, and 8081 become free ones.
func newProgram(t *testing.T, caddyfile string) *program {
	t.Helper()
	p := &program{t: t, binary: "caddy", dir: t.TempDir(), probe: "/v2/recognitions/unknown"}
	gate := port(t)
	p.other = port(t)
	p.base = "http://localhost:" + gate
	caddyfile = strings.NewReplacer(":8080", ":"+gate, ":8081", ":"+p.other,
		"admin localhost:2019", "admin off").Replace(caddyfile)
	p.config = filepath.Join(p.dir, "Caddyfile")
	if err := os.WriteFile(p.config, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// newExample is a running Caddyfile.example that knows an account by its service
// ID and service password.
func newExample(t *testing.T) (p *program, account string) {
	t.Helper()
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	p = newProgram(t, string(example))
	p.start()
	account = p.importAccount()
	return p, account
}

func port(t *testing.T) string {
	t.Helper()
	free, err := testutil.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return free
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.binary, args...)
	cmd.Env = append(os.Environ(), "HOME="+p.dir, "XDG_DATA_HOME="+p.dir+"/data", "XDG_CONFIG_HOME="+p.dir+"/config")
	cmd.Env = append(cmd.Env, p.env...)
	return cmd
}

// start runs the gateway and waits until it has opened its keystore.
func (p *program) start() {
	p.t.Helper()
	p.output = new(safeBuffer)
	p.cmd = p.command("run", "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.eventually("the gateway and its keystore answer", func() bool {
		req, err := http.NewRequest(http.MethodGet, p.base+p.probe, nil)
		if err != nil {
			p.t.Fatal(err)
		}
		req.Header.Set("Authorization", "nobody") // a key in every API: the answer comes from the keystore
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized
	})
}

// kill is kill -9.
func (p *program) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
	p.cmd = nil
}

func (p *program) eventually(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	p.t.Fatalf("still not after 20 s: %s; the gateway's output:\n%s", what, p.output)
}

// run runs "caddy speechgate" with these arguments on the program's keystore, and
// returns the object that it prints, if any.
func (p *program) run(args ...string) map[string]any {
	p.t.Helper()
	object := make(map[string]any)
	if out := p.printed(args...); len(bytes.TrimSpace(out)) > 0 {
		p.decode(out, &object)
	}
	return object
}

// runList is run for a command that prints a list.
func (p *program) runList(args ...string) (list []map[string]any) {
	p.t.Helper()
	p.decode(p.printed(args...), &list)
	return list
}

// printed returns what a command prints on standard output, in JSON. The command runs
// in the test's process. The gateway is another process, as it is for an operator.
func (p *program) printed(args ...string) []byte {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := newCaddyCommand()
	cmd.SetArgs(append([]string{"speechgate", "--json", "--keystore", p.store()}, args...))
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	if err := cmd.Execute(); err != nil {
		p.t.Fatalf("%v: %v: %s", args, err, &stderr)
	}
	return stdout.Bytes()
}

// store is the keystore's file, or its connection string.
func (p *program) store() string {
	if p.dsn != "" {
		return p.dsn
	}
	return filepath.Join(p.dir, "data", "caddy", "speechgate", "keystore.db")
}

func (p *program) decode(out []byte, into any) {
	p.t.Helper()
	if err := json.Unmarshal(out, into); err != nil {
		p.t.Fatalf("%q is no JSON: %v", out, err)
	}
}

func (p *program) account() string {
	p.t.Helper()
	return p.run("account", "create", "--name", "Test")["account_id"].(string)
}

func (p *program) key(account string, args ...string) (id, secret string) {
	p.t.Helper()
	key := p.run(append([]string{"key", "issue", "--account", account}, args...)...)
	return key["key_id"].(string), key["key"].(string)
}
