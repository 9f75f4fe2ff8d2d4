package console

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/speechgate/speechgate/internal/words"
)

// phraseCalls are the calls that make a text of package phrase, and the arguments that are formats. The
// format of wrong follows the name of a field.
var phraseCalls = map[string][]int{"phrase.New": {0}, "phrase.Errorf": {0}, "phrase.Count": {1, 2}, "refuse": {1}, "wrong": {1}, "wrongIn": {1}}

// fieldCalls are the calls whose first argument is the name of a field in JSON.
var fieldCalls = []string{"wrong", "wrongIn", "inField", "oneOf", "field", "CheckID", "checkIDIfAny", "CheckAccount", "parseSpanOf", "parsePositiveSpan"}

// wordCalls are the calls whose first argument is what a text is about, in English.
var wordCalls = []string{"CheckText", "keystore.CheckText", "absent", "notFound", "phrase.Word"}

var verb = regexp.MustCompile(`%(?:\[(\d)\])?[.\d]*([a-z])`)

// phrases returns all texts that a page can have from packages manage, keystore, policy and words, with
// the place of each. The console makes no backups and no copies.
func phrases(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{"%s or %s": "package phrase"}
	for _, dir := range []string{"../../policy", "../../keystore", "../manage", "../words"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "backup") || strings.HasPrefix(name, "restore") || name == "copy.go" {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range parsed.Decls {
				f, ok := decl.(*ast.FuncDecl)
				if ok && (f.Name.Name == "refuse" || f.Name.Name == "wrong" || f.Name.Name == "wrongIn") {
					continue // its callers have the format
				}
				ast.Inspect(decl, func(n ast.Node) bool {
					if c, ok := n.(*ast.CallExpr); ok {
						notePhrases(t, file, c, found)
					}
					return true
				})
			}
		}
	}
	return found
}

// notePhrases notes the texts of one call.
func notePhrases(t *testing.T, file string, c *ast.CallExpr, found map[string]string) {
	t.Helper()
	name := ""
	switch fun := c.Fun.(type) {
	case *ast.Ident:
		name = fun.Name
	case *ast.SelectorExpr:
		if of, ok := fun.X.(*ast.Ident); ok {
			name = of.Name + "." + fun.Sel.Name
		}
	}
	for _, i := range phraseCalls[name] {
		if i >= len(c.Args) {
			continue
		}
		format, ok := literal(c.Args[i])
		switch {
		case !ok:
			t.Errorf("%s: the format of %s is not a constant text", file, name)
		case name == "wrong":
			format = "%s" + format
		case name == "phrase.Errorf":
			format = strings.ReplaceAll(format, "%w", "%v")
		}
		found[format] = file
	}
	if len(c.Args) == 0 {
		return
	}
	first, ok := literal(c.Args[0])
	switch {
	case !ok || first == "":
	case slices.Contains(fieldCalls, name):
		found[strings.ReplaceAll(first, "_", " ")] = file + ": the name of a field"
	case slices.Contains(wordCalls, name):
		found[first] = file + ": a word"
	}
}

// literal returns the value of an expression that is a text.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.SelectorExpr:
		if e.Sel.Name == "WantDuration" {
			return words.WantDuration, true
		}
	}
	return "", false
}

// Every text that a mistake or a rule of an explanation has is there in Japanese too, and shows all of its
// values.
func TestEveryMistakeAndRuleIsInJapanese(t *testing.T) {
	t.Parallel()
	catalog, err := newCatalog()
	if err != nil {
		t.Fatal(err)
	}
	printer := message.NewPrinter(language.Japanese, message.Catalog(catalog))
	texts := japaneseTexts()
	all := phrases(t)
	if len(all) < 200 {
		t.Errorf("there are only %d texts", len(all))
	}
	for format, where := range all {
		if _, ok := texts[format]; !ok {
			if !strings.ContainsFunc(verb.ReplaceAllString(format, ""), unicode.IsLetter) {
				continue // values only
			}
			t.Errorf("%s: %q is not in Japanese", where, format)
			continue
		}
		values, want := []any{}, []string{}
		for i, v := range verb.FindAllStringSubmatch(format, -1) {
			if v[2] == "d" {
				values, want = append(values, 1234567+i), append(want, printer.Sprint(1234567+i))
			} else {
				values, want = append(values, fmt.Sprintf("value%d", i)), append(want, fmt.Sprintf("value%d", i))
			}
		}
		said := printer.Sprintf(message.Key(format, format), values...)
		for _, value := range want {
			if strings.Count(said, value) != 1 {
				t.Errorf("%s: %q is in Japanese %q, without its value %s", where, format, said, value)
			}
		}
		if strings.Contains(said, "%!") || said == format {
			t.Errorf("%s: %q is in Japanese %q", where, format, said)
		}
	}
	for _, part := range []map[string]string{japaneseExplain, japaneseMistakes, japaneseMistakesIn, japaneseFields} {
		for text := range maps.Keys(part) {
			if _, ok := all[text]; !ok {
				t.Errorf("the Japanese text of %q is for nothing", text)
			}
		}
	}
}
