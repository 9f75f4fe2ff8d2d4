package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/gate"
	"github.com/speechgate/speechgate/caddymodule/issue"
	"github.com/speechgate/speechgate/internal/manage"
)

// defaultGates returns the gates for a command without a configuration: every gate has
// default settings, and the issuance API has its default path.
func defaultGates() manage.GateConfigs {
	return manage.GateConfigs{Fallback: defaultGate, IssuePaths: []string{issue.DefaultPath}}
}

// gatesOf finds the gates and the issuance APIs anywhere in the configuration of the
// HTTP app.
func gatesOf(httpApp json.RawMessage) (manage.GateConfigs, error) {
	found := manage.GateConfigs{Fallback: defaultGate}
	if httpApp == nil {
		return found, nil
	}
	var config any
	dec := json.NewDecoder(bytes.NewReader(httpApp))
	dec.UseNumber() // durations are whole nanoseconds
	if err := dec.Decode(&config); err != nil {
		return found, err
	}
	err := collectHandlers(config, &found)
	return found, err
}

// collectHandlers adds the handlers in a part of a configuration to found. It does not
// look into a handler that it has found.
func collectHandlers(config any, found *manage.GateConfigs) error {
	switch node := config.(type) {
	case []any:
		for _, child := range node {
			if err := collectHandlers(child, found); err != nil {
				return err
			}
		}
	case map[string]any:
		switch node["handler"] {
		case "speechgate":
			g := new(gate.Gate)
			err := decodeHandler(node, g)
			found.Gates = append(found.Gates, g.ExplainConfig())
			return err
		case "speechgate_issue":
			i := new(issue.Issue)
			err := decodeHandler(node, i)
			found.IssuePaths = append(found.IssuePaths, cmp.Or(i.Path, issue.DefaultPath))
			return err
		}
		for _, child := range node {
			if err := collectHandlers(child, found); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasGateway reports whether a configuration has the app or a handler of the gateway, so
// that its server has a keystore. The sandbox has none.
func hasGateway(text []byte) bool {
	var config struct {
		Apps map[string]any `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return false
	}
	return config.Apps[app.Name] != nil || hasGatewayHandler(config.Apps["http"])
}

func hasGatewayHandler(config any) bool {
	switch node := config.(type) {
	case []any:
		return slices.ContainsFunc(node, hasGatewayHandler)
	case map[string]any:
		name, _ := node["handler"].(string)
		if (name == app.Name || strings.HasPrefix(name, app.Name+"_")) && name != "speechgate_sandbox" {
			return true
		}
		for _, child := range node {
			if hasGatewayHandler(child) {
				return true
			}
		}
	}
	return false
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

// defaultGate returns a gate with default settings.
func defaultGate(dialect, backend string) manage.GateConfig {
	return (&gate.Gate{Dialect: dialect, Backend: backend}).ExplainConfig()
}
