// Package command is the command line, `caddy speechgate`.
package command

import (
	"errors"
	"fmt"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// Register adds the command to Caddy's command line. The others are subcommands from
// other packages, which come first in its help.
func Register(others ...*cobra.Command) {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  app.Name,
		Usage: "<command>",
		Short: "Manages the accounts, API keys and jobs of the speech gateway",
		Long: `
Manages the accounts, API keys and jobs of the speech gateway.

The commands work on the keystore's file, whether a server is running on it or
not; a running server heeds every change within a quarter of a second. They must
run as the user who owns that file, which is the user who runs the server.

The file is the one that --keystore names, else the one of the configuration
that --config names, else speechgate/keystore.db in Caddy's data directory.
Where the keystore has a pepper, --config is needed, because the pepper stands
there. "init", "account create" and "restore" make the keystore if there is none.

What was asked for goes to standard output, everything else to standard error.
With --json a list is one array, and everything else one object; times are in
UTC, and null where there is none. The exit status is 0, or 1 for any error.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `  $ caddy speechgate account create --name "Example Corp."
  $ caddy speechgate key issue --account acc_… --expires 30d --allow 192.0.2.0/24
  $ caddy speechgate key list --account acc_… --json
  $ caddy speechgate key revoke key_… --reason "found in a public repository"
  $ caddy speechgate explain --key-id key_… --ip 192.0.2.7 --method POST --path /v1/recognize
  $ caddy speechgate job show 0123456789abcdef`
			flags := cmd.PersistentFlags()
			flags.String(flagKeystore, "", "The keystore's file")
			flags.StringP(flagConfig, "c", "", "Caddy's configuration, which says where the keystore is, and its pepper")
			flags.StringP(flagAdapter, "a", "", "Name of the config adapter to apply to --config")
			flags.Bool(flagJSON, false, "Print JSON")
			cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
				return oneLine(flagError(cmd, err))
			})
			asGroup(cmd, append(others, accountCommand(), keyCommand(), jobCommand(), streamCommand(), auditCommand(), explainCommand(), initCommand(), backupCommand(), restoreCommand())...)
		},
	})
}

// Flags that every command takes.
const (
	flagKeystore = "keystore"
	flagConfig   = "config"
	flagAdapter  = "adapter"
	flagJSON     = "json"
)

// group makes a command that only holds others.
func group(name, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name + " <command>", Short: short}
	asGroup(cmd, commands...)
	return cmd
}

// asGroup has cmd print its help when it is called without a subcommand, and
// refuse a subcommand that does not exist, which cobra would take for a call
// for help.
func asGroup(cmd *cobra.Command, commands ...*cobra.Command) {
	cmd.AddCommand(commands...)
	cmd.DisableFlagsInUseLine = true
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return cmd.Help()
	}
}

// Leaf makes a command that does something.
func Leaf(use, short string, args cobra.PositionalArgs, run func(*cobra.Command, []string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			return oneLine(run(cmd, args))
		},
		DisableFlagsInUseLine: true,
	}
}

// oneLine makes errors of others fit on the one line that an error has, and
// quotes no secret that was typed where something else belongs.
func oneLine(err error) error {
	if err == nil {
		return nil
	}
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\r' || r == '\n' })
	if text := credential.MaskURI(strings.Join(lines, "; "), nil); text != err.Error() {
		return errors.New(text)
	}
	return err
}

func NoArgument(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected %s: %q takes flags only, see its --help", words.QuoteArgument(args[0]), cmd.CommandPath())
	}
	return nil
}

func oneArgument(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s: want one ID, as in %q", words.Count(len(args), "argument"), cmd.UseLine())
	}
	return nil
}

// idKinds are what people may take for one another, by how they begin.
var idKinds = []struct{ prefix, name string }{
	{accountPrefix, "an account ID"},
	{keyIDPrefix, "a key ID"},
	{"svc_", "a service ID"},
	{policy.KeyPrefix, "an API key itself, which is a secret"},
	{policy.ServicePasswordPrefix, "a service password, which is a secret"},
}

const (
	accountPrefix = "acc_"
	keyIDPrefix   = "key_"
)

// The commands that show which IDs there are.
const (
	listOfAccounts = "account list"
	listOfKeys     = "key list"
	listOfJobs     = "job list"
)

// kindOf says what text looks like; empty if like nothing that we give out.
func kindOf(text string) string {
	for _, kind := range idKinds {
		if strings.HasPrefix(text, kind.prefix) {
			return kind.name
		}
	}
	return ""
}

func checkAccountID(id string) error {
	return checkID(id, accountPrefix, "an account ID", listOfAccounts)
}

func checkKeyID(id string) error {
	return checkID(id, keyIDPrefix, "a key ID", listOfKeys)
}

// checkID refuses what cannot be an ID with this prefix.
func checkID(id, prefix, name, list string) error {
	if strings.HasPrefix(id, prefix) {
		return nil
	}
	is := "is not " + name
	if kind := kindOf(id); kind != "" {
		is = "is " + kind
	}
	return fmt.Errorf("%s %s: want %s, %s…, as %q shows it", words.QuoteArgument(id), is, name, prefix, app.Program+" "+list)
}

// unknown adds to the error of a record that does not exist where to find those
// that do.
func unknown(err error, list string) error {
	if errors.Is(err, keystore.ErrNotFound) {
		return fmt.Errorf("%w: %q shows those there are", err, app.Program+" "+list)
	}
	return err
}

// accountID checks the one argument of a command.
func accountID(cmd *cobra.Command, args []string) error {
	if err := oneArgument(cmd, args); err != nil {
		return err
	}
	return checkAccountID(args[0])
}

// keyID checks the one argument of a command.
func keyID(cmd *cobra.Command, args []string) error {
	if err := oneArgument(cmd, args); err != nil {
		return err
	}
	return checkKeyID(args[0])
}
