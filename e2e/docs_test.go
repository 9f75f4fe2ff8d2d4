package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// TestTheExampleOfEachDirectivePageValidates holds that the Caddyfile of each page
// in docs/directives is formatted and valid, and that its JSON is the page's.
func TestTheExampleOfEachDirectivePageValidates(t *testing.T) {
	t.Setenv("AMIVOICE_KEY", "AbCdEfGh0123456789")
	t.Setenv("SPEECHGATE_PEPPER", "0123456789abcdef0123456789abcdef")
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	pages, err := filepath.Glob("../docs/directives/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("pages %q, %v", pages, err)
	}
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			example := block(t, text, "caddyfile")
			if formatted := caddyfile.Format(example); !bytes.Equal(formatted, example) {
				t.Errorf("caddy fmt would write\n%s", formatted)
			}
			adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(example, map[string]any{"filename": "Caddyfile"})
			if err != nil || len(warnings) > 0 {
				t.Fatalf("adapting: %v, warnings %v", err, warnings)
			}
			var config caddy.Config
			if err := json.Unmarshal(adapted, &config); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&config); err != nil {
				t.Errorf("validating: %v", err)
			}
			var whole, part any
			if err := json.Unmarshal(adapted, &whole); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(block(t, text, "json"), &part); err != nil {
				t.Fatal(err)
			}
			if !contains(whole, part) {
				t.Errorf("the page's JSON is not in\n%s", adapted)
			}
		})
	}
}

// block returns the one fenced block of a page in this language.
func block(t *testing.T, page []byte, language string) []byte {
	t.Helper()
	blocks := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(blocks) != 1 {
		t.Fatalf("the page has %d blocks of %s, want 1", len(blocks), language)
	}
	return blocks[0][1]
}

// contains reports whether whole, or a value in it, equals part.
func contains(whole, part any) bool {
	if reflect.DeepEqual(whole, part) {
		return true
	}
	switch whole := whole.(type) {
	case map[string]any:
		for _, member := range whole {
			if contains(member, part) {
				return true
			}
		}
	case []any:
		for _, element := range whole {
			if contains(element, part) {
				return true
			}
		}
	}
	return false
}
