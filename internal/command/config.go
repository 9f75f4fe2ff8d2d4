package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
)

// Environment variables that the commands read.
const (
	envConfig   = "SPEECHGATE_CONFIG"
	envKeystore = "SPEECHGATE_KEYSTORE"
)

// localFile is the configuration that `caddy run` loads if no flag names a configuration.
const localFile = "Caddyfile"

// configuration is the configuration of Caddy that a command uses.
type configuration struct {
	// text is the configuration in JSON; nil if the command uses no configuration.
	text []byte
	// source is how messages name the configuration: "--config FILE",
	// "SPEECHGATE_CONFIG FILE" or "./Caddyfile". It is empty if the command uses no
	// configuration.
	source string
	// flag is true if the flag --config names the configuration.
	flag bool
	// variable is the value of SPEECHGATE_CONFIG, if it names the configuration.
	variable string
	// passedOver says why the command does not use a ./Caddyfile that exists. It is empty
	// if the command uses ./Caddyfile, or did not look for one.
	passedOver string
	// suspect is true if ./Caddyfile is passed over because another user can have written it.
	suspect bool
}

// configKey is the key of the configuration in a command's context.
type configKey struct{}

// configOf finds and adapts the configuration of a command. The first of these names it:
// --config, SPEECHGATE_CONFIG, ./Caddyfile. Otherwise the command has no configuration.
// configOf reads standard input only once for a command.
func configOf(cmd *cobra.Command) (configuration, error) {
	if found, ok := cmd.Context().Value(configKey{}).(configuration); ok {
		return found, nil
	}
	found, err := findConfig(cmd)
	if err != nil {
		return found, kindConfiguration.of(err)
	}
	cmd.SetContext(context.WithValue(cmd.Context(), configKey{}, found))
	return found, nil
}

func findConfig(cmd *cobra.Command) (configuration, error) {
	var none configuration
	if err := loadEnvFiles(cmd); err != nil {
		return none, err
	}
	var file, adapter string
	if err := textFlags(cmd, flagInto{flagConfig, &file}, flagInto{flagAdapter, &adapter}); err != nil {
		return none, err
	}
	if file != "" {
		c, err := loadFrom("--"+flagConfig, file, adapter)
		c.flag = true
		return c, err
	}
	file, err := textOfEnv(envConfig)
	switch {
	case err != nil:
		return none, err
	case file == "-":
		return none, fmt.Errorf("%s is -: want a file; only --%s can name standard input", envConfig, flagConfig)
	case file != "":
		c, err := loadFrom(envConfig, file, adapter)
		c.variable = file
		return c, err
	case adapter != "":
		return none, usagef("--%s %s has no file to adapt: name it with --%s or %s", flagAdapter, adapter, flagConfig, envConfig)
	}
	c, err := localConfig()
	if c.suspect {
		// People must see this before the command writes to another keystore than they
		// expect. If the line cannot be written, there is no other place for it.
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "Warning: %s, so this command does not read it: if you trust the file, name it with --%s.\n", c.passedOver, flagConfig)
	}
	return c, err
}

// textOfEnv returns the path or the connection string that an environment variable holds, or "" if it is not
// set. It returns an error if the variable is set to an empty text, as textFlag does
// for a flag, or to a path that a shell would expand, such as ~/keystore.db.
func textOfEnv(name string) (string, error) {
	value, set := os.LookupEnv(name)
	switch {
	case set && value == "":
		return "", fmt.Errorf("%s is set and empty: give it a value, or unset it", name)
	case value == "-", app.IsConnectionString(value):
		return value, nil
	}
	if err := app.CheckPathSpelling(value, app.ShellVariable); err != nil {
		return "", fmt.Errorf("%s %s: %w", name, app.QuotePath(value), err)
	}
	return value, nil
}

// loadFrom reads and adapts a configuration that a flag or a variable names.
func loadFrom(by, file, adapter string) (configuration, error) {
	source := by + " " + file
	text, err := loadConfig(file, adapter)
	if err != nil {
		return configuration{}, fmt.Errorf("%s: %w", source, err)
	}
	return configuration{text: text, source: source}, nil
}

// localConfig reads ./Caddyfile, as `caddy run` does. It passes over a Caddyfile that another
// user can have written, because that user would choose the keystore of this command. It also
// passes over a Caddyfile without the gateway, because that belongs to another server. A
// Caddyfile with a mistake is an error, because it can be the gateway's.
func localConfig() (configuration, error) {
	const source = "./" + localFile
	switch _, err := os.Stat(localFile); {
	case errors.Is(err, fs.ErrNotExist):
		if link, err := os.Readlink(localFile); err == nil {
			return configuration{}, fmt.Errorf("%s is a link to %s, which does not exist: correct the link, or name the configuration with --%s", source, link, flagConfig)
		}
		return configuration{}, nil
	case errors.Is(err, fs.ErrPermission): // the error is about the directory: Stat does not open the file
		return configuration{passedOver: "this user cannot look for " + source + " here"}, nil
	}
	if why := othersWrite(localFile); why != "" {
		return configuration{passedOver: source + " " + why, suspect: true}, nil
	}
	text, err := loadConfig(localFile, "")
	switch {
	case err != nil:
		return configuration{}, fmt.Errorf("%s: %w; to use another configuration, name it with --%s", source, err, flagConfig)
	case !hasGateway(text):
		return configuration{passedOver: source + " has no speechgate in it"}, nil
	}
	return configuration{text: text, source: source}, nil
}

// loadConfig reads and adapts a configuration as Caddy does. If there is an error, loadConfig
// shows the warnings and errors of Caddy's log. Otherwise it shows nothing: "caddy validate"
// has the warnings.
func loadConfig(file, adapter string) ([]byte, error) {
	_, logger, buffer := caddy.BufferedLog()
	defer caddy.UnbufferDefaultLogger(logger)
	config, _, _, err := caddycmd.LoadConfig(file, adapter)
	shown := zap.NewNop()
	if err != nil {
		shown = logger.WithOptions(zap.IncreaseLevel(zap.WarnLevel))
	}
	buffer.FlushTo(shown)
	return config, err
}

// decode reads the top level of the configuration, or a part of it, into v. Without a
// configuration, v stays as it is.
func (c configuration) decode(v any) error {
	if c.text == nil {
		return nil
	}
	if err := json.Unmarshal(c.text, v); err != nil {
		return kindConfiguration.of(fmt.Errorf("%s: %w", c.source, err))
	}
	return nil
}

// settings returns the app and the gates of the configuration. Without a configuration,
// both have default settings.
func (c configuration) settings() (*app.App, manage.GateConfigs, error) {
	var none manage.GateConfigs
	settings := new(app.App)
	if c.text == nil {
		return settings, defaultGates(), nil
	}
	var config struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := c.decode(&config); err != nil {
		return nil, none, err
	}
	if block := config.Apps[app.Name]; block != nil {
		if err := caddy.StrictUnmarshalJSON(block, settings); err != nil {
			return nil, none, kindConfiguration.of(fmt.Errorf("%s: the %s app: %w", c.source, app.Name, err))
		}
	}
	gates, err := gatesOf(config.Apps["http"])
	if err != nil {
		return nil, none, kindConfiguration.of(fmt.Errorf("%s: %w", c.source, err))
	}
	return settings, gates, nil
}
