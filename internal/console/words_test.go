package console

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Every text in a template, in a call of T, and in a call that makes a page has a Japanese text
// with the same verbs.
func TestEveryTextIsInJapanese(t *testing.T) {
	t.Parallel()
	texts := japaneseTexts()
	used := make(map[string]string) // where, by text
	call := regexp.MustCompile(`\.T ("(?:[^"\\]|\\.)*")`)
	pages, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range pages {
		body, err := fs.ReadFile(pageFiles, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range call.FindAllStringSubmatch(string(body), -1) {
			text, err := strconv.Unquote(found[1])
			if err != nil {
				t.Fatal(err)
			}
			used[text] = file
		}
	}
	files := token.NewFileSet()
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	// The calls whose arguments are texts, and which argument is the first one.
	calls := map[string]int{"T": 0, "problem": 1, "show": 1, "render": 2}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(files, source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := c.Fun.(*ast.SelectorExpr)
			first, known := 0, false
			if ok {
				first, known = calls[method.Sel.Name]
			}
			if !known {
				return true
			}
			last := first
			if method.Sel.Name == "problem" {
				last = first + 1
			}
			for i := first; i <= last && i < len(c.Args); i++ {
				if lit, ok := c.Args[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value)
					used[text] = source
				}
			}
			return true
		})
	}
	for _, words := range [][]string{
		manage.KeyStatuses(), manage.KeyOrigins(), policy.LimitableOperations(), slices.Collect(maps.Values(doneTexts)), slices.Collect(maps.Values(ruleNames)), manage.AccountStatuses(), manage.EndsBy(),
		keystore.CacheNames(), manage.ActorKinds(), manage.OperatorStatuses(),
		{"ok", "refused", "not applicable", "not reached"},
	} {
		for _, word := range words {
			used[word] = "a list"
		}
	}
	verbs := regexp.MustCompile(`%[a-z]`)
	said := phrases(t) // TestEveryMistakeAndRuleIsInJapanese looks at them
	for text, where := range used {
		japanese, ok := texts[text]
		if !ok {
			t.Errorf("%s: %q has no Japanese text", where, text)
			continue
		}
		if got, want := verbs.FindAllString(japanese, -1), verbs.FindAllString(text, -1); !slices.Equal(got, want) {
			t.Errorf("%q has the verbs %v, and in Japanese %v", text, want, got)
		}
	}
	jobStates := []string{"unknown", "queued", "started", "processing", "completed", "error"}
	for text := range texts {
		if _, ok := used[text]; !ok && said[text] == "" && !slices.Contains(jobStates, text) {
			t.Errorf("the Japanese text of %q is for nothing", text)
		}
	}
	for text := range englishPlurals {
		if _, ok := used[text]; !ok {
			t.Errorf("the plural forms of %q are for nothing", text)
		}
	}
}

func TestLanguage_IsThatOfTheReader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for accept, want := range map[string]string{
		"": "Sign in", "en": "Sign in", "ja": "サインイン", "ja-JP,ja;q=0.9,en;q=0.8": "サインイン", "en-US,ja;q=0.5": "Sign in", "fr": "Sign in", "fr,ja;q=0.3": "サインイン", "%%%": "Sign in",
	} {
		b := f.browser()
		b.header.Set("Accept-Language", accept)
		b.want(b.get("sign-in"), 200, "<h1>"+want+"</h1>")
	}
	b := f.browser()
	b.header.Set("Accept-Language", "en")
	b.wantRedirect(b.post("preferences", "lang", "ja", "next", "sign-in"), "sign-in")
	b.want(b.get("sign-in"), 200, `<html lang="ja"`, "サインイン")
	b.post("preferences", "lang", "en")
	b.want(b.get("sign-in"), 200, `<html lang="en"`)
}

func TestTheme_IsRemembered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser()
	b.want(b.get("sign-in"), 200, `data-theme="auto"`)
	b.post("preferences", "theme", "dark")
	b.want(b.get("sign-in"), 200, `data-theme="dark"`)
	b.post("preferences", "theme", "pink")
	b.want(b.get("sign-in"), 200, `data-theme="dark"`)
	b.post("preferences", "theme", "auto")
	b.want(b.get("sign-in"), 200, `data-theme="auto"`)
}

func TestTimes_AreInTheZoneOfTheReader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.holder(f.account("Example Corp."))
	b.want(b.get(""), 200, `2030-03-17 17:46 <span class="zone">UTC</span>`)
	b.wantRedirect(b.post("preferences", "zone", "Asia/Tokyo", "next", "settings"), "settings")
	b.want(b.get(""), 200, `2030-03-18 02:46 <span class="zone">UTC+09:00</span>`)
	for _, zone := range []string{"Nowhere/City", "../../etc/passwd", "Local", "/etc/localtime", "Asia/Tokyo\x00"} {
		b.want(b.post("preferences", "zone", zone), http.StatusBadRequest)
	}
	// The end of a date is that of the reader's zone.
	check := b.want(b.post("keys/new", "expires", "date", "date", "2030-04-01", "step", "check"), 200)
	if !strings.Contains(check.body, "2030-04-02 00:00") || !strings.Contains(check.body, `datetime="2030-04-01T15:00:00.000Z"`) {
		t.Errorf("the date ends otherwise:\n%s", check.body)
	}
}

// The summary of a new key names operations as the form does.
func TestOperations_AreNamedAsInTheForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.holder(f.account("Example Corp."))
	form := []string{"expires", "never", "operations", "create_job", "operations", "read_job", "step", "check"}
	b.want(b.post("keys/new", form...), 200, "Operations: create_job, read_job.")
	b.header.Set("Accept-Language", "ja")
	b.want(b.post("keys/new", form...), 200, "利用できる操作：ジョブの作成、ジョブの取得")
}
