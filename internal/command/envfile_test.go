package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"pgregory.net/rapid"
)

// The file means to a command what it means to the server.
func TestParseEnvFile_ReadsWhatCaddyReads(t *testing.T) { //nolint:paralleltest // sets the environment, standard output and Caddy's storage
	names := []string{"SGT_A", "SGT_B", "SGT_C"}
	line := rapid.OneOf(
		rapid.StringMatching(`(export )?SGT_[AB]=[ \ta"'#\\=é]{0,8}`),
		rapid.StringMatching(`[a"'#\\= ]{0,6}`),
		rapid.SampledFrom([]string{"SGT_C=v # comment", `SGT_C="two`, `lines"`, "  SGT_C='q'  ", "SGT_C=a#b", "# SGT_C=x", "SGT_C", "SGT C=x"}),
	)
	file := filepath.Join(t.TempDir(), "env")
	printTo(t, os.DevNull)
	rapid.Check(t, func(rt *rapid.T) {
		text := strings.Join(rapid.SliceOfN(line, 0, 6).Draw(rt, "lines"), "\n")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			rt.Fatal(err)
		}
		got, err := parseEnvFile(strings.NewReader(text))
		if wantErr := caddyEnviron(rt, file); (err != nil) != (wantErr != nil) {
			rt.Fatalf("%q: the error is %v, and Caddy's is %v", text, err, wantErr)
		}
		for _, name := range names {
			want, wantSet := os.LookupEnv(name)
			if value, set := got[name]; value != want || set != wantSet {
				rt.Fatalf("%q: %s is %q (%t), and Caddy has %q (%t)", text, name, value, set, want, wantSet)
			}
			if err := os.Unsetenv(name); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// caddyEnviron runs "caddy environ", which sets the variables of the file.
func caddyEnviron(rt *rapid.T, file string) error {
	cmd := new(cobra.Command)
	caddycmd.Commands()["environ"].CobraFunc(cmd)
	if err := cmd.Flags().Set("envfile", file); err != nil {
		rt.Fatal(err)
	}
	return cmd.RunE(cmd, nil)
}

// printTo sends the standard output of the process to a file while the test runs. The
// test may change Caddy's default storage.
func printTo(t *testing.T, file string) {
	t.Helper()
	out, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdout, storage, autosave := os.Stdout, caddy.DefaultStorage, caddy.ConfigAutosavePath
	os.Stdout = out
	t.Cleanup(func() {
		os.Stdout, caddy.DefaultStorage, caddy.ConfigAutosavePath = stdout, storage, autosave
		if err := out.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLoadEnvFile_ErrorsShowNoValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"hunter2":               "line 1: want NAME=VALUE",
		"# x\n\n=hunter2":       "line 3: want NAME=VALUE",
		"A B=hunter2":           "line 1: want NAME=VALUE",
		"PEPPER= hunter2":       "line 1: the value of PEPPER begins with a space: want NAME=VALUE",
		"A=\"x\ny\"\nhunter2\n": "line 3: want NAME=VALUE",
	} {
		if _, err := parseEnvFile(strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}
