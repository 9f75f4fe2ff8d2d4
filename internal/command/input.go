package command

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

var (
	errTerminal     = usagef("standard input is a terminal, which shows what is typed: give the key from a file or a pipe")
	errNoPassword   = usagef("standard input is empty: want the service password")
	errManyLines    = usagef("standard input has more than one line: want the service password alone")
	errLongPassword = usagef("standard input is longer than a service password of %d bytes can be: want that alone", policy.MaxSecretLen)
)

// checkInput returns an error for --config -, for a command that reads something else from
// standard input.
func checkInput(cmd *cobra.Command) error {
	file, err := cmd.Flags().GetString(flagConfig)
	if err == nil && file == "-" {
		err = usagef("--%s - reads standard input, as this does: name a file", flagConfig)
	}
	return err
}

// readKeyLines reads the lines of standard input, which are keys.
func (s *session) readKeyLines() ([]manage.KeyLine, error) {
	if isTerminal(s.in) {
		return nil, errTerminal
	}
	text, err := io.ReadAll(io.LimitReader(s.in, manage.MaxKeyText+1))
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return manage.ParseKeyLines(string(text))
}

// isTerminal reports whether r is a terminal, which can show what people type. Every
// character device except the null device counts as a terminal.
func isTerminal(r io.Reader) bool {
	file, ok := r.(*os.File)
	if !ok {
		return false
	}
	fi, err := file.Stat()
	if err != nil || fi.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(fi, null)
}

// readPassword reads one line, a service password, from standard input. If standard input
// is a terminal, it does not show what people type.
func readPassword(cmd *cobra.Command) (policy.Secret, error) {
	var none policy.Secret
	in := cmd.InOrStdin()
	var text []byte
	var err error
	if file, ok := in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), "Service password: ") // if this fails, people can still type
		text, err = term.ReadPassword(int(file.Fd()))
		_, _ = fmt.Fprintln(cmd.ErrOrStderr())
	} else {
		text, err = io.ReadAll(io.LimitReader(in, policy.MaxSecretLen+3)) // room for the end of the line, and for one byte too many
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
