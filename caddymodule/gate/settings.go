package gate

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/issuance"
	"github.com/speechgate/speechgate/internal/manage"
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

// ExplainConfig returns what decisions of the gate depend on. The gate does not need to be
// provisioned.
func (g *Gate) ExplainConfig() manage.GateConfig {
	return manage.GateConfig{Dialect: g.Dialect, Backend: g.BackendName(), Rules: g.PolicyRules(), Classify: g.ClassifyPath}
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

// admitsUnrecordedJobs reports whether a valid key may read and delete a job that has no record
// in the keystore.
func (g *Gate) admitsUnrecordedJobs() bool { return g.UnrecordedJobs == "backend" }

// dialectAPI returns the API with the configured name.
func (g *Gate) dialectAPI() (*dialect.API, error) {
	api, ok := dialect.ByName(g.Dialect)
	if !ok {
		return nil, fmt.Errorf("unknown dialect %q: want %s", g.Dialect, words.Alternatives(dialect.Names()))
	}
	return api, nil
}

// longestGrace is the largest value of the option grace. The keystore keeps the record of a job
// for at least as long as the configured grace.
const longestGrace = 3650 * 24 * time.Hour

func validateGrace(grace policy.Grace) error {
	switch {
	case grace.Window < 0 || grace.Window > 0 && grace.Window < time.Millisecond:
		return fmt.Errorf("grace %s: want a duration such as 24h, or 0 for none", grace.Window)
	case grace.Window > longestGrace:
		return fmt.Errorf("grace %s: want 3650d at most", grace.Window)
	case grace.AfterEnd < 0 || grace.AfterEnd > 0 && grace.AfterEnd < time.Millisecond:
		return fmt.Errorf("grace_after_end %s: want a duration such as 1h, or 0 for no such limit", grace.AfterEnd)
	case grace.AfterEnd > 0 && grace.AfterEnd >= grace.Window:
		return fmt.Errorf("grace_after_end %s: it has no effect, because grace, which is %s, ends before it: want less than grace, or off", grace.AfterEnd, grace.Window)
	}
	return nil
}

var backendForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// validateBackend refuses a text that is not a backend name, such as an address or a key. It also
// refuses a placeholder, because the option backend does not resolve placeholders.
func validateBackend(name string) error {
	switch {
	case policy.HoldsSecret(name):
		return errors.New("backend: it is a key or a service password: want a name, which logs and metrics show")
	case !backendForm.MatchString(name):
		return fmt.Errorf("backend %q: want a name of up to 64 letters, digits and -._, such as amivoice; it is neither an address nor a placeholder", name)
	case strings.EqualFold(name, issuance.BackendName):
		return fmt.Errorf("backend %q: logs and metrics use this name for the issuance API: want another", name)
	}
	return nil
}
