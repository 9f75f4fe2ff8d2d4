package gate

import (
	"time"

	"github.com/speechgate/speechgate/policy"
)

// BackendName returns the backend name: the configured one, or that of the dialect.
func (g *Gate) BackendName() string {
	if g.Backend == "" {
		return g.Dialect
	}
	return g.Backend
}

// PolicyRules returns the settings of the gate that decisions depend on, with defaults.
func (g *Gate) PolicyRules() policy.Rules {
	rules := policy.Rules{
		Grace:          policy.Grace{Window: defaultGrace, AfterEnd: time.Duration(g.GraceAfterEnd)},
		UnrecordedJobs: g.admitsUnrecordedJobs(),
	}
	if g.Grace != nil {
		rules.Grace.Window = time.Duration(*g.Grace)
	}
	return rules
}

// admitsUnrecordedJobs reports whether a valid key may ask the backend for a job that has
// no record here.
func (g *Gate) admitsUnrecordedJobs() bool { return g.UnrecordedJobs == "backend" }
