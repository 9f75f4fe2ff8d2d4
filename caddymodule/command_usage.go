package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// unknownCommand says which command may have been meant: one that is spelled
// much the same, or is called so in one of the groups.
func unknownCommand(cmd *cobra.Command, name string) error {
	var meant, names []string
	for _, suggestion := range cmd.SuggestionsFor(name) {
		meant = append(meant, strconv.Quote(cmd.CommandPath()+" "+suggestion))
	}
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		names = append(names, c.Name())
		for _, sub := range c.Commands() {
			if sub.Name() == name {
				meant = append(meant, strconv.Quote(sub.CommandPath()))
			}
		}
	}
	if len(meant) > 0 {
		return fmt.Errorf("unknown command %s: did you mean %s?", shownWord(name), strings.Join(meant, " or "))
	}
	return fmt.Errorf("unknown command %s: %q is followed by one of %s", shownWord(name), cmd.CommandPath(), strings.Join(names, ", "))
}

// flagError says what is wrong with a flag, and what would be right. A
// misspelled subcommand shows first by flags that its group does not have, and
// is then what is wrong.
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
		return fmt.Errorf("invalid argument %s for --%s: want %s", shownArgument(invalid.GetValue()), flag.Name, want)
	}
	return fmt.Errorf("%w: %q takes %s", err, cmd.CommandPath(), strings.Join(flagNames(cmd), ", "))
}

func unknownFlag(cmd *cobra.Command, err *pflag.NotExistError) error {
	name := err.GetSpecifiedName()
	flag := "--" + strings.Trim(shownWord(name), `"`)
	if err.GetSpecifiedShortnames() != "" {
		flag, name = "-"+name, ""
	}
	names := flagNames(cmd)
	if meant := nearest("--"+name, names); meant != "" {
		return fmt.Errorf("unknown flag: %s: did you mean %s?", flag, meant)
	}
	return fmt.Errorf("unknown flag: %s: %q takes %s", flag, cmd.CommandPath(), strings.Join(names, ", "))
}

// flagNames lists the flags that a command takes.
func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			names = append(names, "--"+f.Name)
		}
	})
	return names
}

// usageOf shows a flag with the kind of its value.
func usageOf(flag *pflag.Flag) string {
	kind, usage := pflag.UnquoteUsage(flag)
	return fmt.Sprintf("--%s <%s>, %s", flag.Name, kind, usage)
}

// choiceFlag returns the value of a flag that takes one of a few words; empty if
// it is left out.
func choiceFlag(cmd *cobra.Command, name string, choices []string) (string, error) {
	value, err := textFlag(cmd, name)
	if err != nil || value == "" || slices.Contains(choices, value) {
		return value, err
	}
	if meant := nearest(value, choices); meant != "" {
		return "", fmt.Errorf("--%s %s: did you mean %s?", name, shown(value), meant)
	}
	return "", fmt.Errorf("--%s %s: want %s", name, shown(value), alternatives(choices))
}

// alternatives joins words as a sentence does.
func alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// nearest returns the word that a misspelled one was likely meant to be; empty
// where none is near.
func nearest(misspelled string, words []string) string {
	const tolerated = 2
	best, found := tolerated+1, ""
	for _, word := range words {
		if d := editDistance(strings.ToLower(misspelled), word); d < best && d < len(word)-1 {
			best, found = d, word
		}
	}
	return found
}

// editDistance counts the letters to insert, remove or change, or neighbours to
// swap, that make b of a.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
