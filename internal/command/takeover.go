package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/speechgate/speechgate/policy"
)

// takeOverAccount makes an account with what the customer has elsewhere.
func takeOverAccount(cmd *cobra.Command, name, serviceID string) error {
	if err := checkInput(cmd); err != nil {
		return err
	}
	password, err := readPassword(cmd)
	if err != nil {
		return err
	}
	return openStore(cmd, true, func(s *session) error {
		a, err := s.store.ImportAccount(s.ctx, s.now, s.by, name, serviceID, password)
		if err != nil {
			return err
		}
		return s.print(
			accountAsJSON(a),
			[]string{"Account ID", a.ID},
			[]string{"Name", a.Name},
			[]string{"Service ID", a.ServiceID},
		)
	})
}

var (
	errNoPassword   = errors.New("standard input is empty: want the service password")
	errManyLines    = errors.New("standard input has more than one line: want the service password alone")
	errLongPassword = fmt.Errorf("standard input is longer than a service password of %d bytes can be: want that alone", policy.MaxSecretLen)
)

// readPassword reads a line from standard input, which a terminal does not show.
func readPassword(cmd *cobra.Command) (policy.Secret, error) {
	var none policy.Secret
	in := cmd.InOrStdin()
	var text []byte
	var err error
	if file, ok := in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), "Service password: ") // where this cannot be written, it can still be typed
		text, err = term.ReadPassword(int(file.Fd()))
		_, _ = fmt.Fprintln(cmd.ErrOrStderr())
	} else {
		text, err = io.ReadAll(io.LimitReader(in, policy.MaxSecretLen+3)) // and a line's end
	}
	if err != nil {
		return none, fmt.Errorf("standard input: %w", err)
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case line == "":
		return none, errNoPassword
	case strings.ContainsAny(line, "\r\n"):
		return none, errManyLines
	case len(line) > policy.MaxSecretLen:
		return none, errLongPassword
	}
	return policy.NewSecret(line), nil
}
