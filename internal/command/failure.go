package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
)

// kind is a kind of error. It decides the exit status and the code in JSON.
type kind struct {
	code   string // in JSON
	status int    // the exit status
}

// The kinds of errors. docs/command-line.md says what each of them means.
var (
	kindFailed        = kind{"failed", 1}
	kindRefused       = kind{"refused", 1}
	kindUsage         = kind{"usage", 2}
	kindConfiguration = kind{"configuration", 2}
	kindNotFound      = kind{"not_found", 3}
	kindKeystore      = kind{"keystore", 4}
	kindServer        = kind{"server", 4}
	kindDoubtful      = kind{"warnings", 1} // of doctor
	kindUnsound       = kind{"failures", 2} // of doctor
)

// failure is an error that already has its kind.
type failure struct {
	error
	kind kind
}

func (f *failure) Unwrap() error { return f.error }

// of returns err as an error of the kind k. If err already has a kind, or is nil, of
// returns it unchanged.
func (k kind) of(err error) error {
	if known := (*failure)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	return &failure{err, k}
}

// usagef returns an error of the kind kindUsage: a mistake in the command line.
func usagef(format string, args ...any) error { return kindUsage.of(fmt.Errorf(format, args...)) }

// Usagef returns the error of a mistake in the command line, for commands of other packages. The
// exit status is 2.
func Usagef(format string, args ...any) error { return usagef(format, args...) }

// kindOf returns the kind of an error of any package.
func kindOf(err error) kind {
	known, wrong := (*failure)(nil), (*manage.FieldError)(nil)
	switch {
	case errors.As(err, &known):
		return known.kind
	case errors.As(err, &wrong):
		return kindUsage
	case errors.Is(err, keystore.ErrNotFound):
		return kindNotFound
	case errors.Is(err, keystore.ErrUnavailable), errors.Is(err, keystore.ErrNoStore):
		return kindKeystore
	case errors.Is(err, keystore.ErrInvalid), errors.Is(err, keystore.ErrAccountClosed), errors.Is(err, keystore.ErrAccountSuspended), errors.Is(err, manage.ErrOperatorOnly):
		return kindRefused
	}
	return kindFailed
}

// StatusError is the error that a command returns: one line, with the exit status of the
// program.
type StatusError struct {
	text   string
	status int
	caddy  error
}

// Error returns the line.
func (f *StatusError) Error() string { return f.text }

// ExitStatus returns the exit status of the program, 1 or more.
func (f *StatusError) ExitStatus() int { return f.status }

// Unwrap returns an error from which Caddy's main function takes the exit status.
func (f *StatusError) Unwrap() error { return f.caddy }

// finish makes one line of an error, with the names of flags, which cobra prints. With
// --json, finish prints the error itself, as an object on standard error.
func finish(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	k := kindOf(err)
	failed := &StatusError{text: oneLine(manage.Text(err, cliNames{})), status: k.status}
	if k.status > 1 {
		// Caddy does not export the type of its error with an exit status, but this
		// function returns such an error.
		withStatus := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return k.status, nil })
		failed.caddy = withStatus(cmd, nil)
	}
	if !wantsJSON(cmd) {
		return failed
	}
	cmd.SilenceErrors = true
	var object struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	object.Error.Code, object.Error.Message = k.code, failed.text
	enc := json.NewEncoder(cmd.ErrOrStderr())
	enc.SetEscapeHTML(false)
	_ = enc.Encode(object) // there is no other place for the error
	return failed
}

// wantsJSON reports whether the command has --json. After a wrong flag, the flags behind it
// are not parsed. One of them can be --json, so wantsJSON also looks at the arguments of
// the program.
func wantsJSON(cmd *cobra.Command) bool {
	if asJSON, err := cmd.Flags().GetBool(flagJSON); err == nil && cmd.Flags().Changed(flagJSON) {
		return asJSON
	}
	for _, arg := range os.Args {
		switch arg {
		case "--":
			return false
		case "--" + flagJSON, "--" + flagJSON + "=true":
			return true
		}
	}
	return false
}

// oneLine returns the message of an error as one line, with secrets masked: people can type
// a secret in any place.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' })
	return credential.MaskURI(strings.Join(lines, "; "), nil)
}
