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

	list := Leaf("list", "Lists the accounts, oldest first", NoArgument, listAccounts)

	show := Leaf("show <account ID>", "Shows an account", oneID(manage.KindAccount), showAccount)

	end := Leaf("close <account ID> --yes", "Closes an account for good, and ends all its keys", oneID(manage.KindAccount), closeAccount)
	end.Flags().Bool("yes", false, "Close it, without asking back")
	end.SuggestFor = []string{"delete", "remove"}

	rotate := Leaf("rotate <account ID>", "Gives an account a new service ID and password, shown once; the old ones end at once", oneID(manage.KindAccount), rotateAccount)

	return group("account", "Creates, lists, shows, rotates and closes accounts", create, list, show, rotate, end)
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

// takeOverAccount creates an account with the service ID and the service password that
// the customer has elsewhere.
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
	return changeStore(cmd, func(s *session) error {
		a, err := s.manager.RotateAccount(s.ctx, args[0])
		if err != nil {
			return err
		}
		if err := s.printPassword(a); err != nil {
			return fmt.Errorf("account %s was rotated, but its service password is lost: %w; rotate it again", a.ID, err)
		}
		return nil
	})
}

// printPassword shows an account with its service password.
func (s *session) printPassword(a manage.Account) error {
	rows := append(accountRows(a), []string{"Service password", a.ServicePassword.Reveal()})
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

func listAccounts(cmd *cobra.Command, _ []string) error {
	return withStore(cmd, func(s *session) error {
		all, err := manage.All(func(page manage.Page) (manage.List[manage.Account], error) {
			return s.manager.Accounts(s.ctx, page)
		})
		if err != nil {
			return err
		}
		return printAll(
			s, all, "There are no accounts.",
			[]string{"ACCOUNT ID", "SERVICE ID", "STATUS", "CREATED", "NAME"},
			func(a manage.Account) []string {
				return []string{a.ID, a.ServiceID, a.Status, shortTime(a.CreatedAt, "-"), a.Name}
			},
		)
	})
}

func showAccount(cmd *cobra.Command, args []string) error {
	return withStore(cmd, func(s *session) error {
		a, err := s.manager.Account(s.ctx, args[0])
		if err != nil {
			return err
		}
		status := a.Status
		if !a.Open() {
			status += " at " + shortTime(a.ClosedAt, "")
		}
		return s.print(a, append(accountRows(a),
			[]string{"Status", status},
			[]string{"Created", shortTime(a.CreatedAt, "-")},
		)...)
	})
}

func closeAccount(cmd *cobra.Command, args []string) error {
	yes, err := cmd.Flags().GetBool("yes")
	if err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		a, err := s.manager.CloseAccount(s.ctx, args[0], yes)
		switch {
		case err != nil:
			return err
		case a.Already:
			return s.say(a, "Account %s is closed already, since %s.", a.ID, shortTime(a.ClosedAt, ""))
		}
		return s.say(a, "Closed account %s, and ended its %s.", a.ID, words.Count(a.ActiveKeys, "active key"))
	})
}
