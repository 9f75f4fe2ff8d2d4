package speechgate_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/speechgate/speechgate/policy"
)

// TestEveryLinkInTheDocsResolves holds that each relative link in a Markdown
// file leads to a file or directory of the repository, and that its anchor is a
// heading of the page.
func TestEveryLinkInTheDocsResolves(t *testing.T) {
	t.Parallel()
	pages := markdownPages(t)
	for page, text := range pages {
		for _, target := range linksOf(text) {
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			path, err := url.PathUnescape(path)
			if err != nil {
				t.Errorf("%s: the link %q does not parse: %v", page, target, err)
				continue
			}
			file := page
			if path != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(page), path))
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: the link %q leads to no file", page, target)
				continue
			}
			if anchor == "" {
				continue
			}
			linked, isPage := pages[file]
			if !isPage || !slices.Contains(anchorsOf(linked), anchor) {
				t.Errorf("%s: the link %q leads to no heading of %s", page, target, file)
			}
		}
	}
}

// TestEveryPageIsInTheIndex holds that docs/README.md links to every page below docs.
func TestEveryPageIsInTheIndex(t *testing.T) {
	t.Parallel()
	pages := markdownPages(t)
	linked := make(map[string]bool)
	for _, target := range linksOf(pages["docs/README.md"]) {
		path, _, _ := strings.Cut(target, "#")
		linked[filepath.ToSlash(filepath.Join("docs", path))] = true
	}
	for page := range pages {
		if strings.HasPrefix(page, "docs/") && page != "docs/README.md" && !linked[page] {
			t.Errorf("docs/README.md has no link to %s", page)
		}
	}
}

// TestEveryReasonHasARow holds that docs/reasons.md has one row for each reason
// of policy, and no row for any other word.
func TestEveryReasonHasARow(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]int)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		rows[row[1]]++
	}
	for _, reason := range policy.Reasons() {
		if rows[reason.String()] != 1 {
			t.Errorf("docs/reasons.md has %d rows for the reason %s, want 1", rows[reason.String()], reason)
		}
		delete(rows, reason.String())
	}
	for word := range rows {
		t.Errorf("docs/reasons.md has a row for %s, which is not a reason of policy", word)
	}
}

// TestTheArchitecturePageNamesEveryPackage holds that docs/architecture.md has each
// package of the module.
func TestTheArchitecturePageNamesEveryPackage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for dir := range packageImports(t) {
		switch dir {
		case ".", "e2e/neighbours", "e2e/sdk/assemblyai", "e2e/sdk/deepgram", "e2e/sdk/openai", "docs/examples/issue-key":
			continue
		}
		if !strings.Contains(string(text), "`"+dir+"`") {
			t.Errorf("docs/architecture.md does not name the package %s", dir)
		}
	}
}

// markdownPages returns the text of every Markdown file of the repository, by
// its path with slashes.
func markdownPages(t *testing.T) map[string]string {
	t.Helper()
	pages := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || strings.HasPrefix(entry.Name(), ".") && path != "."):
			return filepath.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		pages[filepath.ToSlash(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

var (
	fencedBlock = regexp.MustCompile("(?ms)^```.*?^```$")
	codeBlock   = regexp.MustCompile(`(?m)^(    |\t).*$`)
	codeSpan    = regexp.MustCompile("`[^`\n]*`")
	inlineLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading     = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	linkText    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// linksOf returns the targets of the inline links in a page, except those in code.
func linksOf(text string) []string {
	text = fencedBlock.ReplaceAllString(text, "")
	text = codeBlock.ReplaceAllString(text, "")
	text = codeSpan.ReplaceAllString(text, "")
	var targets []string
	for _, link := range inlineLink.FindAllStringSubmatch(text, -1) {
		targets = append(targets, link[1])
	}
	return targets
}

// anchorsOf returns the anchors that GitHub gives to the headings of a page:
// letters in lower case, a hyphen for each space, and no punctuation except
// hyphens and underscores.
func anchorsOf(text string) []string {
	text = fencedBlock.ReplaceAllString(text, "")
	var anchors []string
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		title := linkText.ReplaceAllString(match[1], "$1")
		anchor := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, title)
		for n, base := 1, anchor; slices.Contains(anchors, anchor); n++ {
			anchor = base + "-" + string(rune('0'+n))
		}
		anchors = append(anchors, anchor)
	}
	return anchors
}
