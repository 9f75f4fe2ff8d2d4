package command

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/words"
)

func initCommand() *cobra.Command {
	cmd := Leaf("init", "Makes an empty keystore, also for a server that had another before", NoArgument, initStore)
	cmd.Long = `Makes an empty keystore, if the keystore does not exist. In a PostgreSQL database
it makes the tables, so the role needs the right to create them.

A server makes its first keystore by itself. Later it refuses to start where it
finds none, because the path may be wrong or the disk not mounted. This command
says that a new, empty keystore is meant.

The configuration says where the server's storage is, if it is not Caddy's
default: the storage remembers which keystores there were.

A keystore that exists stays as it is, so that the command can be repeated.`
	cmd.SuggestFor = []string{"create", "new", "setup", "keystore"}
	return cmd
}

// initResult is the result of init in JSON.
type initResult struct {
	Keystore string `json:"keystore"`
	StoreID  string `json:"store_id"`
	Made     bool   `json:"made"`
	Accounts int    `json:"accounts"`
	Keys     int    `json:"keys"`
	Pepper   bool   `json:"pepper"`
}

func initStore(cmd *cobra.Command, _ []string) error {
	t, err := targetOf(cmd)
	if err != nil {
		return err
	}
	exists, err := checkStore(cmd, t)
	if err != nil {
		return kindKeystore.of(err)
	}
	m, done, err := historyOf(cmd)
	defer done()
	if err != nil {
		return err
	}
	t.MustExist = exists // init makes a keystore even if the configuration has must_exist
	if !exists {
		if err := checkMaker(cmd, t); err != nil {
			return kindKeystore.of(err)
		}
	}
	return openAt(cmd, t, exists, func(s *session) error {
		sum, err := s.manager.Store.Summary(s.ctx)
		if err != nil {
			return err
		}
		m.Record(s.ctx, sum.ID, t.name, s.manager.Now.Std())
		result := initResult{t.name, sum.ID, sum.Made, sum.Accounts, sum.Keys, sum.Pepper}
		s.note("Keystore: %s.", t)
		if !sum.Made {
			return s.say(result, "There is a keystore at %s already: %s, with %s and %s.", t.name, sum.ID, words.Count(sum.Accounts, "account"), words.Count(sum.Keys, "key"))
		}
		return s.say(result, "Made keystore %s at %s%s.", sum.ID, t.name, t.ownership())
	})
}

// historyOf returns the history of keystores. It is in the storage of the configuration,
// or in Caddy's default storage. The caller must call done when it no longer needs the
// history, because the storage then closes its connections.
func historyOf(cmd *cobra.Command) (m app.History, done func(), err error) {
	done = func() {}
	m = app.History{Storage: caddy.DefaultStorage, Logger: caddy.Log().Named(app.Name)}
	c, err := configOf(cmd)
	if err != nil {
		return m, done, err
	}
	var config struct {
		Storage json.RawMessage `json:"storage"`
	}
	if err := c.decode(&config); err != nil {
		return m, done, err
	}
	if len(config.Storage) == 0 {
		return m, done, nil
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: cmd.Context()})
	done = cancel
	module, err := ctx.LoadModule(&struct {
		Storage json.RawMessage `json:"storage" caddy:"namespace=caddy.storage inline_key=module"`
	}{config.Storage}, "Storage")
	if err != nil {
		return m, done, kindConfiguration.of(fmt.Errorf("%s: storage: %w", c.source, err))
	}
	converter, ok := module.(caddy.StorageConverter)
	if !ok {
		return m, done, kindConfiguration.of(fmt.Errorf("%s: storage: the module %T is no storage", c.source, module))
	}
	if m.Storage, err = converter.CertMagicStorage(); err != nil {
		return m, done, kindConfiguration.of(fmt.Errorf("%s: storage: %w", c.source, err))
	}
	return m, done, nil
}

// mayMake refuses to make a keystore in three cases: the configuration forbids it,
// another user's server could not open the keystore, or the history has another
// keystore, which can be lost.
func mayMake(cmd *cobra.Command, t target) error {
	if t.MustExist {
		return fmt.Errorf("there is no keystore at %s, and the configuration says must_exist: make it with %q", t, app.Program+" init")
	}
	if err := checkMaker(cmd, t); err != nil || t.create {
		return err
	}
	m, done, err := historyOf(cmd)
	defer done()
	if err != nil {
		return err
	}
	remedy := "mount the disk or restore a backup"
	if t.Postgres != nil {
		remedy = "restore a backup"
	}
	switch before := m.Previous(cmd.Context(), t.name); {
	case before == nil:
	case before.Path == t.name:
		return fmt.Errorf("there is no keystore at %s, and there was one before, %s: %s; if a new, empty keystore is meant, make it with %q", t, before, remedy, app.Program+" init")
	default:
		return fmt.Errorf("there is no keystore at %s, and the server here has another, %s: name it with --%s or --%s; if a new, empty keystore is meant, make it with %q", t, before, flagConfig, flagKeystore, app.Program+" init")
	}
	return nil
}

// checkMaker refuses to make a keystore as root in the directory of another user. The
// user's server could not open the keystore.
func checkMaker(cmd *cobra.Command, t target) error {
	if os.Geteuid() != 0 || t.Postgres != nil {
		return nil
	}
	dir, fi := nearestDir(t.Path) // the store would make missing directories
	if fi == nil {
		return nil
	}
	return checkOwner(fi, "the directory "+dir+" of the keystore "+filepath.Base(t.Path), cmd.CommandPath(), t, nil)
}
