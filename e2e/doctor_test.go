package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/testutil"
)

// TestDoctor_TriesTheWayOfClientsThroughNginx runs doctor on a gateway behind an nginx. nginx connects
// from 127.0.0.3, which the gateway trusts. The command is the client, 127.0.0.1.
func TestDoctor_TriesTheWayOfClientsThroughNginx(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has the address 127.0.0.3 on every machine")
	}
	dir, err := os.MkdirTemp("", "sg") //nolint:usetesting // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := newProgram(t, testutil.Caddyfile{
		Admin: "unix/" + filepath.Join(dir, "admin.sock"),
		Options: `	servers {
		trusted_proxies static 127.0.0.3/32
		trusted_proxies_strict
	}
`,
		Sites: `http://:8080 {
	speechgate amivoice
	speechgate_sandbox amivoice
}
`,
	}.String())
	p.start()
	gate := strings.Replace(strings.TrimPrefix(p.base, "http://"), "localhost", "127.0.0.1", 1)
	for name, test := range map[string]struct {
		from, options string
		level, part   string
		status        int
	}{
		"a proxy that appends": {
			"127.0.0.3", "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "pass",
			"The gateway sees a connection from 127.0.0.3, with X-Forwarded-For: 192.0.2.91, 127.0.0.1. It takes 127.0.0.1 for the address of the client.", 0,
		},
		"a proxy that lets a client's field through": {
			"127.0.0.3", "", "fail", "It takes 192.0.2.91 for the address of the client. The client has made this address up, in X-Forwarded-For", 2,
		},
		"a proxy that is not trusted": {
			"127.0.0.4", "proxy_set_header X-Forwarded-For $remote_addr;", "warn",
			"with X-Forwarded-For: 127.0.0.1. It takes 127.0.0.4 for the address of the client. A proxy is in front, and is not trusted", 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := "http://" + startNginx(t, gate, "proxy_bind "+test.from+";\n"+test.options) + "/"
			out, err := p.command("speechgate", "doctor", "--config", p.config, "--url", url, "--json").Output()
			if exit, ok := err.(*exec.ExitError); (err != nil) != (test.status > 0) || ok && exit.ExitCode() != test.status { //nolint:errorlint // Output returns it so
				t.Errorf("the exit status is not %d: %v %s", test.status, err, stderrOf(err))
			}
			var report struct {
				Checks []struct{ Check, Level, Subject, Message string }
			}
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			found := false
			for _, c := range report.Checks {
				if c.Subject == url {
					found = c.Check == "client_address" && c.Level == test.level && strings.Contains(c.Message, test.part)
				} else if c.Level != "pass" && c.Level != "skip" {
					t.Errorf("another finding: %+v", c)
				}
			}
			if !found {
				t.Errorf("want %s %q in %s", test.level, test.part, out)
			}
		})
	}
}
