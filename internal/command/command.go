// Package command is the command line, `caddy speechgate`: flags, standard input, and
// output as text or JSON. Package manage does the work and checks the values of flags.
package command

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
)

// Register adds the command to Caddy's command line. Each of the functions makes a subcommand
// of another package. These subcommands come first in the help.
func Register(others ...func() *cobra.Command) {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  app.Name,
		Usage: "<command>",
		Short: "Manages the accounts, API keys and jobs of the speech gateway",
		Long: `
Manages the accounts, API keys and jobs of the speech gateway.

The commands work on the keystore, whether a server is running on it or not; a
running server heeds every change within a quarter of a second. If the keystore is
a file, they must run as the user who owns the file, which is the user who runs the
server.

The first of these names the keystore:
  --keystore <file or URL>; a URL begins with postgres:// or postgresql://
  --config <file>, Caddy's configuration
  the environment variable SPEECHGATE_KEYSTORE, a path or such a URL
  the environment variable SPEECHGATE_CONFIG, the path of a configuration
  ./Caddyfile, if it has speechgate in it
  the default: speechgate/keystore.db in the data directory that Caddy has for
  the user who runs the command
The configuration also has the pepper, the gates and the admin address: it is that
of --config, else SPEECHGATE_CONFIG, else ./Caddyfile. A command that writes says
on standard error which keystore it used. If the keystore does not exist, "init",
"account create" and "restore" make it.

Other users can see the arguments of a command. So the password of a PostgreSQL
database belongs into SPEECHGATE_KEYSTORE, PGPASSWORD or the file of PGPASSFILE.

What was asked for goes to standard output, everything else to standard error.
With --json a list is one array, and everything else one object. Times are in UTC.
A field without a value is null. An error is then {"error": {"code": …,
"message": …}} on standard error.

The exit status is 0; 2 for a mistake in the command or the configuration; 3 if
there is no such record; 4 if the keystore or the server cannot be used; and 1 for
any other error.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `  $ caddy speechgate account create --name "Example Corp."
  $ caddy speechgate key issue --account acc_… --expires 30d --allow 192.0.2.0/24
  $ caddy speechgate key list --account acc_… --json
  $ caddy speechgate key revoke key_… --reason "found in a public repository"
  $ caddy speechgate explain --key-id key_… --ip 192.0.2.7 --method POST --path /v1/recognize
  $ caddy speechgate job show 0123456789abcdef`
			flags := cmd.PersistentFlags()
			flags.String(flagKeystore, "", "The keystore: a file, or a URL such as postgres://gateway@db.example.com/speechgate (default $"+envKeystore+", else that of the configuration)")
			flags.StringP(flagConfig, "c", "", "Caddy's configuration, which says where the keystore is, and its pepper (default $"+envConfig+", else ./"+localFile+")")
			flags.StringP(flagAdapter, "a", "", "Name of the config adapter to apply to the configuration")
			flags.StringSlice(flagEnvFile, nil, "A file of environment variables for the configuration, as of caddy run; can be repeated")
			flags.Bool(flagJSON, false, "Print JSON")
			cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
				return finish(cmd, kindUsage.of(flagError(cmd, err)))
			})
			for _, other := range others {
				cmd.AddCommand(other())
			}
			asGroup(cmd, accountCommand(), keyCommand(), jobCommand(), streamCommand(), operatorCommand(), auditCommand(), usageCommand(), forecastCommand(), explainCommand(), healthCommand(), whoamiCommand(), doctorCommand(), initCommand(), backupCommand(), restoreCommand(), copyCommand())
		},
	})
}

// group returns a command that only has subcommands.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name + " <command>", Short: short}
	asGroup(cmd, commands...)
	return cmd
}

// asGroup adds subcommands to cmd. Without a subcommand and without flags, cmd prints its
// help. It refuses a subcommand that does not exist; cobra would print the help.
func asGroup(cmd *cobra.Command, commands ...*cobra.Command) {
	cmd.AddCommand(commands...)
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 0:
			return finish(cmd, kindUsage.of(unknownCommand(cmd, args[0])))
		case cmd.Flags().NFlag() > 0: // a script could mistake the help for a result
			return finish(cmd, usagef("no command is named: %q is followed by one of %s", cmd.CommandPath(), strings.Join(commandNames(cmd), ", ")))
		}
		return cmd.Help()
	}
}

// withLog runs a command. With --json it drops what Caddy and its modules log, because
// programs read standard error then, as JSON.
func withLog(cmd *cobra.Command, run func() error) error {
	if !wantsJSON(cmd) {
		return run()
	}
	_, logger, buffer := caddy.BufferedLog()
	defer caddy.UnbufferDefaultLogger(logger)
	err := run()
	buffer.FlushTo(zap.NewNop())
	return err
}

// Leaf returns a command without subcommands. Its errors are one line, and name fields by
// their flags.
func Leaf(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, given []string) error {
			return finish(cmd, kindUsage.of(args(cmd, given)))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return finish(cmd, withLog(cmd, func() error { return run(cmd, args) }))
		},
		DisableFlagsInUseLine: true,
	}
}
