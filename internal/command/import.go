package command

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

func importCommand() *cobra.Command {
	imp := Leaf("import --account <account ID> [flags] < <file>", "Imports API keys that clients have already", NoArgument, importKeys)
	imp.Long = `Imports API keys that clients have already, one a line of standard input.

A line is a key or, with --digest, its SHA-256 in hexadecimal. Empty lines do not
count. All get the same rules, and origin initial. Keys that the account has
already stay as they are, so that an import can be repeated. A key that ended
never comes back.

If a line cannot be a key, or is weak, nothing is imported. Weak is a key that can
be guessed, and a line that is probably no key, such as the heading of a table, or
a digest without --digest. --weak imports weak lines all the same.

The exit status is 1 if any line was not taken.
` + expiresHelp
	newKeyFlags(imp)
	imp.Flags().Bool("digest", false, "The lines are SHA-256 digests of keys, in hexadecimal")
	imp.Flags().Bool("weak", false, "Import keys that can be guessed, and lines that look like no keys")
	imp.Flags().Bool("dry-run", false, "Say what would be imported, and write nothing")
	return imp
}

func importKeys(cmd *cobra.Command, _ []string) error {
	digests, err := cmd.Flags().GetBool("digest")
	if err != nil {
		return err
	}
	dry, err := cmd.Flags().GetBool("dry-run")
	if err != nil {
		return err
	}
	weak, err := cmd.Flags().GetBool("weak")
	if err != nil {
		return err
	}
	if err := checkInput(cmd); err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		rules, err := newKeyOfFlags(cmd)
		if err != nil {
			return err
		}
		n := manage.NewKeys{NewKey: rules, Digests: digests, Weak: weak, DryRun: dry}
		if err := n.Validate(s.manager.Now); err != nil {
			return err
		}
		lines, err := s.readKeyLines()
		if err != nil {
			return err
		}
		result, err := s.manager.ImportKeys(s.ctx, n, lines)
		if err != nil {
			return err
		}
		return s.printImport(result)
	})
}

// printImport prints the result of an import. It returns an error if some lines did not
// become keys.
func (s *session) printImport(result *manage.ImportResult) error {
	notTaken := result.NotTaken()
	done := "Imported"
	if result.DryRun {
		done = "Would import"
	}
	rows := [][]string{{fmt.Sprintf("%s %s into account %s; %d known already, %d not taken.",
		done, words.Count(len(result.Imported), "key"), result.AccountID, result.Known, len(notTaken))}}
	for _, line := range notTaken {
		rows = append(rows, []string{fmt.Sprintf("line %d: %s: %s", line.Line, line.What, line.Why)})
	}
	if err := s.print(result, rows...); err != nil {
		return err
	}
	s.warnOfAllow(result.Warnings)
	if n := len(result.Differing); n > 0 {
		s.note("Warning: of those known already, %d had another expiry, other addresses or other limits, and keep them; the first is on line %d.", n, result.Differing[0])
	}
	if result.Refused() {
		return refusedImport(result)
	}
	if len(notTaken) > 0 {
		s.noteStore() // the other keys were imported
		return fmt.Errorf("%d of %s not taken", len(notTaken), words.Count(result.Lines, "key"))
	}
	return nil
}

// refusedImport returns the error of an import that imported nothing. It says why, and
// which flags can help.
func refusedImport(result *manage.ImportResult) error {
	text := fmt.Sprintf("nothing was imported, because %d of %s cannot be imported as they are: correct them, and repeat the import",
		len(result.Malformed)+len(result.Weak), words.Count(result.Lines, "line"))
	if slices.ContainsFunc(result.Weak, func(line manage.LineNotKey) bool { return line.Digest }) {
		text += "; if the lines are digests, use --digest"
	}
	if len(result.Weak) > 0 {
		text += "; if the weak lines are keys that clients have, use --weak"
	}
	return errors.New(text)
}
