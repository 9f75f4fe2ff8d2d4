//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// suite is the state that all cases share.
type suite struct {
	ctx     context.Context
	dir     string // the directory for all files
	bin     string // the directory of the programs
	pairs   int
	length  time.Duration // the length of a run
	keys    int           // the number of keys in use
	profile string        // a directory for CPU profiles; empty for none
	env     []string      // the environment of the next proxies
	against string        // another build of the gateway; empty for plain Caddy
	// postgres is the connection string of an empty PostgreSQL database; empty for none.
	postgres string
	restart  string // a shell command that restarts the PostgreSQL server; empty for none
	stores   int    // gateways that the case database-costs opens at the same time
	suffix   string // the suffix of the case's name, if the case sets the proxies' environment
	running  []*proxy
	rows     []row

	some, many *fixture
	loop       *loop
	runs       int // how often jobs were recorded without a gate
	created    int // the number of jobs that were created; each has its own ID
}

// row is a line of the report.
type row struct {
	Case, Measure, Unit string
	Plain, Gate         float64 // the medians of the runs
	Ratio, Low, High    float64 // the median of the pairs' ratios, and its interval
	Pairs               int
	// Target is the limit of Ratio, or of Gate if Absolute is true. It is an upper limit
	// if AtMost is true, otherwise a lower limit. 0 means no limit.
	Target           float64
	AtMost, Absolute bool
}

// Met reports whether the target is met.
func (r *row) Met() bool {
	value := r.Ratio
	if r.Absolute {
		value = r.Gate
	}
	switch {
	case r.Target == 0:
		return true
	case r.AtMost:
		return value <= r.Target
	}
	return value >= r.Target
}

// sample holds the values that one run has measured, by the names of the measures.
type sample map[string]float64

// measure is a value that each run measures, with its target.
type measure struct {
	name, unit string
	target     float64
	atMost     bool
	absolute   bool
}

// compare runs both in turns, and adds a row for each measure. The order within a pair
// alternates.
func (s *suite) compare(name string, pairs int, plain, gate func() (sample, error), measures ...measure) error {
	name += s.suffix
	var plains, gates []sample
	for i := range pairs {
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
		s.progress("%s: pair %d of %d", name, i+1, pairs)
		order := []func() (sample, error){plain, gate}
		if i%2 == 1 {
			order[0], order[1] = gate, plain
		}
		var got [2]sample
		for j, run := range order {
			var err error
			if got[j], err = run(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if i%2 == 1 {
			got[0], got[1] = got[1], got[0]
		}
		plains, gates = append(plains, got[0]), append(gates, got[1])
	}
	for _, m := range measures {
		m = s.targetOf(m)
		r := row{Case: name, Measure: m.name, Unit: m.unit, Pairs: pairs, Target: m.target, AtMost: m.atMost, Absolute: m.absolute}
		var ones, others, ratios []float64
		for i := range plains {
			one, other := plains[i][m.name], gates[i][m.name]
			ones, others, ratios = append(ones, one), append(others, other), append(ratios, other/one)
		}
		r.Plain, r.Gate, r.Ratio = median(ones), median(others), median(ratios)
		r.Low, r.High = interval(ratios)
		s.rows = append(s.rows, r)
	}
	return nil
}

// targetOf returns the measure with its target against another build: to be as good as
// the other build.
func (s *suite) targetOf(m measure) measure {
	switch {
	case s.against == "" || m.absolute:
	case m.name == "p99", m.name == "first answer": // these differ more between two runs of one build
		m.target = 0
	case m.unit == "requests/s" || m.unit == "MB/s":
		m.target, m.atMost = 0.99, false
	default:
		m.target, m.atMost = 1.01, true
	}
	return m
}

// progress shows the current case and run in one line of a terminal.
func (*suite) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\x1b[K%s", fmt.Sprintf(format, args...))
}

// victims is how many keys are there to be revoked.
const victims = 50_000

// small returns a keystore whose keys are all in use, except the victims.
func (s *suite) small() (f *fixture, err error) {
	if s.some == nil {
		s.some, err = fill(s.ctx, s.dir, s.keys+victims, s.keys, s.progress)
	}
	return s.some, err
}

// large returns a keystore with a million keys. As many keys are in use as in small.
func (s *suite) large() (f *fixture, err error) {
	if s.many == nil {
		s.many, err = fill(s.ctx, s.dir, max(1_000_000, s.keys), s.keys, s.progress)
	}
	return s.many, err
}

const upstreamKey = "the-backends-own-key-0123456789"

// gateSite is a site with the gate and a keystore, for AmiVoice's API.
func gateSite(f *fixture) site { return gateFor(f, "amivoice", upstreamKey) }

// gateFor is a site with the gate for an API. Key is what the backend must find in each request.
func gateFor(f *fixture, dialect, key string) site {
	return site{
		name: "gate", binary: "gate", key: key,
		global: "speechgate {\n\t\tkeystore sqlite " + f.path + "\n\t}",
		before: "speechgate " + dialect + " {\n\t\tupstream_key " + upstreamKey + "\n\t\tmax_pending_streams 4096\n\t}",
	}
}

// otherSite returns the site that a gate for AmiVoice's API is compared with.
func (s *suite) otherSite(f *fixture) site { return s.insteadOf(gateSite(f)) }

// insteadOf returns the site that a gate is compared with: plain Caddy, or another build of the
// gateway with the same configuration and keystore.
func (s *suite) insteadOf(gate site) site {
	if s.against == "" {
		return plainSite()
	}
	gate.name, gate.binary = "other", otherBinary
	return gate
}

func plainSite() site { return site{name: "plain", binary: "plain"} }

// both starts two proxies, one for each site. The backend of both is the one that
// s.loop plays.
func (s *suite) both(plain, gate site) (one, other *proxy, err error) {
	if one, err = s.start(plain, s.loop.addr); err == nil {
		other, err = s.start(gate, s.loop.addr)
	}
	return one, other, err
}

// alone stops all proxies except one until release is called. All proxies share one
// core.
func (s *suite) alone(p *proxy) (release func()) {
	for _, other := range s.running {
		if other != p {
			_ = other.cmd.Process.Signal(unix.SIGSTOP) // an error means, for example, that the process has ended
		}
	}
	return func() {
		for _, other := range s.running {
			_ = other.cmd.Process.Signal(unix.SIGCONT)
		}
	}
}

// play runs a plan against a proxy.
func (s *suite) play(p *proxy, plan plan) (*result, error) {
	if !plan.together {
		defer s.alone(p)()
	}
	plan.addr, plan.answer = p.addr, p.answer
	s.loop.backend.key = []byte(p.key)
	return s.loop.play(plan, p.cpu)
}

// stopAll ends the proxies of a case.
func (s *suite) stopAll() {
	for _, p := range s.running {
		p.stop()
	}
	s.running = nil
}

// table returns the report in Markdown.
func table(rows []row, other string) string {
	var b strings.Builder
	b.WriteString("| Case | Measure | " + other + " | Speechgate | Ratio (95 % interval) | Pairs | Target | |\n")
	b.WriteString("|---|---|---:|---:|---|---:|---|---|\n")
	for _, r := range rows {
		plain, ratio := number(r.Plain), fmt.Sprintf("%.3f (%.3f–%.3f)", r.Ratio, r.Low, r.High)
		if r.Plain == 0 {
			plain, ratio = "", ""
		}
		fmt.Fprintf(&b, "| %s | %s, %s | %s | %s | %s | %d | %s | %s |\n",
			r.Case, r.Measure, r.Unit, plain, number(r.Gate), ratio, r.Pairs, r.target(), r.outcome())
	}
	return b.String()
}

func (r *row) target() string {
	if r.Target == 0 {
		return ""
	}
	sign := "≥"
	if r.AtMost {
		sign = "≤"
	}
	text := sign + " " + number(r.Target)
	if r.Absolute {
		text += " " + r.Unit
	}
	return text
}

func (r *row) outcome() string {
	switch {
	case r.Target == 0:
		return ""
	case !r.Absolute && r.Low <= r.Target && r.Target <= r.High:
		return "open"
	case r.Met():
		return "met"
	}
	return "**missed**"
}

// number formats a value with four digits.
func number(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 100:
		return fmt.Sprintf("%.1f", v)
	case v >= 10:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
