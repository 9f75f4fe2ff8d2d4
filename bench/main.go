//go:build linux

// Command bench measures the cost of the gate. It compares the gate with the same Caddy,
// with the same settings and the same backend, without the gate.
//
//	go run ./bench
//
// It builds both and runs them in turns on one core, in short runs. So a disturbance of
// the machine disturbs both. Each figure is the median of the ratios of such pairs of
// runs, with an interval that contains the true median with at least 95 % confidence.
// Clients and backend are one event loop on the other cores. If a case measures latency,
// its requests come at a constant rate, and a request's latency begins when the request
// is due, even if it is sent later.
//
// The report goes to standard output in Markdown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer cancel()
	if err := bench(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "\nbench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context) error {
	var (
		names   = flag.String("case", "all", "the cases to run, separated by commas; see -list")
		list    = flag.Bool("list", false, "list the cases and end")
		pairs   = flag.Int("pairs", 40, "pairs of runs for each case; cases that start new processes run fewer")
		length  = flag.Duration("time", time.Second, "length of a run")
		dir     = flag.String("dir", "", "where keystores are made: a directory on the disk that is to be measured (default: one for temporary files)")
		keys    = flag.Int("keys", 100_000, "keys in use")
		env     = flag.String("env", "", "an environment variable of all proxies, such as GOGC=400")
		chart   = flag.String("chart", "", "write a chart of the ratios to this file, as SVG")
		profile = flag.String("profile", "", "write CPU profiles of both proxies to this directory")
		dsn     = flag.String("postgres", "", "connection string of an empty PostgreSQL database, for the cases postgres, postgres-issue, cluster, ten-million, database-costs and replica, which are none of all")
		restart = flag.String("restart", "", "a shell command that restarts the PostgreSQL server, for the case cluster, which does not restart it without")
		stores  = flag.Int("gateways", 100, "how many gateways the case database-costs opens at the same time")
		against = flag.String("against", "", "a build of another version of ./cmd/caddy, to compare with in place of plain Caddy; it must read the keystore of this version")
	)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("argument %q: there are options only; see -help", flag.Arg(0))
	}
	if *list {
		for _, c := range cases {
			fmt.Printf("%-17s %s\n", c.name, c.about)
		}
		return nil
	}
	chosen, err := choose(*names)
	if err != nil {
		return err
	}
	if *pairs < 1 || *length < 10*time.Millisecond || *keys < streamCount {
		return fmt.Errorf("-pairs %d -time %s -keys %d: want at least one pair of 10ms and %d keys", *pairs, *length, *keys, streamCount)
	}
	if *stores < 2 {
		return fmt.Errorf("-gateways %d: want two or more", *stores)
	}
	if *profile != "" {
		if err := os.MkdirAll(*profile, 0o750); err != nil {
			return err
		}
	}
	if err := leaveCore(proxyCore()); err != nil {
		return err
	}
	s := &suite{ctx: ctx, pairs: *pairs, length: *length, keys: *keys, profile: *profile, against: *against, postgres: *dsn, restart: *restart, stores: *stores}
	for _, c := range chosen {
		if *against != "" && !c.versions {
			return fmt.Errorf("-against: the case %s compares with something else than plain Caddy; name others with -case", c.name)
		}
	}
	if *env != "" {
		s.env = []string{*env}
	}
	if s.dir, err = os.MkdirTemp(*dir, "speechgate-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(s.dir) }()
	defer s.stopAll()
	s.bin = filepath.Join(s.dir, "bin")
	s.progress("building plain Caddy and the gate")
	if err := buildCaddies(ctx, s.bin); err != nil {
		return err
	}
	other := "Plain Caddy"
	if *against != "" {
		other = "Other build"
		if err := takeBuild(*against, s.bin); err != nil {
			return err
		}
	}
	begun := time.Now()
	var failed error
	for _, c := range chosen {
		if failed = s.runCase(c); failed != nil {
			break // the report shows the cases that have been measured
		}
	}
	s.progress("")
	facts, err := machineFacts(s.dir)
	if err != nil {
		return errors.Join(failed, err)
	}
	fmt.Printf("%s\n%s\nMeasured in %s, on %s, with -pairs %d -time %s.\n",
		facts, table(s.rows, other), time.Since(begun).Round(time.Second), begun.Format(time.DateOnly), *pairs, *length)
	if *chart != "" && failed == nil {
		return os.WriteFile(*chart, drawChart(s.rows), 0o644) //nolint:gosec // it is for everybody
	}
	return failed
}

// runCase runs a case with a new backend.
func (s *suite) runCase(c benchCase) (err error) {
	defer s.stopAll()
	if s.loop, err = newLoop(backend{created: s.created}); err != nil {
		return err
	}
	defer func() {
		s.created = s.loop.backend.created
		s.loop.end()
	}()
	return c.run(s)
}

func choose(names string) ([]benchCase, error) {
	if names == "all" {
		return slices.DeleteFunc(slices.Clone(cases), func(c benchCase) bool { return needsServer(c.name) }), nil
	}
	var chosen []benchCase
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(cases, func(c benchCase) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no case %q: see -list", name)
		}
		chosen = append(chosen, cases[i])
	}
	return chosen, nil
}
