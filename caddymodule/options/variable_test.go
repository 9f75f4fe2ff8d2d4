package options

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestParseBlock_BlamesAVariableThatIsNotSet(t *testing.T) {
	t.Setenv("SGT_EMPTY", "")
	t.Setenv("SGT_SET", "set")
	for name, test := range map[string]struct{ line, want string }{
		"alone":              {"text {$SGT_UNSET}", "text: the environment variable SGT_UNSET is not set, so that Caddy replaces {$SGT_UNSET} by nothing"},
		"a part of a value":  {"text {$SGT_UNSET}/keystore.db", "SGT_UNSET is not set"},
		"behind another":     {"text {$SGT_SET}{$SGT_UNSET}", "SGT_UNSET is not set"},
		"empty":              {"text {$SGT_EMPTY}", "text: the environment variable SGT_EMPTY is empty"},
		"empty and harmless": {"text {$SGT_EMPTY}value", ""},
		"set":                {"text {$SGT_SET}", ""},
		"a default":          {"text {$SGT_UNSET:default}", ""},
		"an empty default":   {"text {$SGT_UNSET:}", "text: want one value after text"},
		"in a comment":       {"text value # not {$SGT_UNSET}", ""},
		"behind a tab":       {"text value\t# not {$SGT_UNSET}", ""},
		"behind a #":         {"text value#{$SGT_UNSET}", "SGT_UNSET is not set"},
		"in a quoted value":  {"text \"a #{$SGT_UNSET}\"", "SGT_UNSET is not set"},
		"behind a default":   {"text {$SGT_UNSET:a}{$SGT_UNSET2}", "SGT_UNSET2 is not set"},
		"in a default":       {"text {$SGT_SET:{$SGT_UNSET}", ""},
		"no name":            {"text {$}{$SGT_UNSET}", "SGT_UNSET is not set"},
		"a placeholder":      {"text {env.SGT_UNSET}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			body := "site\nspeechgate {\n\t" + test.line + "\n}\n"
			if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
			blocks, err := caddyfile.Parse(file, []byte("site {\nspeechgate {\n"+strings.TrimPrefix(body, "site\nspeechgate {\n")+"}\n"))
			if err != nil {
				t.Fatal(err)
			}
			d := caddyfile.NewDispenser(blocks[0].Segments[0])
			d.Next()
			var value string
			err = ParseBlock(d, map[string]Option{"text": Text(&value)})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Caddy names a configuration that was sent to the admin API Caddyfile, and does not read it from
// a file of this name.
func TestParseBlock_ReadsNoLineOfAnotherFile(t *testing.T) {
	t.Setenv("SGT_SET", "set")
	dir := t.TempDir()
	t.Chdir(dir)
	for _, line := range []string{
		"other {$SGT_UNSET}", "text {$SGT_UNSET}", "text other{$SGT_UNSET}", "text value more {$SGT_UNSET}",
		"text {$SGT_SET}{$SGT_UNSET}", "text {$SGT_UNSET:other}{$SGT_UNSET}", "text \"{$SGT_UNSET}",
	} {
		if err := os.WriteFile("Caddyfile", []byte("\n"+line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Caddyfile", filepath.Join(dir, "Caddyfile"), filepath.Join(dir, "none"), dir} {
			if value, err := parseText(name, "value"); err != nil || value != "value" {
				t.Errorf("%s, %s: got %q, %v", name, line, value, err)
			}
		}
	}
	if err := os.WriteFile("Caddyfile", []byte("\ntext {$SGT_UNSET}value\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := parseText("Caddyfile", "value"); err == nil {
		t.Error("the words of the line are those of the option: want an error that names the variable")
	}
}

// parseText reads the option text with one value, on the second line of a file.
func parseText(file, value string) (string, error) {
	d := caddyfile.NewDispenser([]caddyfile.Token{
		{File: file, Line: 1, Text: "speechgate"},
		{File: file, Line: 1, Text: "{"},
		{File: file, Line: 2, Text: "text"},
		{File: file, Line: 2, Text: value},
		{File: file, Line: 3, Text: "}"},
	})
	d.Next()
	var read string
	err := ParseBlock(d, map[string]Option{"text": Text(&read)})
	return read, err
}
