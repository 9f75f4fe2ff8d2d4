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

// suite is what the cases share.
type suite struct {
	ctx     context.Context
	dir     string // where everything is made
	bin     string // the two Caddys
	pairs   int
	length  time.Duration // of a run
	keys    int           // in use
	profile string        // a directory for CPU profiles; empty for none
	env     []string      // of proxies to come
	against string        // another build of the gateway; empty for plain Caddy
	suffix  string        // of a case's name, where the proxies' environment is the case's own
	running []*proxy
	rows    []row

	some, many *fixture
	loop       *loop
	created    int // jobs, of which no two have one ID
}

// row is a line of the report.
type row struct {
	Case, Measure, Unit string
	Plain, Gate         float64 // medians of the runs
	Ratio, Low, High    float64 // median of the pairs' ratios, and its interval
	Pairs               int
	// Target bounds Ratio or, if Absolute, Gate; from above if AtMost, else from
	// below. 0 is none.
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

// sample is what one run measured, by the name of the measure.
type sample map[string]float64

// measure is one that runs take, with its target.
type measure struct {
	name, unit string
	target     float64
	atMost     bool
	absolute   bool
}

// compare interleaves runs of both, and adds a row for each measure. The first
// of a pair is now the one and now the other.
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

// targetOf is the measure with the target that it has against another build, which is
// to be as good as that build.
func (s *suite) targetOf(m measure) measure {
	switch {
	case s.against == "" || m.absolute:
	case m.name == "p99", m.name == "first answer": // which differs more between two runs of one build
		m.target = 0
	case m.unit == "requests/s" || m.unit == "MB/s":
		m.target, m.atMost = 0.99, false
	default:
		m.target, m.atMost = 1.01, true
	}
	return m
}

// progress shows what is going on, in one line of a terminal.
func (*suite) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\x1b[K%s", fmt.Sprintf(format, args...))
}

// victims are keys that are there to be revoked.
const victims = 50_000

// small is a keystore whose keys are all in use, but for the victims.
func (s *suite) small() (f *fixture, err error) {
	if s.some == nil {
		s.some, err = fill(s.ctx, s.dir, s.keys+victims, s.keys, s.progress)
	}
	return s.some, err
}

// large is one with a million keys, of which as many are in use.
func (s *suite) large() (f *fixture, err error) {
	if s.many == nil {
		s.many, err = fill(s.ctx, s.dir, max(1_000_000, s.keys), s.keys, s.progress)
	}
	return s.many, err
}

const upstreamKey = "the-backends-own-key-0123456789"

// gateSite is the gate on a keystore.
func gateSite(f *fixture) site {
	return site{
		name: "gate", binary: "gate", key: upstreamKey,
		global: "speechgate {\n\t\tkeystore sqlite " + f.path + "\n\t}",
		before: "speechgate amivoice {\n\t\tupstream_key " + upstreamKey + "\n\t\tmax_pending_streams 4096\n\t}",
	}
}

// otherSite is what the gate is compared with: plain Caddy, or another build of the
// gateway with the same configuration and keystore.
func (s *suite) otherSite(f *fixture) site {
	if s.against == "" {
		return plainSite()
	}
	other := gateSite(f)
	other.name, other.binary = "other", otherBinary
	return other
}

func plainSite() site { return site{name: "plain", binary: "plain"} }

// both starts the plain proxy and the gate in front of the loop's backend.
func (s *suite) both(plain, gate site) (one, other *proxy, err error) {
	if one, err = s.start(plain, s.loop.addr); err == nil {
		other, err = s.start(gate, s.loop.addr)
	}
	return one, other, err
}

// alone stops all proxies but one, which shares its core with them, until release
// is called.
func (s *suite) alone(p *proxy) (release func()) {
	for _, other := range s.running {
		if other != p {
			_ = other.cmd.Process.Signal(unix.SIGSTOP) // of one that has ended, for one
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
	plan.addr = p.addr
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

// table is the report in Markdown.
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

// number shows four digits of a value.
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
