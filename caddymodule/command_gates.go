package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/speechgate/speechgate/policy"
)

// gates are those of a configuration, by backend name.
type gates map[string][]*Gate

// gatesOf finds the gates anywhere in the HTTP app's configuration.
func gatesOf(httpApp json.RawMessage) (gates, error) {
	found := make(gates)
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

func (g gates) collect(config any) error {
	switch node := config.(type) {
	case []any:
		for _, child := range node {
			if err := g.collect(child); err != nil {
				return err
			}
		}
	case map[string]any:
		if node["handler"] == "speechgate" {
			return g.add(node)
		}
		for _, child := range node {
			if err := g.collect(child); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g gates) add(handler map[string]any) error {
	text, err := json.Marshal(handler)
	if err != nil {
		return err
	}
	gate := new(Gate)
	if err := json.Unmarshal(text, gate); err != nil {
		return fmt.Errorf("a speechgate handler: %w", err)
	}
	backend := gate.backendName()
	g[backend] = append(g[backend], gate)
	return nil
}

// of returns the gates of a backend; where none is configured, one with every
// default.
func (g gates) of(backend string) []*Gate {
	if configured, ok := g[backend]; ok {
		return configured
	}
	return []*Gate{{Backend: backend}}
}

// until is when the longest grace for j ends; zero where there is none.
func (g gates) until(j *policy.Job) (until policy.Time) {
	for _, gate := range g.of(j.Backend) {
		if rule := gate.graceRule(); rule.Window > 0 {
			until = max(until, rule.Until(j))
		}
	}
	return until
}
