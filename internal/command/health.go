package command

import (
	"errors"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/admin"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

// healthShown is the result of the command health.
type healthShown struct {
	Status string `json:"status"` // ok
	// Server is the address of the server's admin API. It is null if no server answered, and
	// the command has read the keystore itself.
	Server      manage.OrNull `json:"server"`
	LiveStreams *int          `json:"live_streams"` // null without a server
	// Keystore is the file that the command has read. It is null if a server answered.
	Keystore manage.OrNull `json:"keystore"`
}

func healthCommand() *cobra.Command {
	health := Leaf("health [--address <address>]", "Says whether requests can be decided on", NoArgument, checkHealth)
	health.Long = `Says whether requests can be decided on.

It asks the running server, through Caddy's admin API: at --address, else where the
configuration has it, else at localhost:2019. The server is healthy if its keystore
can be read, and is the one with which the server was started.

If no server answers and no --address is given, the command reads the keystore
itself, and says so.

The exit status is 4 if the keystore cannot be used, or if no server answers at
--address.`
	addressFlag(health)
	return health
}

// addressFlag adds the flag --address.
func addressFlag(cmd *cobra.Command) {
	cmd.Flags().String(flagAddress, "", "The address of the running server's admin API, such as localhost:2019")
}

func checkHealth(cmd *cobra.Command, _ []string) error {
	var health admin.Health
	address, err := askServer(cmd, http.MethodGet, admin.HealthPath, nil, &health)
	if missing := (*noServerError)(nil); errors.As(err, &missing) && !cmd.Flags().Changed(flagAddress) {
		return checkKeystore(cmd, missing)
	}
	if err != nil {
		return err
	}
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	return s.say(healthShown{Status: health.Status, Server: manage.OrNull(address), LiveStreams: &health.LiveStreams},
		"The server at %s can decide on requests. It has %s.", address, words.Count(health.LiveStreams, "live stream"))
}

// checkKeystore reads the keystore, for a command that has found no server.
func checkKeystore(cmd *cobra.Command, missing *noServerError) error {
	return withStore(cmd, func(s *session) error {
		if _, err := s.manager.Store.ID(s.ctx); err != nil {
			return err
		}
		if !s.json {
			s.note("%s, so this command has read the keystore itself.", strings.ToUpper(missing.short[:1])+missing.short[1:])
		}
		return s.say(healthShown{Status: "ok", Keystore: manage.OrNull(s.target.name)}, "The keystore %s can be read.", s.target)
	})
}
