package speechgate_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// avoided are the phrases that comments and documents do not use, and what to
// write instead. Readers whose first language is not English stumble over these
// phrases. CONTRIBUTING.md says how this project writes.
var avoided = []struct {
	phrase  *regexp.Regexp
	instead string
}{
	{words(`but for`), `"except", or a sentence of its own`},
	{words(`save for`), `"except"`},
	{words(`none but`), `"only"`},
	{words(`nothing but`), `"only"`},
	{words(`anew`), `"again"`},
	{words(`who(so)?ever`), `"anyone who", or the noun`},
	{words(`whatsoever`), `leave it out`},
	{words(`whereof|wherein|whence|thence|hither|hitherto|thereof|therein`), `the noun`},
	{words(`stands? (?:in|on|at|behind|before|beside|between|after|above|below|apart|there)`), `"is in"`},
	{words(`stood in`), `"was in"`},
	{words(`in vain`), `"without a result"`},
	{words(`hardly`), `"rarely", "almost no"`},
	{words(`bears?`), `"carries", "has"`},
	{words(`borne`), `"carried"`},
	{words(`lest`), `"so that … not"`},
	{words(`for want of|for lack of`), `"without"`},
	{words(`(?:it|that|this|which|he|she|who|one) is none`), `"is not a …"`},
	{words(`(?:if|when|where|why) there (?:is|are) none`), `"if … does not exist", "if … has no …"`},
	{words(`nought|naught`), `"nothing", "0"`},
	{words(`of its own accord`), `"by itself"`},
	{words(`the like`), `name the things`},
	{words(`of which`), `a sentence of its own`},
	{words(`for ever`), `"without end"`},
	{words(`aught|betimes|erst|forthwith|perforce|withal|yonder`), `a common word`},
	{words(`is (?:to be|not) had`), `"is available"`},
	{words(`seldom`), `"rarely"`},
	{words(`as it were|so to speak`), `leave it out`},
	{words(`a fault of (?:the|its|an?) \w+'s`), `"an error of the …"`},
	{words(`no \w+ of (?:the|its|an?) \w+'s`), `"not an … of the …"`},
}

// words returns the expression for a phrase of whole words, in any case.
func words(phrase string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:` + phrase + `)\b`)
}

func TestCommentsAndDocumentsAvoidOldWords(t *testing.T) {
	t.Parallel()
	var found []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == "testdata" || entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && path != "." {
				return filepath.SkipDir
			}
			return nil
		}
		var prose []passage
		switch filepath.Ext(path) {
		case ".go":
			prose, err = commentsOf(path)
		case ".md":
			prose, err = paragraphsOf(path)
		}
		if err != nil {
			return err
		}
		for _, p := range prose {
			for _, f := range p.avoided() {
				found = append(found, path+":"+f)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		t.Errorf("%d avoided phrases in comments and documents:\n%s", len(found), strings.Join(found, "\n"))
	}
}

// passage is a paragraph of prose. A phrase can go from one line to the next.
type passage struct {
	line  int // the number of the first line
	lines []string
}

// avoided describes the avoided phrases in a passage, each with its line.
func (p passage) avoided() (found []string) {
	text := strings.Join(p.lines, " ")
	for _, a := range avoided {
		for _, at := range a.phrase.FindAllStringIndex(text, -1) {
			line, end := 0, len(p.lines[0])
			for end < at[0] {
				line++
				end += 1 + len(p.lines[line])
			}
			found = append(found, fmt.Sprintf("%d: %q: write %s", p.line+line, text[at[0]:at[1]], a.instead))
		}
	}
	return found
}

// commentsOf returns the comments of a Go file.
func commentsOf(path string) (prose []passage, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, group := range file.Comments {
		p := passage{line: set.Position(group.Pos()).Line}
		for _, comment := range group.List {
			for line := range strings.SplitSeq(comment.Text, "\n") {
				p.lines = append(p.lines, strings.TrimSpace(strings.Trim(line, "/*")))
			}
		}
		prose = append(prose, p)
	}
	return prose, nil
}

// code is code in a line of Markdown.
var code = regexp.MustCompile("`[^`]*`")

// paragraphsOf returns the paragraphs of a Markdown file, without code.
func paragraphsOf(path string) (prose []passage, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var p passage
	fenced := false
	for i, line := range append(strings.Split(string(text), "\n"), "") {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence {
			fenced = !fenced
		}
		if fence || fenced || strings.TrimSpace(line) == "" || strings.HasPrefix(line, "    ") {
			if len(p.lines) > 0 {
				prose = append(prose, p)
			}
			p = passage{}
			continue
		}
		if len(p.lines) == 0 {
			p.line = i + 1
		}
		p.lines = append(p.lines, strings.TrimSpace(code.ReplaceAllString(line, "`")))
	}
	return prose, nil
}

func TestAvoidedWordsAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lines := func(prose []passage, err error) (found []string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range prose {
			found = append(found, p.avoided()...)
		}
		return found
	}
	const source = `// Package p is short but
// for this comment.
package p

/* A key
   bears a name. */
const s = "anew, whoever, lest" // Hardly a bearer; it stands in line.

// There is none, which is plain. No fault of the store's.
`
	want := []string{
		`1: "but for": write "except", or a sentence of its own`,
		`6: "bears": write "carries", "has"`,
		`7: "stands in": write "is in"`,
		`7: "Hardly": write "rarely", "almost no"`,
		`9: "No fault of the store's": write "not an … of the …"`,
	}
	if diff := cmp.Diff(want, lines(commentsOf(write("p.go", source)))); diff != "" {
		t.Errorf("in comments (-want +got):\n%s", diff)
	}
	const document = "# A file\n\nThe gate stands\nin the way, `anew` or not.\n\n    caddy anew\n\n```\nlest\n```\n| in vain | x |\n"
	want = []string{
		`3: "stands in": write "is in"`,
		`11: "in vain": write "without a result"`,
	}
	if diff := cmp.Diff(want, lines(paragraphsOf(write("p.md", document)))); diff != "" {
		t.Errorf("in a document (-want +got):\n%s", diff)
	}
}
