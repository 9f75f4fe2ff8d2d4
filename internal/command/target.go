package command

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
)

// target is the keystore that a command works on.
type target struct {
	keystore.Config
	gates manage.GateConfigs
	// create is true if the configuration lets a server make an empty keystore.
	create bool
	// source says where the path comes from, for messages: "from ./Caddyfile".
	source string
	// flags has the flags that replace the environment variables, for the command line that
	// an error suggests: sudo does not pass environment variables on. It ends in a space,
	// or is empty.
	flags string
}

// String returns the path, and where it comes from.
func (t target) String() string { return t.Path + " (" + t.source + ")" }

// targetOf finds the keystore of a command. The first of these names it: --keystore,
// --config, SPEECHGATE_KEYSTORE, SPEECHGATE_CONFIG, ./Caddyfile. Otherwise it is the
// default. A pepper always comes from the configuration.
func targetOf(cmd *cobra.Command) (target, error) {
	var none target
	c, err := configOf(cmd)
	if err != nil {
		return none, err
	}
	path, source, err := namedPath(cmd, c)
	if err != nil {
		return none, err
	}
	settings, gates, err := c.settings()
	if err != nil {
		return none, err
	}
	t := target{gates: gates, create: settings.Keystore.Create, source: sourceOf(c, settings.Keystore.Path)}
	if path != "" {
		settings.Keystore = app.KeystoreConfig{} // its placeholders may be unknown here
	}
	if t.Config, err = settings.StoreConfig(); err != nil {
		if c.text != nil {
			err = fmt.Errorf("%s: %w", c.source, err)
		}
		if strings.Contains(err.Error(), "{env.") {
			err = fmt.Errorf("%w; if the server has it from a file, name the file with --%s", err, flagEnvFile)
		}
		return none, kindConfiguration.of(err)
	}
	if c.variable != "" {
		t.flags = "--" + flagConfig + " " + forShell(c.variable) + " "
	}
	if path != "" {
		t.Path, t.source = path, "from "+source
		if source == envKeystore {
			t.flags += "--" + flagKeystore + " " + forShell(path) + " "
		}
		if settings.Pepper != "" {
			t.source += ", with the pepper of " + c.source
		}
	}
	t.CommandLine = true
	return t, nil
}

// namedPath returns the path that --keystore or SPEECHGATE_KEYSTORE names, made absolute,
// and which of the two names it. It returns "" if neither decides.
func namedPath(cmd *cobra.Command, c configuration) (path, source string, err error) {
	source = "--" + flagKeystore
	if path, err = textFlag(cmd, flagKeystore); err != nil {
		return "", "", err
	}
	if path == "" && !c.flag {
		source = envKeystore
		if path, err = textOfEnv(envKeystore); err != nil {
			return "", "", kindConfiguration.of(err)
		}
	}
	if path == "" {
		return "", "", nil
	}
	if err := app.CheckPathSpelling(path, app.ShellVariable); err != nil {
		return "", "", kindUsage.of(fmt.Errorf("%s %q: %w", source, path, err))
	}
	if err := app.CheckFilePath(path); err != nil {
		return "", "", kindUsage.of(fmt.Errorf("%s %q: %w", source, path, err))
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", "", kindUsage.of(fmt.Errorf("%s %q: %w", source, path, err))
	}
	return abs, source, nil
}

// sourceOf returns where the path of the keystore comes from, if neither --keystore nor
// SPEECHGATE_KEYSTORE names it. The argument configured is the path in the configuration,
// if it has one.
func sourceOf(c configuration, configured string) string {
	byDefault := "the default of user " + osUser()
	switch {
	case c.text == nil && c.passedOver != "":
		return byDefault + "; " + c.passedOver
	case c.text == nil:
		return byDefault
	case configured == "":
		return byDefault + ", because " + c.source + " names no keystore"
	case c.source != "./"+localFile && !filepath.IsAbs(configured) && !strings.HasPrefix(configured, "{"):
		return fmt.Sprintf("from %s, whose path %s is relative to the working directory", c.source, configured)
	}
	return "from " + c.source
}

// forShell quotes an argument for a shell, if necessary.
func forShell(argument string) string {
	if plainArgument.MatchString(argument) {
		return argument
	}
	return "'" + strings.ReplaceAll(argument, "'", `'\''`) + "'"
}

var plainArgument = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)
