package command

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
)

// storeOfFlags finds the keystore that the flags name, and the gates of the
// configuration. A pepper always comes from the configuration.
func storeOfFlags(cmd *cobra.Command) (keystore.Config, manage.GateConfigs, error) {
	var none manage.GateConfigs
	path, err := textFlag(cmd, flagKeystore)
	if err != nil {
		return keystore.Config{}, none, err
	}
	settings, gates, err := configOfFlags(cmd)
	if err != nil {
		return keystore.Config{}, none, err
	}
	if path != "" {
		settings.Keystore = app.KeystoreConfig{} // its placeholders may be unknown here
	}
	cfg, err := settings.StoreConfig()
	if err != nil {
		return keystore.Config{}, none, err
	}
	if path != "" {
		if err := app.CheckPathSpelling(path, app.ShellVariable); err != nil {
			return keystore.Config{}, none, fmt.Errorf("--%s %q: %w", flagKeystore, path, err)
		}
		if cfg.Path, err = filepath.Abs(path); err != nil {
			return keystore.Config{}, none, fmt.Errorf("--%s %q: %w", flagKeystore, path, err)
		}
	}
	cfg.CommandLine = true
	return cfg, gates, nil
}

// configOfFlags reads the app and the gates from the configuration that the flags name.
// Without a configuration, both have default settings.
func configOfFlags(cmd *cobra.Command) (*app.App, manage.GateConfigs, error) {
	var none manage.GateConfigs
	settings := new(app.App)
	file, text, err := configText(cmd)
	if err != nil || text == nil {
		return settings, defaultGates(), err
	}
	var config struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, none, fmt.Errorf("--%s %s: %w", flagConfig, file, err)
	}
	if block := config.Apps[app.Name]; block != nil {
		if err := caddy.StrictUnmarshalJSON(block, settings); err != nil {
			return nil, none, fmt.Errorf("--%s %s: the %s app: %w", flagConfig, file, app.Name, err)
		}
	}
	gates, err := gatesOf(config.Apps["http"])
	if err != nil {
		return nil, none, fmt.Errorf("--%s %s: %w", flagConfig, file, err)
	}
	return settings, gates, nil
}

// configText reads and adapts the configuration that the flags name. If they name none,
// text is nil. It reads standard input only once for a command.
func configText(cmd *cobra.Command) (file string, text []byte, err error) {
	if file, err = textFlag(cmd, flagConfig); err != nil {
		return "", nil, err
	}
	adapter, err := textFlag(cmd, flagAdapter)
	if err != nil {
		return "", nil, err
	}
	if file == "" {
		if adapter != "" {
			return "", nil, fmt.Errorf("--%s %s has no file to adapt: name it with --%s", flagAdapter, adapter, flagConfig)
		}
		return "", nil, nil
	}
	if text, ok := cmd.Context().Value(configKey{}).([]byte); ok {
		return file, text, nil
	}
	if text, err = loadConfig(file, adapter); err != nil {
		return "", nil, fmt.Errorf("--%s %s: %w", flagConfig, file, err)
	}
	cmd.SetContext(context.WithValue(cmd.Context(), configKey{}, text))
	return file, text, nil
}

// configKey is the key of the configuration's text in a command's context.
type configKey struct{}

// loadConfig reads and adapts a configuration as Caddy does. Of Caddy's log it shows only
// warnings and errors.
func loadConfig(file, adapter string) ([]byte, error) {
	_, logger, buffer := caddy.BufferedLog()
	defer caddy.UnbufferDefaultLogger(logger)
	config, _, _, err := caddycmd.LoadConfig(file, adapter)
	buffer.FlushTo(logger.WithOptions(zap.IncreaseLevel(zap.WarnLevel)))
	return config, err
}
