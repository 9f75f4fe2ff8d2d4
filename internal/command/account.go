package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

func accountCommand() *cobra.Command {
	create := Leaf("create --name <name> [--service-id <service ID>]", "Creates an account; shows its service password, once", NoArgument, createAccount)
	create.Long = `Creates an account, and shows its service password, once.

With --service-id it takes over the service ID and service password that the
customer has elsewhere, and shows no password. The password is the one line of
standard input; at a terminal, you are asked for it.`
	create.Flags().String("name", "", "The customer's name, for people")
	create.Flags().String("service-id", "", "Take over this service ID, with the password on standard input")

	list := Leaf("list [flags]", "Lists the accounts, oldest first", NoArgument, listAccounts)
	list.Flags().String("status", "", "List the accounts of this status only: "+words.Alternatives(manage.AccountStatuses()))
	limitFlag(list, "accounts")

	show := Leaf("show <account>…", "Shows an account", someIDs(manage.KindAccount), showAccount)

	end := Leaf("close <account>… --yes", "Closes an account for good, and ends all its keys", someIDs(manage.KindAccount), closeAccount)
	end.Flags().Bool("yes", false, "Close it, without asking back")
	end.SuggestFor = []string{"delete", "remove"}

	rotate := Leaf("rotate <account> [--overlap <time>]", "Gives an account a new service ID and password, shown once", oneAccount, rotateAccount)
	rotate.Long = `Gives an account a new service ID and a new service password, and shows them, once.

The old ones end at once or, with --overlap, go on for a while. --overlap takes an
integer and ms, s, m, h, d or w, such as 24h. What an earlier rotation left for an
overlap of its own ends at once in every case.`
	rotate.SuggestFor = []string{"renew", "replace"}
	rotate.Flags().String("overlap", "0", "How long the old service ID and password go on")

	accounts := group("account", "Creates, lists, shows, renames, rotates, invites, limits, suspends and closes accounts",
		create, list, show, renameAccountCommand(), rotate, inviteAccountCommand(), limitAccountCommand(), suspendAccountCommand(), resumeAccountCommand(), end)
	accounts.Long = accounts.Short + `.

<account> is an account's ID, or its name if no other account has the same name.`
	return accounts
}

func createAccount(cmd *cobra.Command, _ []string) error {
	var n manage.NewAccount
	if err := textFlags(cmd, flagInto{"name", &n.Name}, flagInto{"service-id", &n.ServiceID}); err != nil {
		return err
	}
	if err := n.Validate(); err != nil {
		return err
	}
	if n.ServiceID != "" {
		return takeOverAccount(cmd, n)
	}
	return createStore(cmd, func(s *session) error {
		a, err := s.manager.CreateAccount(s.ctx, n)
		if err != nil {
			return err
		}
		if err := s.printPassword(a); err != nil {
			return fmt.Errorf("account %s was created, but its service password is lost: %w; get another with %q", a.ID, err, app.Program+" account rotate "+a.ID)
		}
		return nil
	})
}

// takeOverAccount creates an account with the service ID and the service password that the
// customer already uses at another service.
func takeOverAccount(cmd *cobra.Command, n manage.NewAccount) (err error) {
	if err := checkInput(cmd); err != nil {
		return err
	}
	if n.ServicePassword, err = readPassword(cmd); err != nil {
		return err
	}
	return createStore(cmd, func(s *session) error {
		a, err := s.manager.CreateAccount(s.ctx, n)
		if err != nil {
			return err
		}
		return s.print(a, accountRows(a)...)
	})
}

func rotateAccount(cmd *cobra.Command, args []string) error {
	overlap, err := textFlag(cmd, "overlap")
	if err != nil {
		return err
	}
	if err := manage.CheckOverlap(overlap); err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		a, err := s.manager.RotateAccount(s.ctx, args[0], overlap)
		if err != nil {
			return err
		}
		if err := s.printPassword(a); err != nil {
			return fmt.Errorf("account %s was rotated, but its service password is lost: %w; rotate it again", a.ID, err)
		}
		return nil
	})
}

// printPassword prints an account with its service password.
func (s *session) printPassword(a manage.Account) error {
	rows := append(accountRows(a), []string{"Service password", a.ServicePassword.Reveal()})
	if a.PreviousServiceID != "" {
		rows = append(rows, previousRow(a))
	}
	if err := s.print(a, rows...); err != nil {
		return err
	}
	s.note("Keep the service password: it is not shown again.")
	return nil
}

// accountRows returns an account as rows for people.
func accountRows(a manage.Account) [][]string {
	return [][]string{{"Account ID", a.ID}, {"Name", a.Name}, {"Service ID", a.ServiceID}}
}

// previousRow returns a row for people: the service ID from before the last rotation, and
// until when it works.
func previousRow(a manage.Account) []string {
	return []string{"Before", string(a.PreviousServiceID) + ", which works until " + shortTime(a.PreviousUntil, "")}
}

func listAccounts(cmd *cobra.Command, _ []string) error {
	var q manage.AccountQuery
	if err := textFlags(cmd, flagInto{"status", &q.Status}); err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	none := "There are no accounts."
	if q.Status != "" {
		none = "There are no such accounts."
	}
	return withStore(cmd, func(s *session) error {
		all, err := limitedList(cmd, s, func(page manage.Page, newestFirst bool) (manage.List[manage.Account], error) {
			q.Page, q.NewestFirst = page, newestFirst
			return s.manager.Accounts(s.ctx, q)
		})
		if err != nil {
			return err
		}
		return printAll(
			s, all, none,
			[]string{"ACCOUNT ID", "SERVICE ID", "STATUS", "CREATED", "NAME"},
			func(a manage.Account) []string {
				return []string{a.ID, a.ServiceID, a.Status, shortTime(a.CreatedAt, "-"), a.Name}
			},
		)
	})
}

func showAccount(cmd *cobra.Command, args []string) error {
	return withStore(cmd, func(s *session) error {
		return s.forEach(args, func(id string) (result, error) {
			a, err := s.manager.Account(s.ctx, id)
			if err != nil {
				return result{}, err
			}
			rows := append(accountRows(a),
				[]string{"Status", accountStatus(a)},
				[]string{"Created", shortTime(a.CreatedAt, "-")},
			)
			if a.PreviousServiceID != "" {
				rows = append(rows, previousRow(a))
			}
			return result{a, withLimits(a.Limits, rows)}, nil
		})
	})
}

// accountStatus returns the status of an account for people, with the time and the reason
// of the closing or the suspension.
func accountStatus(a manage.Account) string {
	switch {
	case !a.Open():
		return a.Status + " at " + shortTime(a.ClosedAt, "")
	case !a.SuspendedAt.IsZero():
		return a.Status + " at " + shortTime(a.SuspendedAt, "") + because(a.SuspendReason)
	}
	return a.Status
}

// because returns a reason in parentheses. It returns "" for an empty reason.
func because(reason manage.OrNull) string {
	if reason == "" {
		return ""
	}
	return " (" + string(reason) + ")"
}

func closeAccount(cmd *cobra.Command, args []string) error {
	yes, err := cmd.Flags().GetBool("yes")
	if err != nil {
		return err
	}
	return changeRecords(cmd, args, func(s *session, account string) (manage.ClosedAccount, error) {
		return s.manager.CloseAccount(s.ctx, account, yes)
	}, func(a manage.ClosedAccount) string {
		if a.Already {
			return changedOnce(manage.KindAccount, a.ID, "closed", a.ClosedAt, a.Already)
		}
		return fmt.Sprintf("Closed account %s, and ended its %s.", a.ID, words.Count(a.ActiveKeys, "active key"))
	})
}
