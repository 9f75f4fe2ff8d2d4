// Package adapt_test has no other tests: a process that has run a configuration looks for the keystore of
// each later one, and these tests touch no disk.
package adapt_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // the modules of the configurations

	_ "github.com/speechgate/speechgate/caddymodule" // the modules of the gateway
)

var update = flag.Bool("update", false, "write what came out into the golden files")

const goldenSeparator = "\n----------\n"

// TestAdapt adapts and validates Caddyfiles, without touching the disk. A golden file is a
// Caddyfile, a line of hyphens, and the JSON or the error.
func TestAdapt(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", filepath.Join(t.TempDir(), "must-not-be-made"))
	t.Setenv("BACKEND_KEY", "from-the-environment")
	t.Setenv("SPEECHGATE_DSN", "postgres://gateway:canary@db.example.com/keys")
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(text), goldenSeparator)
			got := adaptAndValidate(t, input)
			if strings.Contains(got, "canary") {
				t.Errorf("the result shows a secret: %s", got)
			}
			if *update {
				if err := os.WriteFile(file, []byte(strings.TrimSpace(input)+"\n"+goldenSeparator+got+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != strings.TrimSpace(want) {
				t.Errorf("got\n%s\nwant\n%s", got, strings.TrimSpace(want))
			}
		})
	}
	if entries, err := os.ReadDir(os.Getenv("XDG_DATA_HOME")); err == nil {
		t.Errorf("adapting and validating left %v behind", entries)
	}
}

var caddyPrefix = regexp.MustCompile(`^.*(provision speechgate|http\.handlers\.\w+(?:: invalid configuration)?): `)

func adaptAndValidate(t *testing.T, caddyfile string) string {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		return err.Error()
	}
	var cfg caddy.Config
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		// The beginning of the error varies, because Caddy provisions apps and servers in a
		// random order.
		return caddyPrefix.ReplaceAllString(err.Error(), "$1: ")
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, adapted, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return pretty.String()
}
