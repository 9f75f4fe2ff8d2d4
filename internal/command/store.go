package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// session is one run of a command on the open keystore.
type session struct {
	ctx   context.Context
	store *keystore.Store
	now   policy.Time
	by    keystore.Actor
	gates gates
	json  bool
	in    io.Reader
	out   io.Writer // for what was asked for
	err   io.Writer // for everything else
}

// withStore runs a command on the keystore, which must exist.
func withStore(cmd *cobra.Command, run func(*session) error) error {
	return openStore(cmd, false, run)
}

// openStore runs a command on the keystore; create says that it may make it.
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
		cfg.MustExist = true // also if it goes away in this moment
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

// openAt is openStore for flags that have been read.
func openAt(cmd *cobra.Command, cfg keystore.Config, gates gates, exists bool, run func(*session) error) error {
	return openQuietly(cmd, cfg, gates, exists, func(s *session) error {
		if err := run(s); err != nil {
			return err // on its line alone, even if a keystore was made
		}
		if !exists {
			s.note("A new keystore was made at %s; it belongs to %s.", cfg.Path, osUser())
		}
		return nil
	})
}

// openQuietly is openAt for a command that says itself that a keystore was made.
func openQuietly(cmd *cobra.Command, cfg keystore.Config, gates gates, exists bool, run func(*session) error) (err error) {
	// Only a server adds a pepper to a keystore that is in use: its clients
	// depend on it.
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
	s.store, s.gates = store, gates
	if behind := store.Behind(); behind > 0 {
		s.note("This machine's clock is %s behind the newest time in the keystore: keys that were issued since count as unknown until then. Set the clock.", behind)
	}
	return run(s)
}

// newSession is a session without a keystore.
func newSession(cmd *cobra.Command) (*session, error) {
	asJSON, err := cmd.Flags().GetBool(flagJSON)
	return &session{
		ctx:  cmd.Context(),
		now:  currentTime(),
		by:   keystore.Actor{Kind: keystore.ActorOperator, ID: operatorName()},
		json: asJSON,
		in:   cmd.InOrStdin(),
		out:  cmd.OutOrStdout(),
		err:  cmd.ErrOrStderr(),
	}, err
}

// storeOfFlags finds the keystore that the flags name. A pepper always comes
// from the configuration.
func storeOfFlags(cmd *cobra.Command) (keystore.Config, gates, error) {
	path, err := textFlag(cmd, flagKeystore)
	if err != nil {
		return keystore.Config{}, nil, err
	}
	settings, gates, err := configOfFlags(cmd)
	if err != nil {
		return keystore.Config{}, nil, err
	}
	if path != "" {
		settings.Keystore = app.KeystoreConfig{} // it may have placeholders that cannot be resolved here
	}
	cfg, err := settings.StoreConfig()
	if err != nil {
		return keystore.Config{}, nil, err
	}
	if path != "" {
		if err := app.CheckPathSpelling(path, app.ShellVariable); err != nil {
			return keystore.Config{}, nil, fmt.Errorf("--%s %q: %w", flagKeystore, path, err)
		}
		if cfg.Path, err = filepath.Abs(path); err != nil {
			return keystore.Config{}, nil, fmt.Errorf("--%s %q: %w", flagKeystore, path, err)
		}
	}
	cfg.CommandLine = true
	return cfg, gates, nil
}

// textFlag returns a flag's value. One that is given but empty is refused: it
// mostly comes from a shell's unset variable, and must not count as left out.
func textFlag(cmd *cobra.Command, name string) (string, error) {
	value, err := cmd.Flags().GetString(name)
	if err == nil && value == "" && cmd.Flags().Changed(name) {
		err = fmt.Errorf("--%s is empty: give it a value, or leave it out", name)
	}
	return value, err
}

// configOfFlags reads the app and the gates from the configuration, if one is
// named.
func configOfFlags(cmd *cobra.Command) (*app.App, gates, error) {
	settings := new(app.App)
	file, text, err := configText(cmd)
	if err != nil || text == nil {
		return settings, nil, err
	}
	var config struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, nil, fmt.Errorf("--%s %s: %w", flagConfig, file, err)
	}
	if block := config.Apps[app.Name]; block != nil {
		if err := caddy.StrictUnmarshalJSON(block, settings); err != nil {
			return nil, nil, fmt.Errorf("--%s %s: the %s app: %w", flagConfig, file, app.Name, err)
		}
	}
	gates, err := gatesOf(config.Apps["http"])
	if err != nil {
		return nil, nil, fmt.Errorf("--%s %s: %w", flagConfig, file, err)
	}
	return settings, gates, nil
}

// configText reads and adapts the configuration that the flags name; text is nil
// if they name none. Standard input is read only once.
func configText(cmd *cobra.Command) (file string, text []byte, err error) {
	if file, err = textFlag(cmd, flagConfig); err != nil {
		return "", nil, err
	}
	adapter, err := textFlag(cmd, flagAdapter)
	if err != nil {
		return "", nil, err
	}
	if file == "" {
		if adapter != "" {
			return "", nil, fmt.Errorf("--%s %s has no file to adapt: name it with --%s", flagAdapter, adapter, flagConfig)
		}
		return "", nil, nil
	}
	if text, ok := cmd.Context().Value(configKey{}).([]byte); ok {
		return file, text, nil
	}
	if text, err = loadConfig(file, adapter); err != nil {
		return "", nil, fmt.Errorf("--%s %s: %w", flagConfig, file, err)
	}
	cmd.SetContext(context.WithValue(cmd.Context(), configKey{}, text))
	return file, text, nil
}

// configKey is the key of the configuration's text in a command's context.
type configKey struct{}

// loadConfig reads and adapts a configuration as Caddy does. Of what Caddy logs
// on the way only warnings are passed on.
func loadConfig(file, adapter string) ([]byte, error) {
	_, logger, buffer := caddy.BufferedLog()
	defer caddy.UnbufferDefaultLogger(logger)
	config, _, _, err := caddycmd.LoadConfig(file, adapter)
	buffer.FlushTo(logger.WithOptions(zap.IncreaseLevel(zap.WarnLevel)))
	return config, err
}

// checkStore looks at the keystore's file before SQLite does, which would make
// files beside it that their owner's server could not open.
func checkStore(path, command string) (exists bool, err error) {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, fs.ErrPermission):
		if dir, fi := nearestDir(path); fi != nil {
			return false, checkOwner(fi, "the directory "+dir+" of the keystore "+filepath.Base(path), command, err)
		}
		return false, fmt.Errorf("keystore: %w", err)
	case err != nil:
		return false, fmt.Errorf("keystore: %w", err)
	}
	// An empty file is one that a keystore can be made in.
	return fi.Size() > 0, checkOwner(fi, "the keystore "+path, command, nil)
}

// nearestDir finds the directory of path or, if it does not exist or is closed to
// this user, the nearest one above that is not.
func nearestDir(path string) (string, os.FileInfo) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if fi, err := os.Stat(dir); err == nil {
			return dir, fi
		}
		if dir == filepath.Dir(dir) {
			return "", nil
		}
	}
}

// checkOwner refuses to run as another user than the owner of what fi
// describes; if that is the same user, it returns otherwise.
func checkOwner(fi os.FileInfo, what, command string, otherwise error) error {
	owner, known := ownerOf(fi)
	me := os.Geteuid()
	if !known || owner == me {
		return otherwise
	}
	name, sudo := userName(owner), userName(owner)
	if name == strconv.Itoa(owner) {
		sudo = "'#" + name + "'" // as sudo takes a user without a name
	}
	return fmt.Errorf("%s belongs to user %s, and this command runs as %s: run it as the owner, sudo -u %s %s …",
		what, name, userName(me), sudo, command)
}

// operatorName is who runs the command, as far as the system tells: commands run
// as the keystore's owner, and sudo says for whom.
func operatorName() string {
	name := osUser()
	if behind := os.Getenv("SUDO_USER"); behind != name && nameForm.MatchString(behind) {
		name += " for " + behind
	}
	return name
}

// nameForm is what a user's name can be.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$`)

// osUser is the name of the user who runs the command, or the ID where there
// is no name.
func osUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// userName is a user's name, or the ID where there is no name.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return id
}
