package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
)

func backupCommand() *cobra.Command {
	backup := Leaf("backup <file>", "Copies the keystore into a new file, while servers go on", oneFile, backupStore)
	backup.Long = `Copies the keystore into a new file, while servers go on.

The copy is the keystore as it was at one instant. It stands alone, and only its
owner can read it. A file that exists is not overwritten.`
	backup.SuggestFor = []string{"dump", "export", "keystore"}
	return backup
}

func restoreCommand() *cobra.Command {
	restore := Leaf("restore <file> [--dry-run]", "Makes the keystore what it was at a backup; what ended since stays ended", oneFile, restoreStore)
	restore.Long = `Makes the keystore what it was at a backup, while servers go on.

What ended since stays ended: keys that were deleted or revoked, accounts that
were closed, service passwords that were replaced. Suspensions stay as they are
now: what was suspended since stays suspended, and what was resumed since stays
resumed. Keys that were issued since are removed. Before anything is changed, the
keystore goes into a backup beside it; restoring that file brings these keys back.

If there is no keystore, the backup becomes the keystore. Everything is then as it
was at the backup, because nothing tells what ended, was suspended or was resumed
since.

With --dry-run nothing is changed, and the command says what would be done.`
	restore.Flags().Bool("dry-run", false, "Say what would be restored and removed, and change nothing")
	restore.SuggestFor = []string{"keystore"}
	return restore
}

func backupStore(cmd *cobra.Command, args []string) error {
	return changeStore(cmd, func(s *session) error {
		b, err := s.manager.Backup(s.ctx, args[0])
		if err != nil {
			return err
		}
		err = s.say(
			b, "Backed up %s, %s and %s to %s (%d bytes); the audit trail's head is %s.",
			words.Count(b.Accounts, "account"), words.Count(b.Keys, "key"), words.Count(b.Jobs, "job"), b.File, b.Bytes, b.AuditHead,
		)
		if err == nil {
			s.note("The backup has no secrets but their digests, and it has names and addresses: keep it private. A pepper is not in it: keep that as well, and apart.")
		}
		return err
	})
}

func restoreStore(cmd *cobra.Command, args []string) error {
	dry, err := cmd.Flags().GetBool("dry-run")
	if err != nil {
		return err
	}
	t, err := targetOf(cmd)
	if err != nil {
		return err
	}
	exists, err := checkStore(cmd, t)
	if err != nil {
		return kindKeystore.of(err)
	}
	t.MustExist = exists
	if !exists {
		if err := checkMaker(cmd, t); err != nil {
			return kindKeystore.of(err)
		}
		return restoreNew(cmd, t, args[0], dry)
	}
	if dry {
		return openAt(cmd, t, exists, func(s *session) error {
			r, err := s.manager.PlanRestore(s.ctx, args[0])
			if err != nil {
				return err
			}
			return s.printRestored(r)
		})
	}
	err = openAt(cmd, t, exists, tellingStore(func(s *session) error {
		r, err := s.manager.Restore(s.ctx, args[0])
		if err != nil {
			return err
		}
		return s.printRestored(r)
	}))
	if keystore.Damaged(err) {
		return fmt.Errorf("%w; nothing was restored: to put the backup in its place, move the keystore away with its -wal and -shm files and repeat this; keys and accounts that ended or were suspended since the backup are then good again", err)
	}
	return err
}

// restoreNew restores a backup to a place where there is no keystore yet.
func restoreNew(cmd *cobra.Command, t target, from string, dry bool) error {
	s, err := newSession(cmd)
	if err != nil {
		return err
	}
	restore := manage.RestoreNew
	if dry {
		restore = manage.PlanRestoreNew
	}
	r, err := restore(s.ctx, t.Config, currentTime(), operator(), from)
	if err != nil {
		return err
	}
	if err := s.printRestored(r); err != nil || dry {
		return err
	}
	s.note("A new keystore was made at %s%s.", t, t.ownership())
	s.note("Warning: there was no keystore to carry anything over from, so everything is as it was at the backup. Keys and accounts that ended or were suspended since, and service passwords that were replaced, are good again: end, suspend and replace them once more. Keys and accounts that were resumed since are suspended again: resume them.")
	return nil
}

func (s *session) printRestored(r manage.Restored) error {
	err := s.print(
		r,
		[]string{"Keys", fmt.Sprintf("%d restored, %d removed, %d ended since and stay so", r.KeysRestored, r.KeysRemoved, r.KeysKeptEnded)},
		[]string{"Accounts", fmt.Sprintf("%d restored, %d removed, %d closed since and stay so", r.AccountsRestored, r.AccountsRemoved, r.AccountsKeptClosed)},
		[]string{"Jobs", fmt.Sprintf("%d restored, %d removed", r.JobsRestored, r.JobsRemoved)},
		[]string{"Before", orDash(string(r.Before))},
	)
	if err == nil && r.DryRun {
		s.note("Nothing was changed: this is what a restore without --dry-run would do now.")
	}
	if err == nil && r.Before != "" {
		s.note("The keystore as it was before is in the file named last: restoring that file brings back what was removed and had not ended.")
	}
	return err
}
