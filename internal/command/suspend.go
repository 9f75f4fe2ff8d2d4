package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
)

func suspendAccountCommand() *cobra.Command {
	suspend := Leaf("suspend <account>… [--reason <text>]", "Refuses an account's keys and its service password, until it is resumed", someIDs(manage.KindAccount), suspendAccounts)
	suspend.Long = `Refuses an account's keys and its service password at once, until "account resume".

Live streams are cut, and jobs have no grace meanwhile. Nothing ends for good:
"account close" and "key revoke" do that.`
	suspend.SuggestFor = []string{"pause", "disable", "block"}
	suspend.Flags().String("reason", "", "Why, for people and the audit trail")
	return suspend
}

func suspendAccounts(cmd *cobra.Command, args []string) error {
	reason, err := cmd.Flags().GetString("reason")
	if err != nil {
		return err
	}
	return changeRecords(cmd, args, func(s *session, account string) (manage.SuspendedAccount, error) {
		return s.manager.SuspendAccount(s.ctx, account, reason)
	}, func(a manage.SuspendedAccount) string {
		return changedOnce(manage.KindAccount, a.ID, "suspended", a.SuspendedAt, a.Already)
	})
}

func resumeAccountCommand() *cobra.Command {
	resume := Leaf("resume <account>…", "Ends the suspension of an account", someIDs(manage.KindAccount), resumeAccounts)
	resume.SuggestFor = []string{"unsuspend", "enable", "unblock", "reopen"}
	return resume
}

func resumeAccounts(cmd *cobra.Command, args []string) error {
	return changeRecords(cmd, args, func(s *session, account string) (manage.SuspendedAccount, error) {
		return s.manager.ResumeAccount(s.ctx, account)
	}, func(a manage.SuspendedAccount) string {
		if a.Already {
			return fmt.Sprintf("Account %s is not suspended.", a.ID)
		}
		return fmt.Sprintf("Resumed account %s.", a.ID)
	})
}

func renameAccountCommand() *cobra.Command {
	rename := Leaf("rename <account> --name <name>", "Gives an account another name", oneAccount, renameAccount)
	rename.Flags().String("name", "", "The customer's new name, for people")
	return rename
}

func renameAccount(cmd *cobra.Command, args []string) error {
	name, err := textFlag(cmd, "name")
	if err != nil {
		return err
	}
	n := manage.NewAccount{Name: name}
	if err := n.Validate(); err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		a, err := s.manager.RenameAccount(s.ctx, args[0], name)
		if err != nil {
			return err
		}
		return s.say(a, "Account %s has the name %q.", a.ID, a.Name)
	})
}

func suspendKeyCommand() *cobra.Command {
	suspend := Leaf("suspend <key ID>…|--key-stdin [--reason <text>]", "Refuses a key, until it is resumed", keyIDsOrStdin, suspendKeys)
	suspend.Long = `Refuses a key at once, until "key resume".

Its live streams are cut, and its jobs have no grace meanwhile. The keys that it
issued go on. Nothing ends for good: "key revoke" does that.` + keyStdinHelp
	suspend.SuggestFor = []string{"pause", "disable", "block"}
	suspend.Flags().String("reason", "", "Why, for people and the audit trail")
	keyStdinFlag(suspend)
	return suspend
}

func suspendKeys(cmd *cobra.Command, args []string) error {
	reason, err := cmd.Flags().GetString("reason")
	if err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		ids, err := s.keyIDsOf(args)
		if err != nil {
			return err
		}
		return changeEach(s, ids, func(id string) (manage.SuspendedKey, error) {
			return s.manager.SuspendKey(s.ctx, id, reason)
		}, func(k manage.SuspendedKey) string {
			return changedOnce(manage.KindKey, k.ID, "suspended", k.SuspendedAt, k.Already)
		})
	})
}

func resumeKeyCommand() *cobra.Command {
	resume := Leaf("resume <key ID>…", "Ends the suspension of a key", someIDs(manage.KindKey), resumeKeys)
	resume.SuggestFor = []string{"unsuspend", "enable", "unblock"}
	return resume
}

func resumeKeys(cmd *cobra.Command, args []string) error {
	return changeStore(cmd, func(s *session) error {
		return changeEach(s, args, func(id string) (manage.SuspendedKey, error) {
			return s.manager.ResumeKey(s.ctx, id)
		}, func(k manage.SuspendedKey) string {
			if k.AccountSuspended {
				s.note("Account %s is suspended, so its keys are refused until %q.", k.AccountID, "account resume "+k.AccountID)
			}
			if k.Already {
				return fmt.Sprintf("Key %s is not suspended.", k.ID)
			}
			return fmt.Sprintf("Resumed key %s.", k.ID)
		})
	})
}

func renameKeyCommand() *cobra.Command {
	rename := Leaf("rename <key ID> --label <text>", "Gives a key another label", oneID(manage.KindKey), renameKey)
	rename.SuggestFor = []string{"label", "relabel"}
	rename.Flags().String("label", "", "What the key is for, for people; empty for no label")
	return rename
}

func renameKey(cmd *cobra.Command, args []string) error {
	label, err := cmd.Flags().GetString("label")
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("label") {
		return usagef(`--label is missing: want what the key is for, such as --label "call centre", or --label "" for no label`)
	}
	return changeStore(cmd, func(s *session) error {
		k, err := s.manager.RenameKey(s.ctx, args[0], label)
		if err != nil {
			return err
		}
		return s.say(k, "Key %s has the label %q.", k.ID, k.Label)
	})
}
