//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// decision runs the Go benchmark of decisions. It is not compared with plain Caddy: its
// floor is a plain map of the same records.
func (s *suite) decision() error {
	s.progress("decision: go test -bench")
	cmd := exec.CommandContext(s.ctx, "go", "test", "-tags="+tags, "github.com/speechgate/speechgate/keystore", "-run", "^$", "-bench", "^BenchmarkDecision$", "-benchtime", "2s")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	line := regexp.MustCompile(`BenchmarkDecision/keys=(\d+)/(decision|plain-map)(?:-\d+)?\s+\d+\s+([0-9.]+) ns/op.*?(\d+) allocs/op`)
	targets := map[string]float64{"100000": 1, "1000000": 1.5}
	all := line.FindAllStringSubmatch(string(out), -1)
	if len(all) != 4 {
		return fmt.Errorf("%d of the benchmark's four figures were found in its output:\n%s", len(all), out)
	}
	for _, found := range all {
		if found[4] != "0" {
			return fmt.Errorf("a decision allocates: %s", found[0])
		}
		ns, err := strconv.ParseFloat(found[3], 64)
		if err != nil {
			return err
		}
		r := row{Case: "decision", Measure: found[1] + " keys cached, " + found[4] + " allocations", Unit: "µs", Gate: ns / 1e3, Pairs: 1, Target: targets[found[1]], AtMost: true, Absolute: true}
		if found[2] == "plain-map" {
			r.Measure, r.Target = "floor: SHA-256 and a map of "+found[1], 0
		}
		s.rows = append(s.rows, r)
	}
	return nil
}

// startAndMemory starts new proxies for each pair.
func (s *suite) startAndMemory() error {
	many, err := s.large()
	if err != nil {
		return err
	}
	run := func(site site) func() (sample, error) {
		return func() (sample, error) {
			begun := time.Now()
			p, err := s.start(site, s.loop.addr)
			if err != nil {
				return nil, err
			}
			defer p.stop()
			if _, err := s.play(p, plan{conns: 1, next: many.poll, classes: []class{answered}, length: time.Nanosecond}); err != nil {
				return nil, err
			}
			took := time.Since(begun)
			if err := s.warm(p, many); err != nil {
				return nil, err
			}
			held, err := p.memory("VmRSS")
			return sample{"first answer": took.Seconds(), "memory": held}, err
		}
	}
	err = s.compare("start", max(1, s.pairs/8), run(s.otherSite(many)), run(gateSite(many)),
		measure{name: "first answer", unit: "s, a million keys in the store", target: 1, atMost: true, absolute: true},
		measure{name: "memory", unit: "MiB, 100000 keys in use"})
	if err != nil {
		return err
	}
	r := s.rows[len(s.rows)-1]
	r.Measure, r.Unit, r.Gate, r.Target, r.AtMost, r.Absolute = "memory above plain", "MiB", r.Gate-r.Plain, 64, true, true
	r.Plain, r.Ratio, r.Low, r.High = 0, 0, 0, 0
	s.rows = append(s.rows, r)
	return nil
}

const collectorCase = "gc:"

// collector compares the gate with itself under other settings of the garbage collector.
func (s *suite) collector() error {
	f, err := s.small()
	if err != nil {
		return err
	}
	for _, setting := range []string{"GOGC=200", "GOGC=400"} {
		one, err := s.start(gateSite(f), s.loop.addr)
		if err != nil {
			return err
		}
		before := s.env
		s.env = append(slices.Clone(before), setting)
		other, err := s.start(gateSite(f), s.loop.addr)
		s.env = before
		if err != nil {
			return err
		}
		for _, p := range []*proxy{one, other} {
			if err := s.warm(p, f); err != nil {
				return err
			}
		}
		run := func(p *proxy) func() (sample, error) {
			return func() (sample, error) {
				r, err := s.play(p, plan{conns: smallConns, next: f.poll, classes: []class{answered}, length: s.length})
				if err != nil {
					return nil, err
				}
				held, err := p.memory("VmRSS")
				return sample{"throughput": r.perSecond(), "CPU per request": r.cpuEach(), "memory": held}, err
			}
		}
		err = s.compare(collectorCase+" Speechgate with "+setting+" against 100", max(1, s.pairs/2), run(one), run(other),
			measure{name: "throughput", unit: "requests/s"}, measure{name: "CPU per request", unit: "µs"}, measure{name: "memory", unit: "MiB"})
		if err != nil {
			return err
		}
		s.stopAll()
	}
	return nil
}

const profileTime = 10 * time.Second

// profiles writes CPU profiles of the proxies under load, if the user wants them.
func (s *suite) profiles(name string, proxies []*proxy, load func(*proxy) error) error {
	if s.profile == "" {
		return nil
	}
	name += s.suffix
	for _, p := range proxies {
		s.progress("%s: profile of the %s proxy", name, p.name)
		done := make(chan error, 1)
		go func() { done <- fetchProfile(s.ctx, p.admin, filepath.Join(s.profile, name+"-"+p.name+".pprof")) }()
		if err := errors.Join(load(p), <-done); err != nil {
			return err
		}
	}
	return nil
}

func fetchProfile(ctx context.Context, admin, file string) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, int((profileTime - time.Second).Seconds()))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := os.Create(file) //nolint:gosec // the caller of the program names the directory
	if err != nil {
		return err
	}
	_, err = io.Copy(out, resp.Body)
	return errors.Join(err, out.Close())
}
