// Command mutants changes the code one place at a time, such as a < into a <=, and runs
// the tests. A change that no test notices has survived: nothing holds that behaviour.
//
//	go run ./mutants -since HEAD~5
//
// It changes only lines that have changed since a commit, in the packages of [core]. All
// changes of a package are compiled into one test binary, and an environment variable
// chooses one. So there is one build for each package, and only the tests that reach a
// change run.
//
// It prints the survivors. The exit status is 1 if more than 8 % of the changes have
// survived, and more than two. Some changes have no effect, so a few survivors are
// normal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// core maps the directory of each package to change to the packages whose tests hold
// its behaviour.
var core = []target{
	{"policy", "policy"},
	{"dialect", "dialect"},
	{"internal/credential", "internal/credential"},
	{"internal/issuance", "internal/issuance"},
	{"internal/jsonanswer", "internal/jsonanswer"},
	{"internal/limits", "internal/limits"},
	{"internal/manage", "internal/manage"},
	{"internal/share", "internal/share internal/limits internal/throttle"},
	{"internal/stream/wsframe", "internal/stream/wsframe internal/stream"},
	{"internal/stream", "internal/stream"},
	{"internal/throttle", "internal/throttle"},
	{"keystore/internal/recordcache", "keystore/internal/recordcache keystore"},
	{"keystore/internal/sqlite", "keystore/internal/sqlite keystore"},
	{"keystore/internal/postgres", "keystore/internal/postgres keystore"},
	{"keystore", "keystore"},
	{"caddymodule/livestream", "caddymodule/livestream caddymodule"},
	{"caddymodule/gate", "caddymodule/gate caddymodule"},
}

// target is a package to change. tests are the directories of the packages whose tests
// hold its behaviour, separated by spaces.
type target struct{ dir, tests string }

// maySurvive is how many of n changes may survive.
func maySurvive(n int) int { return max(2, n*8/100) }

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	since := flag.String("since", "HEAD~1", "change only lines that have changed since this commit")
	limit := flag.Duration("time", 15*time.Minute, "after this time, report what was found until then")
	jobs := flag.Int("jobs", runtime.NumCPU(), "how many changes to test at once")
	flag.Parse()
	if flag.NArg() > 0 || *limit <= 0 || *jobs < 1 {
		fmt.Fprintln(os.Stderr, "mutants: want options only, a time above zero and a job at least; see -help")
		os.Exit(2)
	}
	p := program{root: ".", targets: core, since: *since, deadline: time.Now().Add(*limit), jobs: *jobs, out: os.Stdout}
	ok, err := p.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// program is what the options say.
type program struct {
	root     string // of the repository
	targets  []target
	since    string
	deadline time.Time
	jobs     int
	out      io.Writer
}

// say prints a line of the report.
func say(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) }

// run reports whether few enough changes have survived.
func (p *program) run(ctx context.Context) (ok bool, err error) {
	changed, err := changedLines(ctx, p.root, p.since)
	if err != nil {
		return false, err
	}
	temp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(temp) }()

	var units []*unit
	for _, t := range p.targets {
		if changed.in(t.dir) {
			units = append(units, &unit{
				root: p.root, dir: t.dir, tests: strings.Fields(t.tests), out: p.out,
				temp: filepath.Join(temp, strings.ReplaceAll(t.dir, "/", "_")),
			})
		}
	}
	var all counts
	for i, u := range units {
		// Each package gets the same part of the time that is left.
		part := time.Until(p.deadline) / time.Duration(len(units)-i)
		n, err := u.run(ctx, changed, time.Now().Add(part), p.jobs)
		if err != nil {
			return false, fmt.Errorf("package %s: %w", u.dir, err)
		}
		all.add(n)
		if ctx.Err() != nil {
			return false, errors.New("interrupted")
		}
	}
	say(p.out, "%d changes since %.12s: %d killed, %d survived, of which no test reaches %d; for %d there was no time",
		all.killed+all.survived+all.untested, p.since, all.killed, all.survived, all.unreached, all.untested)
	if all.untested > 0 && all.killed+all.survived == 0 {
		say(p.out, "FAILED: there was no time for any change: want a longer -time")
		return false, nil
	}
	if may := maySurvive(all.killed + all.survived); all.survived > may {
		say(p.out, "FAILED: %d survived, and %d may", all.survived, may)
		return false, nil
	}
	return true, nil
}

// counts says what became of changes.
type counts struct{ killed, survived, unreached, untested int }

func (c *counts) add(more counts) {
	c.killed += more.killed
	c.survived += more.survived
	c.unreached += more.unreached
	c.untested += more.untested
}
