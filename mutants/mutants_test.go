package main

import (
	"bytes"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// changes returns the changes of a file, and the file with all of them.
func changes(t *testing.T, source string, changed func(line int) bool) (whats []string, all string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "p.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.Default()}
	if _, err := conf.Check("p", fset, []*ast.File{file}, info); err != nil {
		t.Fatal(err)
	}
	f := finder{fset: fset, info: info, source: []byte(source), file: "p.go", changed: map[int]bool{}}
	for line := range strings.Count(source, "\n") + 1 {
		f.changed[line+1] = changed == nil || changed(line+1)
	}
	f.find(file)
	for _, m := range f.mutants {
		whats = append(whats, m.what)
	}
	return whats, string(apply(f.source, f.edits))
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code string // the body of a function of a, b int, s string, ok bool, named flag
		want []string
	}{
		{"_ = a == b", []string{"a == b: negated"}},
		{"_ = a < b", []string{"a < b: negated", "a < b: <= in place of <"}},
		{"_ = a >= b", []string{"a >= b: negated", "a >= b: > in place of >="}},
		{"_ = ok && a == b", []string{"ok: left out of &&", "a == b: left out of &&", "a == b: negated"}},
		{"_ = ok || ok || !ok", []string{"!ok: left out of ||", "ok: left out of ||", "ok: left out of ||"}},
		{"if ok {}", []string{"ok: negated"}},
		{"if !ok {}", []string{"!ok: negated"}},
		{"for ok {}", []string{"ok: negated"}},
		{"for {}", nil},
		{"switch { case ok: }", []string{"ok: negated"}},
		{"switch any(a).(type) { case bool: }", nil},
		{"if named {}", nil},
		{"_ = a + b", []string{"a + b: - in place of +"}},
		{"_ = a - 1", []string{"a - 1: + in place of -"}},
		{`_ = s + "x"`, nil},
		{"const c = 1 + 2; _ = c", nil},
		{"a = b", []string{"a = b: left out"}},
		{"a++", []string{"a++: left out"}},
		{"x := a; _ = x", nil},
		{"print(a)", []string{"print(a): left out"}},
		{"panic(a)", nil},
		{"defer print(a)", []string{"defer print(a): left out"}},
		{"for { break }", []string{"break: left out"}},
		{"goto end; end:", nil},
		{"_ = func() bool { return ok }", []string{"ok: negated"}},
		{"_ = a <\n\tb", []string{"a < b: negated"}},
	} {
		source := "package p\n\ntype flag bool\n\nfunc f(a, b int, s string, ok bool, named flag) {\n" + c.code + "\n}\n"
		got, all := changes(t, source, nil)
		slices.Sort(got)
		slices.Sort(c.want)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.code, diff)
		}
		// What all changes make of it compiles.
		fset := token.NewFileSet()
		var files []*ast.File
		for name, text := range map[string]string{"p.go": all, "zz.go": helper("p")} {
			file, err := parser.ParseFile(fset, name, text, 0)
			if err != nil {
				t.Fatalf("%s: %v\n%s", c.code, err, text)
			}
			files = append(files, file)
		}
		conf := types.Config{Importer: importer.Default()}
		if _, err := conf.Check("p", fset, files, nil); err != nil {
			t.Errorf("%s: %v\n%s", c.code, err, all)
		}
	}
}

func TestFind_OnlyInChangedLines(t *testing.T) {
	t.Parallel()
	source := "package p\n\nfunc f(a, b int) bool {\n\ta++\n\tb++\n\treturn a == b\n}\n"
	got, _ := changes(t, source, func(line int) bool { return line == 5 })
	if diff := cmp.Diff([]string{"b++: left out"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseDiff(t *testing.T) {
	t.Parallel()
	got, err := parseDiff(`diff --git a/x/a.go b/x/a.go
--- a/x/a.go
+++ b/x/a.go
@@ -1,2 +3 @@ func f() {
-old
-old
+new
@@ -9,0 +10,2 @@
+new
+new
@@ -20,3 +22,0 @@
--- a/x/a_test.go
+++ b/x/a_test.go
@@ -1 +1 @@
--- a/x/gone.go
+++ /dev/null
@@ -1,5 +0,0 @@
`)
	if diff := cmp.Diff(lines{"x/a.go": {3: true, 10: true, 11: true}}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if !got.in("x") || got.in(".") || got.in("x/a.go") {
		t.Error("want only directory x changed")
	}
}

// repository makes a module with two versions of a file, and returns its directory.
func repository(t *testing.T, before, after, tests string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "p"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("go.mod", "module example\n\ngo 1.24\n")
	write("p/p.go", before)
	write("p/p_test.go", tests)
	for _, args := range []string{"init -q", "add -A", "-c user.name=t -c user.email=t@example.com commit -q -m first"} {
		cmd := exec.Command("git", strings.Fields(args)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	write("p/p.go", after)
	return dir
}

const (
	before = "package p\n\nfunc Max(a, b int) int {\n\tif a > b {\n\t\treturn a\n\t}\n\treturn b\n}\n"
	added  = `
func Between(a, low, high int) bool { return low <= a && a < high }

func Count(n int) (sum int) {
	for i := 0; i < n; i++ {
		sum++
	}
	return sum
}

func Untested(n int) int { return n + 1 }
`
	tests = `package p

import "testing"

func TestBetween(t *testing.T) {
	if !Between(1, 1, 3) || Between(0, 1, 3) || Between(5, 1, 3) {
		t.Fatal()
	}
}

func TestCount(t *testing.T) {
	if Count(3) != 3 {
		t.Fatal()
	}
}

func TestFails(t *testing.T) { t.Fatal("always") }
`
)

func TestRun_ReportsWhatSurvives(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := program{
		root: repository(t, before, before+added, tests), targets: []target{{"other", "other"}, {"p", "p"}},
		since: "HEAD", deadline: time.Now().Add(5 * time.Minute), jobs: 2, out: &out,
	}
	ok, err := p.run(t.Context())
	if err != nil || !ok {
		t.Errorf("got %t, %v", ok, err)
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	slices.Sort(got)
	want := []string{
		// Max is older than the commit. 3 is not tried.
		"NO TEST REACHES p/p.go:19:35: n + 1: - in place of +",
		"SURVIVED p/p.go:10:58: a < high: <= in place of <",
		"p: 10 changes",
		"TestFails fails without a change, and is left out",
		"10 changes since HEAD: 8 killed, 2 survived, of which no test reaches 1; for 0 there was no time",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRun_FailsIfTooManySurvive(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := program{
		root: repository(t, before, before+added, "package p\n"), targets: []target{{"p", "p"}},
		since: "HEAD", deadline: time.Now().Add(5 * time.Minute), jobs: 2, out: &out,
	}
	ok, err := p.run(t.Context())
	if err != nil || ok || !strings.HasSuffix(out.String(), "FAILED: 10 survived, and 2 may\n") {
		t.Errorf("got %t, %v\n%s", ok, err, &out)
	}
}

func TestRun_FailsIfThereIsNoTime(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := program{
		root: repository(t, before, before+added, tests), targets: []target{{"p", "p"}},
		since: "HEAD", deadline: time.Now(), jobs: 2, out: &out,
	}
	ok, err := p.run(t.Context())
	want := "10 changes since HEAD: 0 killed, 0 survived, of which no test reaches 0; for 10 there was no time\nFAILED: there was no time for any change: want a longer -time\n"
	if err != nil || ok || !strings.HasSuffix(out.String(), want) {
		t.Errorf("got %t, %v\n%s", ok, err, &out)
	}
}

func TestRun_NamesAnUnknownCommit(t *testing.T) {
	t.Parallel()
	p := program{root: repository(t, before, before, tests), since: "nothing", deadline: time.Now(), out: new(bytes.Buffer)}
	if _, err := p.run(t.Context()); err == nil || !strings.Contains(err.Error(), "git diff nothing: ") || !strings.Contains(err.Error(), "bad revision") {
		t.Errorf("got %v", err)
	}
}

func TestMaySurvive(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{0: 2, 10: 2, 25: 2, 38: 3, 100: 8} {
		if got := maySurvive(n); got != want {
			t.Errorf("of %d may survive %d, want %d", n, got, want)
		}
	}
}
