package gate

import (
	"fmt"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// BackendName returns the configured backend name or, by default, the name of the dialect.
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

// admitsUnrecordedJobs reports whether a valid key may read a job that has no record here.
func (g *Gate) admitsUnrecordedJobs() bool { return g.UnrecordedJobs == "backend" }

// dialectAPI returns the API with the configured name.
func (g *Gate) dialectAPI() (*dialect.API, error) {
	api, ok := dialect.ByName(g.Dialect)
	if !ok {
		return nil, fmt.Errorf("unknown dialect %q: want %s", g.Dialect, words.Alternatives(dialect.Names()))
	}
	return api, nil
}

func validateGrace(grace policy.Grace) error {
	switch {
	case grace.Window < 0:
		return fmt.Errorf("grace %s: want a duration such as 24h, or 0 for none", grace.Window)
	case grace.AfterEnd < 0:
		return fmt.Errorf("grace_after_end %s: want a duration such as 1h, or 0 for no such limit", grace.AfterEnd)
	}
	return nil
}
