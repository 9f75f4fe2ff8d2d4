package command

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/speechgate/speechgate/internal/words"
)

// unknownCommand returns the error for a subcommand that does not exist. It suggests
// subcommands of cmd with a similar name. It also suggests subcommands of other groups that
// have this name.
func unknownCommand(cmd *cobra.Command, name string) error {
	var meant []string
	for _, suggestion := range cmd.SuggestionsFor(name) {
		if name == "" {
			break // every command begins so
		}
		meant = append(meant, strconv.Quote(cmd.CommandPath()+" "+suggestion))
	}
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		for _, sub := range c.Commands() {
			if sub.Name() == name {
				meant = append(meant, strconv.Quote(sub.CommandPath()))
			}
		}
	}
	slices.Sort(meant)
	if meant = slices.Compact(meant); len(meant) > 0 {
		return fmt.Errorf("unknown command %s: did you mean %s?", words.QuoteWord(name), strings.Join(meant, " or "))
	}
	return fmt.Errorf("unknown command %s: %q is followed by one of %s", words.QuoteWord(name), cmd.CommandPath(), strings.Join(commandNames(cmd), ", "))
}

// commandNames returns the names of the subcommands.
func commandNames(cmd *cobra.Command) (names []string) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// flagError returns the error for a wrong flag, and says what would be right. After a
// misspelled subcommand, pflag reports a flag of the subcommand as unknown to cmd. Then
// flagError returns the error for the subcommand.
func flagError(cmd *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case cmd.HasSubCommands() && cmd.Flags().NArg() > 0:
		return unknownCommand(cmd, cmd.Flags().Arg(0))
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown)
	case errors.As(err, &missing):
		return fmt.Errorf("flag needs an argument: --%s: %q takes %s", missing.GetFlag().Name, cmd.CommandPath(), usageOf(missing.GetFlag()))
	case errors.As(err, &invalid):
		flag := invalid.GetFlag()
		want := "true or false"
		if flag.Value.Type() == "int" {
			want = "a whole number"
		}
		return fmt.Errorf("invalid argument %s for --%s: want %s", words.QuoteArgument(invalid.GetValue()), flag.Name, want)
	}
	return fmt.Errorf("%w: %q takes %s", err, cmd.CommandPath(), strings.Join(flagNames(cmd), ", "))
}

func unknownFlag(cmd *cobra.Command, err *pflag.NotExistError) error {
	name := err.GetSpecifiedName()
	flag := "--" + strings.Trim(words.QuoteWord(name), `"`)
	if err.GetSpecifiedShortnames() != "" {
		flag, name = "-"+name, ""
	}
	names := flagNames(cmd)
	if meant := words.Nearest("--"+name, names); meant != "" {
		return fmt.Errorf("unknown flag: %s: did you mean %s?", flag, meant)
	}
	return fmt.Errorf("unknown flag: %s: %q takes %s", flag, cmd.CommandPath(), strings.Join(names, ", "))
}

// flagNames returns the flags of a command.
func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// usageOf returns a text about a flag: its name, the kind of its value, and its usage.
func usageOf(flag *pflag.Flag) string {
	kind, usage := pflag.UnquoteUsage(flag)
	return fmt.Sprintf("--%s <%s>, %s", flag.Name, kind, usage)
}
