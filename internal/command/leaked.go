package command

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/policy"
)

const (
	flagKeyStdin = "key-stdin"
	keyStdinHelp = `

With --key-stdin the key itself, one line of standard input, names the key, as
for a key that was found in a public place. A terminal does not show what is
typed. The key is neither printed nor logged.`
)

// keyStdinFlag adds the flag --key-stdin.
func keyStdinFlag(cmd *cobra.Command) {
	cmd.Flags().Bool(flagKeyStdin, false, "Read the key itself from standard input, in place of an ID")
}

// keyIDsOrStdin is a check for the arguments of a command: one or more key IDs, or no
// argument if --key-stdin is given.
func keyIDsOrStdin(cmd *cobra.Command, args []string) error {
	fromInput, err := cmd.Flags().GetBool(flagKeyStdin)
	switch {
	case err != nil:
		return err
	case fromInput && len(args) > 0:
		return usagef("--%s and a key ID name a key each: want one of them", flagKeyStdin)
	case fromInput:
		return checkInput(cmd)
	}
	return someIDs(manage.KindKey)(cmd, args)
}

// keyIDsOf returns the IDs in the arguments. Without arguments, it reads a key from
// standard input and returns the ID of this key.
func (s *session) keyIDsOf(args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	secret, err := s.readKey()
	if err != nil {
		return nil, err
	}
	id, err := s.manager.KeyIDOf(s.ctx, secret)
	return []string{id}, err
}

// readKey reads the key from standard input, which must have exactly one line. If
// standard input is a terminal, readKey asks for the key, and the terminal does not
// show what people type.
func (s *session) readKey() (policy.Secret, error) {
	var none policy.Secret
	in := s.in
	if file, ok := in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		_, _ = fmt.Fprint(s.err, "Key: ") // if this fails, people can still type
		text, err := term.ReadPassword(int(file.Fd()))
		_, _ = fmt.Fprintln(s.err)
		if err != nil {
			return none, fmt.Errorf("standard input: %w", err)
		}
		return oneKey(string(text))
	}
	text, err := io.ReadAll(io.LimitReader(in, manage.MaxKeyText+1))
	if err != nil {
		return none, fmt.Errorf("standard input: %w", err)
	}
	return oneKey(string(text))
}

// oneKey returns the key in a text that must have exactly one line.
func oneKey(text string) (policy.Secret, error) {
	lines, err := manage.ParseKeyLines(text)
	switch {
	case err != nil:
		return policy.Secret{}, err
	case len(lines) == 0:
		return policy.Secret{}, usagef("standard input is empty: want the key, one line")
	case len(lines) > 1:
		return policy.Secret{}, usagef("standard input has %s: want one, the key", words.Count(len(lines), "line"))
	}
	return lines[0].Secret, nil
}
