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

func TestParseBlock_ReadsNoLineOfAnotherFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte("\nother {$SGT_UNSET}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, filepath.Join(filepath.Dir(file), "none"), "Caddyfile"} {
		d := caddyfile.NewDispenser([]caddyfile.Token{
			{File: name, Line: 1, Text: "speechgate"},
			{File: name, Line: 1, Text: "{"},
			{File: name, Line: 2, Text: "text"},
			{File: name, Line: 2, Text: "value"},
			{File: name, Line: 3, Text: "}"},
		})
		d.Next()
		var value string
		if err := ParseBlock(d, map[string]Option{"text": Text(&value)}); err != nil || value != "value" {
			t.Errorf("%s: got %q, %v", name, value, err)
		}
	}
}
