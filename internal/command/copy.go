package command

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
)

// The flags of copy.
const (
	flagFrom     = "from"
	flagTo       = "to"
	flagSnapshot = "snapshot"
)

func copyCommand() *cobra.Command {
	cmd := Leaf("copy --from <keystore> --to <keystore> [--snapshot]", "Copies the keystore from a file into a PostgreSQL database, or back", NoArgument, copyStore)
	cmd.Long = `Copies the keystore from a file into a PostgreSQL database, from a database into a
file, or from one database into another. Both keystores then have the same ID.

A keystore is a path, which sqlite: may precede, or a URL that begins with
postgres:// or postgresql://. There must be no keystore at the new place yet. The
pepper is that of the configuration, as for every command.

Stop the gateways first. Keys that are issued or revoked meanwhile are not in the
copy: the command then fails, unless --snapshot is given. Last uses, usage and ends
of jobs that a gateway writes meanwhile are missing in the copy without an error.

All rows are compared and the audit trail is verified before the new keystore can be
used. A copy that was interrupted goes on when the command is repeated.`
	cmd.Flags().String(flagFrom, "", "The keystore to copy: a file, or a URL such as postgres://gateway@db.example.com/speechgate")
	cmd.Flags().String(flagTo, "", "Where the copy is made, in the same form")
	cmd.Flags().Bool(flagSnapshot, false, "Finish also if the keystore has changed since it was read, without the changes")
	cmd.SuggestFor = []string{"move", "migrate", "transfer", "clone", "keystore"}
	return cmd
}

func copyStore(cmd *cobra.Command, _ []string) error {
	if cmd.Flags().Changed(flagKeystore) {
		return usagef("--%s does not say which way to copy: want --%s and --%s", flagKeystore, flagFrom, flagTo)
	}
	from, err := targetOfFlag(cmd, flagFrom)
	if err != nil {
		return err
	}
	to, err := targetOfFlag(cmd, flagTo)
	if err != nil {
		return err
	}
	snapshot, err := cmd.Flags().GetBool(flagSnapshot)
	if err != nil {
		return err
	}
	exists, err := checkStore(cmd, from)
	switch {
	case err != nil:
		return kindKeystore.of(err)
	case !exists:
		return kindKeystore.of(fmt.Errorf("there is no keystore at %s", from))
	}
	if err := checkMaker(cmd, to); err != nil {
		return kindKeystore.of(err)
	}
	from.MustExist = true
	return openAt(cmd, from, exists, func(s *session) error {
		request := manage.CopyRequest{To: to.Config, Snapshot: snapshot}
		if !s.json { // programs read an error as JSON from standard error
			request.Progress = s.progress()
		}
		c, err := s.manager.Copy(s.ctx, request)
		if err != nil {
			return err
		}
		err = s.say(
			c, "Copied %s, %s and %s to %s; the audit trail's head is %s.",
			words.Count(int(c.Accounts), "account"), words.Count(int(c.Keys), "key"), words.Count(int(c.Jobs), "job"), c.To, c.AuditHead,
		)
		if err != nil {
			return err
		}
		s.note("All %s are the same in both keystores.", words.Count(int(c.Rows), "row"))
		if to.Postgres == nil {
			s.note("The new keystore belongs to %s.", osUser())
		}
		if c.SourceChanged {
			s.note("Warning: the keystore at %s has changed since it was read, and the copy lacks these changes: keys that were revoked since are valid in the copy.", from)
		}
		s.note("Let the gateways use %s now, and move %s away: two keystores with one ID that both change cannot be joined again.", to.name, from.name)
		return nil
	})
}

// targetOfFlag finds the keystore that a flag names, which must be given.
func targetOfFlag(cmd *cobra.Command, flag string) (target, error) {
	text, err := textFlag(cmd, flag)
	if err != nil {
		return target{}, err
	}
	if text == "" {
		return target{}, usagef("no --%s: want the keystore, as in %q", flag, cmd.UseLine())
	}
	place, err := placeOf(cmd, strings.TrimPrefix(text, "sqlite:"), "--"+flag)
	if err != nil {
		return target{}, err
	}
	c, err := configOf(cmd)
	if err != nil {
		return target{}, err
	}
	return targetAt(c, place, "--"+flag)
}

// progressEvery is how often the progress within a table is shown.
const progressEvery = time.Second

// progress returns a function that prints how far a copy is.
func (s *session) progress() func(keystore.CopyProgress) {
	var last time.Time
	return func(p keystore.CopyProgress) {
		if p.Total == 0 || p.Rows < p.Total && time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		done := "copied"
		if p.Compared {
			done = "compared"
		}
		s.note("%s: %d of %s %s", p.Table, p.Rows, words.Count(int(p.Total), "row"), done)
	}
}
