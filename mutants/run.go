package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// unit is the run of one package.
type unit struct {
	root  string   // of the repository
	dir   string   // of the package, from the root
	tests []string // directories of the packages with its tests
	temp  string   // directory for files of this run
	out   io.Writer

	mutants []mutant
	all     []*test
	mu      sync.Mutex // held while a line is printed and counted
}

// test is a test, and what it takes without a change.
type test struct {
	binary, dir, name string
	took              time.Duration
	reaches           map[int]bool // mutants, by number
}

// run tests the changes of the package until the deadline.
func (u *unit) run(ctx context.Context, changed lines, deadline time.Time, jobs int) (counts, error) {
	overlay, err := u.change(ctx, changed)
	if err != nil || len(u.mutants) == 0 {
		return counts{}, err
	}
	say(u.out, "%s: %d changes", u.dir, len(u.mutants))
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for i, dir := range u.tests {
		if err := u.build(limited, overlay, i, dir); err != nil {
			if limited.Err() != nil {
				return counts{untested: len(u.mutants)}, nil
			}
			return counts{}, err
		}
	}
	if u.reach(limited, jobs); limited.Err() != nil { // which tests reach a change is not known
		return counts{untested: len(u.mutants)}, nil
	}
	slices.SortStableFunc(u.all, func(a, b *test) int { return int(a.took - b.took) })
	return u.testAll(limited, jobs), nil
}

// change finds the mutants, and writes the changed files and the overlay that puts them
// in place of the files of the package.
func (u *unit) change(ctx context.Context, changed lines) (overlay string, err error) {
	p, err := load(ctx, u.root, u.dir)
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(u.temp, 0o700); err != nil {
		return "", err
	}
	replace := map[string]string{}
	put := func(name string, text []byte) error {
		to := filepath.Join(u.temp, name)
		replace[filepath.Join(p.dir, name)] = to
		return os.WriteFile(to, text, 0o600)
	}
	for name, file := range p.files {
		path := u.dir + "/" + name
		if changed[path] == nil {
			continue
		}
		source, err := os.ReadFile(filepath.Join(p.dir, name)) //nolint:gosec // "go list" has named it
		if err != nil {
			return "", err
		}
		f := finder{fset: p.fset, info: p.info, source: source, file: path, changed: changed[path], mutants: u.mutants}
		f.find(file)
		u.mutants = f.mutants
		if err := put(name, apply(source, f.edits)); err != nil {
			return "", err
		}
	}
	if err := put("zz_mutants.go", []byte(helper(p.name))); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(u.temp, "overlay.json")
	return overlay, os.WriteFile(overlay, text, 0o600)
}

// build builds the tests of a package, and lists them.
func (u *unit) build(ctx context.Context, overlay string, number int, dir string) error {
	binary := filepath.Join(u.temp, strconv.Itoa(number)+".test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-overlay", overlay, "-o", binary, "./"+dir) //nolint:gosec // a directory of the list core
	build.Dir = u.root
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the tests of %s: %w\n%s", dir, err, text)
	}
	list := exec.CommandContext(ctx, binary, "-test.list", ".") //nolint:gosec // built above
	list.Dir = filepath.Join(u.root, dir)
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("listing the tests of %s: %w", dir, err)
	}
	for name := range strings.FieldsSeq(string(names)) {
		if !strings.HasPrefix(name, "Benchmark") {
			u.all = append(u.all, &test{binary: binary, dir: list.Dir, name: name, reaches: map[int]bool{}})
		}
	}
	return nil
}

// reach runs each test without a change, to find out which changes it reaches. A test
// that fails is left out.
func (u *unit) reach(ctx context.Context, jobs int) {
	each(jobs, u.all, func(t *test) {
		begun := time.Now()
		reached := fmt.Sprintf("%s.%s.reached", t.binary, t.name)
		if err := t.command(ctx, time.Hour, []string{t.name}, "MUTANT=reach", "MUTANT_REACHED="+reached).Run(); err != nil {
			u.mu.Lock()
			defer u.mu.Unlock()
			if ctx.Err() == nil {
				say(u.out, "%s fails without a change, and is left out", t.name)
			}
			return
		}
		t.took = time.Since(begun)
		text, _ := os.ReadFile(reached) //nolint:gosec // a file of this run; it is not there if nothing is reached
		for line := range strings.FieldsSeq(string(text)) {
			id, _ := strconv.Atoi(line)
			t.reaches[id] = true
		}
	})
}

// each calls f for each element, so many at once.
func each[T any](jobs int, all []T, f func(T)) {
	work := make(chan T)
	var wg sync.WaitGroup
	for range jobs {
		wg.Go(func() {
			for one := range work {
				f(one)
			}
		})
	}
	for _, one := range all {
		work <- one
	}
	close(work)
	wg.Wait()
}

// command runs tests of the binary.
func (t *test) command(ctx context.Context, limit time.Duration, names []string, env ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, t.binary, "-test.failfast", "-test.timeout", limit.String(), "-test.run", "^("+strings.Join(names, "|")+")$") //nolint:gosec // built by this program
	cmd.Dir = t.dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second // a process that a test has started may keep the pipes open
	return cmd
}

// testAll tests all changes, prints the survivors, and counts.
func (u *unit) testAll(ctx context.Context, jobs int) (n counts) {
	// In any order, so that those for which there is time are a fair sample.
	rand.Shuffle(len(u.mutants), func(i, j int) { //nolint:gosec // no secret
		u.mutants[i], u.mutants[j] = u.mutants[j], u.mutants[i]
	})
	each(jobs, u.mutants, func(m mutant) {
		killed, reached := u.kills(ctx, m)
		u.mu.Lock()
		defer u.mu.Unlock()
		switch {
		case killed:
			n.killed++
		case ctx.Err() != nil:
			n.untested++
		case !reached:
			n.unreached++
			n.survived++
			say(u.out, "NO TEST REACHES %s: %s", m.place, m.what)
		default:
			n.survived++
			say(u.out, "SURVIVED %s: %s", m.place, m.what)
		}
	})
	return n
}

// together is how long tests may take that run in one process.
const together = 3 * time.Second

// kills runs the tests that reach a change, the fastest first, until one fails.
func (u *unit) kills(ctx context.Context, m mutant) (killed, reached bool) {
	var tests []*test
	for _, t := range u.all {
		if t.reaches[m.id] {
			tests = append(tests, t)
		}
	}
	for i := 0; i < len(tests) && ctx.Err() == nil; {
		first := tests[i]
		var names []string
		var took time.Duration
		for ; i < len(tests) && tests[i].binary == first.binary && (names == nil || took+tests[i].took < together); i++ {
			names = append(names, tests[i].name)
			took += tests[i].took
		}
		limit := 10*took + 10*time.Second // a change may make a loop endless
		err := first.command(ctx, limit, names, "MUTANT="+strconv.Itoa(m.id)).Run()
		if err != nil && ctx.Err() == nil {
			return true, true
		}
	}
	return false, len(tests) > 0
}
