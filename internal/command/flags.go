package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

// The names of flags that every command takes.
const (
	flagKeystore = "keystore"
	flagConfig   = "config"
	flagAdapter  = "adapter"
	flagEnvFile  = "envfile"
	flagJSON     = "json"
)

// textFlag returns the value of a flag, or "" if the flag is not given. It returns an error
// for a flag that is given with an empty value: mostly the value is a variable of the shell
// that is not set.
func textFlag(cmd *cobra.Command, name string) (string, error) {
	value, err := cmd.Flags().GetString(name)
	if err == nil && value == "" && cmd.Flags().Changed(name) {
		err = usagef("--%s is empty: give it a value, or leave it out", name)
	}
	return value, err
}

// textFlags reads several flags with textFlag, into the variable of each.
func textFlags(cmd *cobra.Command, flags ...flagInto) (err error) {
	for _, f := range flags {
		if *f.into, err = textFlag(cmd, f.name); err != nil {
			return err
		}
	}
	return nil
}

// flagInto is a flag, and the variable for its value.
type flagInto struct {
	name string
	into *string
}

// NoArgument refuses every argument.
func NoArgument(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unexpected %s: %q takes flags only, see its --help", words.QuoteArgument(args[0]), cmd.CommandPath())
	}
	return nil
}

// noSubcommand refuses every argument, as NoArgument does. It is for a command that also
// has subcommands, so its error suggests subcommands.
func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
}

func oneArgument(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s: want one ID, as in %q", words.Count(len(args), "argument"), cmd.UseLine())
	}
	return nil
}

// atMostOneID is a check for a command whose flags can replace the ID.
func atMostOneID(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return oneArgument(cmd, args)
	}
	return nil
}

func oneFile(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) != 1:
		return fmt.Errorf("%s: want one file, as in %q", words.Count(len(args), "argument"), cmd.UseLine())
	case args[0] == "":
		return fmt.Errorf("the file's name is empty: want one, as in %q", cmd.UseLine())
	}
	return nil
}

// oneID returns a check for a command that takes one argument, the ID of a record of this
// kind.
func oneID(kind manage.Kind) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := oneArgument(cmd, args); err != nil {
			return err
		}
		return manage.CheckID("", kind, args[0])
	}
}
