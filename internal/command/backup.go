package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
)

func backupCommand() *cobra.Command {
	backup := Leaf("backup <file>", "Copies the keystore into a new file, while servers go on", oneFile, backupStore)
	backup.Long = `Copies the keystore into a new file, while servers go on.

The copy is the keystore as it was at one instant. It stands alone, and only its
owner can read it. A file that exists is not overwritten.`
	backup.SuggestFor = []string{"dump", "export", "copy"}
	return backup
}

func restoreCommand() *cobra.Command {
	restore := Leaf("restore <file>", "Makes the keystore what it was at a backup; what ended since stays ended", oneFile, restoreStore)
	restore.Long = `Makes the keystore what it was at a backup, while servers go on.

What ended since stays ended: keys that were deleted or revoked, accounts that
were closed, service passwords that were replaced. Keys that were issued since
are removed; before that, all that there is goes into a backup beside the
keystore, and restoring that brings them back.

Where there is no keystore, the backup becomes it, and nothing is known of what
ended since.`
	return restore
}

func oneFile(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) != 1:
		return fmt.Errorf("%s: want one file, as in %q", words.Count(len(args), "argument"), cmd.UseLine())
	case args[0] == "":
		return fmt.Errorf("the file's name is empty: want one, as in %q", cmd.UseLine())
	}
	return nil
}

// backupResult is a backup in JSON.
type backupResult struct {
	File      string `json:"file"`
	Bytes     int64  `json:"bytes"`
	Keys      int    `json:"keys"`
	Accounts  int    `json:"accounts"`
	Jobs      int    `json:"jobs"`
	AuditHead string `json:"audit_head"`
}

func backupStore(cmd *cobra.Command, args []string) error {
	return withStore(cmd, func(s *session) error {
		c, err := s.store.Backup(s.ctx, args[0])
		if err != nil {
			return err
		}
		err = s.say(
			backupResult{c.Path, c.Bytes, c.Keys, c.Accounts, c.Jobs, c.Head.String()},
			"Backed up %s, %s and %s to %s (%d bytes); the audit trail's head is %s.",
			words.Count(c.Accounts, "account"), words.Count(c.Keys, "key"), words.Count(c.Jobs, "job"), c.Path, c.Bytes, c.Head,
		)
		if err == nil {
			s.note("The backup has no secrets but their digests, and it has names and addresses: keep it private. A pepper is not in it: keep that as well, and apart.")
		}
		return err
	})
}

// restoreResult is a restore in JSON.
type restoreResult struct {
	KeysRestored       int     `json:"keys_restored"`
	KeysRemoved        int     `json:"keys_removed"`
	KeysKeptEnded      int     `json:"keys_kept_ended"`
	AccountsRestored   int     `json:"accounts_restored"`
	AccountsRemoved    int     `json:"accounts_removed"`
	AccountsKeptClosed int     `json:"accounts_kept_closed"`
	JobsRestored       int     `json:"jobs_restored"`
	JobsRemoved        int     `json:"jobs_removed"`
	Before             *string `json:"before"`
}

func restoreStore(cmd *cobra.Command, args []string) error {
	cfg, gates, err := storeOfFlags(cmd)
	if err != nil {
		return err
	}
	exists, err := checkStore(cfg.Path, cmd.CommandPath())
	if err != nil {
		return err
	}
	cfg.MustExist = exists
	if !exists {
		if err := checkMaker(cfg.Path, cmd.CommandPath()); err != nil {
			return err
		}
		return restoreNew(cmd, cfg, args[0])
	}
	err = openAt(cmd, cfg, gates, exists, func(s *session) error {
		r, err := s.store.Restore(s.ctx, s.now, s.by, args[0])
		if err != nil {
			return err
		}
		return s.printRestored(r)
	})
	if keystore.Damaged(err) {
		return fmt.Errorf("%w; nothing was restored: to put the backup in its place, move it away with its -wal and -shm files and repeat this, after which keys that ended since the backup are good again", err)
	}
	return err
}

// restoreNew restores where there is no keystore.
func restoreNew(cmd *cobra.Command, cfg keystore.Config, from string) error {
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	r, err := keystore.RestoreNew(s.ctx, cfg, s.now, s.by, from)
	if err != nil {
		return err
	}
	if err := s.printRestored(r); err != nil {
		return err
	}
	s.note("A new keystore was made at %s; it belongs to %s.", cfg.Path, osUser())
	s.note("Warning: there was no keystore to carry anything over from: keys and accounts that ended after the backup, and service passwords that were replaced, are good again; end them once more.")
	return nil
}

func (s *session) printRestored(r keystore.Restored) error {
	result := restoreResult{
		KeysRestored: r.Keys.Restored, KeysRemoved: r.Keys.Removed, KeysKeptEnded: r.KeptEnded,
		AccountsRestored: r.Accounts.Restored, AccountsRemoved: r.Accounts.Removed, AccountsKeptClosed: r.KeptClosed,
		JobsRestored: r.Jobs.Restored, JobsRemoved: r.Jobs.Removed,
	}
	if r.Before != "" {
		result.Before = &r.Before
	}
	err := s.print(
		result,
		[]string{"Keys", fmt.Sprintf("%d restored, %d removed, %d ended since and stay so", r.Keys.Restored, r.Keys.Removed, r.KeptEnded)},
		[]string{"Accounts", fmt.Sprintf("%d restored, %d removed, %d closed since and stay so", r.Accounts.Restored, r.Accounts.Removed, r.KeptClosed)},
		[]string{"Jobs", fmt.Sprintf("%d restored, %d removed", r.Jobs.Restored, r.Jobs.Removed)},
		[]string{"Before", orDash(r.Before)},
	)
	if err == nil && r.Before != "" {
		s.note("What there was before is in the last file named: restoring that brings back what was removed and had not ended.")
	}
	return err
}
