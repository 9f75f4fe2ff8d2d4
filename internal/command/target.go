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
	"github.com/speechgate/speechgate/policy"
)

// target is the keystore that a command works on.
type target struct {
	keystore.Config
	// name is the path of the keystore, or the URL of a PostgreSQL database without a password.
	name  string
	gates manage.GateConfigs
	// create is true if the configuration lets a server make an empty keystore.
	create bool
	// source says where the name comes from, for messages: "from ./Caddyfile".
	source string
	// flags has the flags that replace the environment variables, for the command line that
	// an error suggests: sudo does not pass environment variables on. It ends in a space,
	// or is empty.
	flags string
}

// String returns the name, and where it comes from.
func (t target) String() string { return t.name + " (" + t.source + ")" }

// targetOf finds the keystore of a command. The first of these names it: --keystore,
// --config, SPEECHGATE_KEYSTORE, SPEECHGATE_CONFIG, ./Caddyfile. Otherwise it is the
// default. A pepper always comes from the configuration.
func targetOf(cmd *cobra.Command) (target, error) {
	var none target
	c, err := configOf(cmd)
	if err != nil {
		return none, err
	}
	named, source, err := namedKeystore(cmd, c)
	if err != nil {
		return none, err
	}
	return targetAt(c, named, source)
}

// targetAt returns the keystore at a place that the source names, with the pepper of the
// configuration c. If named is nil, it is the keystore of the configuration.
func targetAt(c configuration, named *keystore.Config, source string) (target, error) {
	var none target
	settings, gates, err := c.settings()
	if err != nil {
		return none, err
	}
	t := target{gates: gates, create: settings.Keystore.Create, source: sourceOf(c, &settings.Keystore)}
	if named != nil {
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
	if named != nil {
		t.Path, t.Postgres, t.source = named.Path, named.Postgres, "from "+source
		if source == envKeystore && t.Path != "" {
			t.flags += "--" + flagKeystore + " " + forShell(t.Path) + " "
		}
		if settings.Pepper != "" {
			t.source += ", with the pepper of " + c.source
		}
	}
	t.CommandLine = true
	if t.name, err = t.Name(); err != nil {
		return none, kindConfiguration.of(err)
	}
	return t, nil
}

// namedKeystore returns the place that --keystore or SPEECHGATE_KEYSTORE names, and which of the
// two names it. It returns nil if neither decides. An error shows no connection string.
func namedKeystore(cmd *cobra.Command, c configuration) (named *keystore.Config, source string, err error) {
	source = "--" + flagKeystore
	text, err := textFlag(cmd, flagKeystore)
	if err != nil {
		return nil, "", err
	}
	if text == "" && !c.flag {
		source = envKeystore
		if text, err = textOfEnv(envKeystore); err != nil {
			return nil, "", kindConfiguration.of(err)
		}
	}
	if text == "" {
		return nil, "", nil
	}
	named, err = placeOf(cmd, text, source)
	return named, source, err
}

// placeOf reads the place of a keystore that the source names: a path or a URL of PostgreSQL. It warns of a password
// in a flag, unless standard error is for programs. An error shows no connection string.
func placeOf(cmd *cobra.Command, text, source string) (*keystore.Config, error) {
	place := new(keystore.Config)
	if app.IsConnectionString(text) {
		if source != envKeystore && app.HasPassword(text) && !wantsJSON(cmd) {
			// If the line cannot be written, there is no other place for it.
			_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "Warning: the URL of %s has a password, and other users of this machine see arguments: leave the password out, and set PGPASSWORD or PGPASSFILE.\n", source)
		}
		place.Postgres = &keystore.Postgres{DSN: policy.NewSecret(text)}
		if _, err := place.Name(); err != nil {
			return nil, kindUsage.of(fmt.Errorf("%s: %w", source, err))
		}
		return place, nil
	}
	var err error
	if place.Path, err = pathOf(text); err != nil {
		return nil, kindUsage.of(fmt.Errorf("%s %s: %w", source, app.QuotePath(text), err))
	}
	return place, nil
}

// pathOf returns the absolute path of a keystore's file.
func pathOf(text string) (string, error) {
	if err := app.CheckPathSpelling(text, app.ShellVariable); err != nil {
		return "", err
	}
	if err := app.CheckFilePath(text); err != nil {
		return "", err
	}
	return filepath.Abs(text)
}

// sourceOf returns where the place of the keystore comes from, if neither --keystore nor
// SPEECHGATE_KEYSTORE names it. The argument configured is the option of the configuration.
func sourceOf(c configuration, configured *app.KeystoreConfig) string {
	byDefault := "the default of user " + osUser()
	switch {
	case c.text == nil && c.passedOver != "":
		return byDefault + "; " + c.passedOver
	case c.text == nil:
		return byDefault
	case configured.DSN != "":
		return "from " + c.source
	case configured.Path == "":
		return byDefault + ", because " + c.source + " names no keystore"
	case c.source != "./"+localFile && !filepath.IsAbs(configured.Path) && !strings.HasPrefix(configured.Path, "{"):
		return fmt.Sprintf("from %s, whose path %s is relative to the working directory", c.source, configured.Path)
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
