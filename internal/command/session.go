package command

import (
	"context"
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
	json    bool
	in      io.Reader
	out     io.Writer // for the result
	err     io.Writer // for everything else
}

// withStore runs a command on the keystore, which must exist.
func withStore(cmd *cobra.Command, run func(*session) error) error {
	return openStore(cmd, false, run)
}

// openStore runs a command on the keystore. If create is true and there is no keystore,
// openStore makes one.
func openStore(cmd *cobra.Command, create bool, run func(*session) error) error {
	cfg, gates, err := storeOfFlags(cmd)
	if err != nil {
		return err
	}
	exists, err := checkStore(cfg.Path, cmd.CommandPath())
	if err != nil {
		return err
	}
	switch {
	case exists:
		cfg.MustExist = true // the file can be removed before it is opened
	case !create:
		return fmt.Errorf("there is no keystore at %s: name the server's with --%s or --%s, or make one with %q",
			cfg.Path, flagKeystore, flagConfig, app.Program+" init")
	default:
		if err := mayMake(cmd, cfg); err != nil {
			return err
		}
	}
	return openAt(cmd, cfg, gates, exists, run)
}

// openAt is openStore for flags that were read before.
func openAt(cmd *cobra.Command, cfg keystore.Config, gates manage.GateConfigs, exists bool, run func(*session) error) error {
	return openQuietly(cmd, cfg, gates, exists, func(s *session) error {
		if err := run(s); err != nil {
			return err // an error is the only line on standard error
		}
		if !exists {
			s.note("A new keystore was made at %s; it belongs to %s.", cfg.Path, osUser())
		}
		return nil
	})
}

// openQuietly is openAt for a command that says itself that a keystore was made.
func openQuietly(cmd *cobra.Command, cfg keystore.Config, gates manage.GateConfigs, exists bool, run func(*session) error) (err error) {
	// Only a server adds a pepper to a keystore that is in use: after it, no server
	// without the pepper can check keys.
	cfg.KeepPepper = exists
	store, err := keystore.Open(cmd.Context(), cfg)
	if err != nil {
		return err
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
	s.manager = &manage.Manager{Store: store, Actor: operator(), Now: currentTime(), Gates: gates}
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

// operator is the actor of every command.
func operator() keystore.Actor {
	return keystore.Actor{Kind: keystore.ActorOperator, ID: operatorName(osUser(), os.Getenv("SUDO_USER"))}
}

// currentTime returns the instant by the system's clock. A command does not run long
// enough to see that the system's clock is set back.
func currentTime() policy.Time { return keystore.SystemClock().Now() }
