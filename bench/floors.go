//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
)

// floorOf measures the floor: the least that a check of the key costs, for polls or, in
// the case "floor-query", for recognitions with the key in the query. It has no targets.
func floorOf(name string) func(*suite) error {
	return func(s *suite) error {
		f, err := s.small()
		if err != nil {
			return err
		}
		floor, err := s.floorSite(name, f)
		if err != nil {
			return err
		}
		next := f.poll
		if name == "floor-query" {
			next = f.query
		}
		return s.smallRequests(name, f, floor, next, cpuAtMost(0), throughputAtLeast(0), p99AtMost(0))
	}
}

// floorSite returns a site of the floor that knows the keys of f and, except in the case "floor", its
// jobs.
func (s *suite) floorSite(name string, f *fixture) (site, error) {
	args := []string{filepath.Join(s.dir, "secrets"), upstreamKey}
	files := map[string][]string{args[0]: f.keys}
	if name != "floor" {
		args = append(args, filepath.Join(s.dir, "jobs"))
		files[args[2]] = f.jobs
	}
	if name == "floor-cost" {
		args = append(args, "cost")
	}
	for path, lines := range files {
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return site{}, err
		}
	}
	return site{name: name, binary: "floor", key: upstreamKey, before: "bench_floor * " + strings.Join(args, " ")}, nil
}

// slowPolls does what churn does, without changes to keys. It shows how late polls are at this rate
// in any case.
func (s *suite) slowPolls() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	one, gate, err := s.warmPair(f, plainSite(), gateSite(f))
	if err != nil {
		return err
	}
	site, err := s.floorSite("floor-cost", f)
	if err != nil {
		return err
	}
	floor, err := s.start(site, s.loop.addr)
	if err != nil {
		return err
	}
	if err := s.warm(floor, f); err != nil {
		return err
	}
	p := plan{conns: smallConns, next: f.poll, classes: []class{answered}, rate: churnRate, together: true}
	if err := s.atRate("poll-slow", one, gate, p, p99AtMost(0)); err != nil {
		return err
	}
	return s.atRate("floor-cost", one, floor, p, p99AtMost(0))
}
