package manage

import (
	"net/url"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/upstreamkey"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

// GateConfig has the settings of one gate that decisions depend on.
type GateConfig struct {
	Dialect string // the API's name
	Backend string // the backend name
	Rules   policy.Rules
	// Classify returns the operation that a request asks for, and the account in its path,
	// or "" if the path has no account.
	Classify func(method string, path *url.URL) (call dialect.Call, account string)
}

// GateConfigs has the settings of one gateway that decisions depend on.
type GateConfigs struct {
	// Gates are the configured gates.
	Gates []GateConfig
	// Fallback returns a gate with default settings. [Manager.Explain] uses it if no
	// configured gate speaks the API. Default: Explain then returns an error.
	Fallback func(dialect, backend string) GateConfig
	// IssuePaths are the escaped paths of the issuance API.
	IssuePaths []string
	// Upstreams are the upstream keys of the gates, by backend name.
	Upstreams []upstreamkey.Backend
	// KeyUses tells how this process uses them. Default: it does not serve requests.
	KeyUses *upstreamkey.Uses
}

// graceUntil returns the end of the longest grace window for a job, or zero if no gate has
// a grace window. known is false if no configured gate has the job's backend.
func (c *GateConfigs) graceUntil(j *policy.Job) (until policy.Time, known bool) {
	for _, gate := range c.Gates {
		if gate.Backend != j.Backend {
			continue
		}
		known = true
		if gate.Rules.Grace.Window > 0 {
			until = max(until, gate.Rules.Grace.Until(j))
		}
	}
	return until, known
}

// candidates returns the gates that can decide on a request: the configured gates that
// speak the API and have this backend. If no configured gate speaks the API, it returns
// the gate that c.Fallback makes, or an error if Fallback is nil.
//
// An empty backend means the only backend of these gates, or api.Name if no gate speaks
// the API. Several backends are an error then.
func (c *GateConfigs) candidates(api *dialect.API, backend string) ([]GateConfig, error) {
	byBackend := make(map[string][]GateConfig)
	var names []string
	for _, gate := range c.Gates {
		if gate.Dialect != api.Name {
			continue
		}
		if byBackend[gate.Backend] == nil {
			names = append(names, gate.Backend)
		}
		byBackend[gate.Backend] = append(byBackend[gate.Backend], gate)
	}
	slices.Sort(names)
	switch {
	case len(names) == 0 && backend == "":
		backend = api.Name
	case len(names) == 1 && backend == "":
		backend = names[0]
	case backend == "":
		return nil, wrongIn("backend", "the configuration has several backends: choose one with %s, of %s", field("backend"), strings.Join(names, ", "))
	case len(names) > 0 && byBackend[backend] == nil:
		return nil, wrong("backend", " %s: the configuration has no such backend: want %s", words.Quote(backend), phrase.Or(names))
	}
	switch {
	case byBackend[backend] != nil:
		return byBackend[backend], nil
	case c.Fallback == nil:
		return nil, wrong("backend", " %s: no gate of this backend is configured", words.Quote(backend))
	}
	return []GateConfig{c.Fallback(api.Name, backend)}, nil
}

// longestGrace returns the candidate that has the longest grace window for a job. If job is
// nil, it returns the first candidate.
func longestGrace(candidates []GateConfig, job *policy.Job) GateConfig {
	best := candidates[0]
	for _, gate := range candidates[1:] {
		if job != nil && gate.Rules.Grace.Until(job) > best.Rules.Grace.Until(job) {
			best = gate
		}
	}
	return best
}

// issueAt reports whether path is a path of the issuance API.
func (c *GateConfigs) issueAt(path string) bool { return slices.Contains(c.IssuePaths, path) }
