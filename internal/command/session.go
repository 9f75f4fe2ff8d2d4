package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// session is one run of a command.
type session struct {
	ctx     context.Context
	manager *manage.Manager // nil for a command without a keystore
	target  target          // the keystore
	existed bool            // whether the keystore was there before the command
	json    bool
	in      io.Reader
	out     io.Writer // for the result
	err     io.Writer // for everything else
}

// withStore runs a command that only reads the keystore, which must exist.
func withStore(cmd *cobra.Command, run func(*session) error) error {
	return openStore(cmd, false, run)
}

// changeStore runs a command that writes to the keystore, which must exist.
func changeStore(cmd *cobra.Command, run func(*session) error) error {
	return openStore(cmd, false, tellingStore(run))
}

// createStore does what changeStore does. If there is no keystore, it makes one.
func createStore(cmd *cobra.Command, run func(*session) error) error {
	return openStore(cmd, true, tellingStore(run))
}

// tellingStore returns a function that calls run, and then prints which keystore the
// command used. If run fails, it prints nothing, because an error is the only line on
// standard error. There is one exception: run has failed for some of several IDs only.
func tellingStore(run func(*session) error) func(*session) error {
	return func(s *session) error {
		err := run(s)
		if some := (*someFailedError)(nil); err == nil || errors.As(err, &some) && some.done > 0 && !s.json {
			s.noteStore()
		}
		return err
	}
}

// noteStore prints which keystore the command used.
func (s *session) noteStore() {
	if s.existed {
		s.note("Keystore: %s.", s.target)
	} else {
		s.note("A new keystore was made at %s%s.", s.target, s.target.ownership())
	}
}

// openStore runs a command on the keystore. If create is true and there is no keystore,
// openStore makes one.
func openStore(cmd *cobra.Command, create bool, run func(*session) error) error {
	t, err := targetOf(cmd)
	if err != nil {
		return err
	}
	exists, err := checkStore(cmd, t)
	if err != nil {
		return kindKeystore.of(err)
	}
	switch {
	case exists:
		t.MustExist = true // it could be removed before it is opened
	case !create:
		return kindKeystore.of(fmt.Errorf("there is no keystore at %s: name the server's with --%s or --%s, or make one with %q",
			t, flagKeystore, flagConfig, app.Program+" init"))
	default:
		if err := mayMake(cmd, t); err != nil {
			return kindKeystore.of(err)
		}
	}
	return openAt(cmd, t, exists, run)
}

// openAt opens the keystore t and runs a command on it. The argument exists says whether
// the keystore was there before.
func openAt(cmd *cobra.Command, t target, exists bool, run func(*session) error) (err error) {
	// A command must not add a pepper to a keystore that is in use: after that, a server
	// without the pepper could not check keys. Only a server adds one.
	t.KeepPepper = exists
	store, err := keystore.Open(cmd.Context(), t.Config)
	if err != nil {
		return kindKeystore.of(err)
	}
	defer func() {
		if closeErr := store.Close(); err == nil {
			err = closeErr
		}
	}()
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	s.target, s.existed = t, exists
	s.manager = &manage.Manager{Store: store, Actor: operator(), Now: currentTime(), Gates: t.gates}
	if behind := store.Behind(); behind > 0 {
		s.note("This machine's clock is %s behind the newest time in the keystore: keys that were issued since count as unknown until then. Set the clock.", behind)
	}
	return run(s)
}

// newSession returns a session without a keystore.
func newSession(cmd *cobra.Command) (*session, error) {
	asJSON, err := cmd.Flags().GetBool(flagJSON)
	return &session{
		ctx:  cmd.Context(),
		json: asJSON,
		in:   cmd.InOrStdin(),
		out:  cmd.OutOrStdout(),
		err:  cmd.ErrOrStderr(),
	}, err
}

// operator returns the actor of every command.
func operator() keystore.Actor {
	return keystore.Actor{Kind: keystore.ActorOperator, ID: operatorName(osUser(), os.Getenv("SUDO_USER"))}
}

// currentTime returns the time of the system's clock. A command is too short to need
// protection against a clock that is set back.
func currentTime() policy.Time { return keystore.SystemClock().Now() }
