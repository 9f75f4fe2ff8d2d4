package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/speechgate/speechgate/caddymodule/gate"
	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/policy"
)

// gates are those of a configuration; nil where none is named.
type gates = *handlers

// handlers are what of a configuration decides on requests.
type handlers struct {
	gates   map[string][]*gate.Gate // by backend name
	issuers []*issue.Issue
}

// gatesOf finds the gates, and what issues keys beside them, anywhere in the HTTP
// app's configuration.
func gatesOf(httpApp json.RawMessage) (gates, error) {
	found := &handlers{gates: make(map[string][]*gate.Gate)}
	if httpApp == nil {
		return found, nil
	}
	var config any
	dec := json.NewDecoder(bytes.NewReader(httpApp))
	dec.UseNumber() // durations are whole nanoseconds
	if err := dec.Decode(&config); err != nil {
		return nil, err
	}
	return found, found.collect(config)
}

func (h *handlers) collect(config any) error {
	switch node := config.(type) {
	case []any:
		for _, child := range node {
			if err := h.collect(child); err != nil {
				return err
			}
		}
	case map[string]any:
		switch node["handler"] {
		case "speechgate":
			gate := new(gate.Gate)
			err := decodeHandler(node, gate)
			backend := gate.BackendName()
			h.gates[backend] = append(h.gates[backend], gate)
			return err
		case "speechgate_issue":
			issuer := new(issue.Issue)
			h.issuers = append(h.issuers, issuer)
			return decodeHandler(node, issuer)
		}
		for _, child := range node {
			if err := h.collect(child); err != nil {
				return err
			}
		}
	}
	return nil
}

func decodeHandler(node map[string]any, into any) error {
	text, err := json.Marshal(node)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("a %s handler: %w", node["handler"], err)
	}
	return nil
}

// of returns the gates of a backend; where none is configured, one with every
// default.
func (h *handlers) of(backend string) []*gate.Gate {
	if h != nil && h.gates[backend] != nil {
		return h.gates[backend]
	}
	return []*gate.Gate{{Backend: backend}}
}

// until is when the longest grace for j ends; zero where there is none.
func (h *handlers) until(j *policy.Job) (until policy.Time) {
	for _, gate := range h.of(j.Backend) {
		if rule := gate.PolicyRules().Grace; rule.Window > 0 {
			until = max(until, rule.Until(j))
		}
	}
	return until
}

// issues reports whether a path is one at which keys are issued; where no
// configuration is named, the default one.
func (h *handlers) issues(path string) bool {
	if h == nil {
		return path == issue.DefaultPath
	}
	return slices.ContainsFunc(h.issuers, func(i *issue.Issue) bool { return cmp.Or(i.Path, issue.DefaultPath) == path })
}
