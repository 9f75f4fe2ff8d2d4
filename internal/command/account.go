package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
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

	show := Leaf("show <account ID>", "Shows an account", accountID, showAccount)

	end := Leaf("close <account ID> --yes", "Closes an account for good, and ends all its keys", accountID, closeAccount)
	end.Flags().Bool("yes", false, "Close it, without asking back")

	end.SuggestFor = []string{"delete", "remove"}

	rotate := Leaf("rotate <account ID>", "Gives an account a new service ID and password, shown once; the old ones end at once", accountID, rotateAccount)

	return group("account", "Creates, lists, shows, rotates and closes accounts", create, list, show, rotate, end)
}

// accountResult is an account in JSON.
type accountResult struct {
	AccountID       string  `json:"account_id"`
	Name            string  `json:"name"`
	ServiceID       string  `json:"service_id"`
	ServicePassword string  `json:"service_password,omitempty"` // when it is made
	Status          string  `json:"status"`
	CreatedAt       *string `json:"created_at"`
}

func accountAsJSON(a policy.Account) accountResult {
	return accountResult{
		AccountID: a.ID,
		Name:      a.Name,
		ServiceID: a.ServiceID,
		Status:    accountStatus(a),
		CreatedAt: words.TimeText(a.CreatedAt),
	}
}

func accountStatus(a policy.Account) string {
	if a.Open() {
		return "open"
	}
	return "closed"
}

func createAccount(cmd *cobra.Command, _ []string) error {
	name, err := textFlag(cmd, "name")
	if err != nil {
		return err
	}
	if name == "" {
		return errors.New(`--name is missing: want the customer's name, such as --name "Example Corp."`)
	}
	serviceID, err := textFlag(cmd, "service-id")
	if err != nil {
		return err
	}
	if serviceID != "" {
		return takeOverAccount(cmd, name, serviceID)
	}
	return openStore(cmd, true, func(s *session) error {
		a, password, err := s.store.CreateAccount(s.ctx, s.now, s.by, name)
		if err != nil {
			return err
		}
		if err := s.printPassword(a, password); err != nil {
			return fmt.Errorf("account %s was created, but its service password is lost: %w; get another with %q", a.ID, err, app.Program+" account rotate "+a.ID)
		}
		return nil
	})
}

func rotateAccount(cmd *cobra.Command, args []string) error {
	return withStore(cmd, func(s *session) error {
		a, password, err := s.store.RotateAccount(s.ctx, s.now, s.by, args[0])
		if err != nil {
			return unknown(err, listOfAccounts)
		}
		if err := s.printPassword(a, password); err != nil {
			return fmt.Errorf("account %s was rotated, but its service password is lost: %w; rotate it again", a.ID, err)
		}
		return nil
	})
}

// printPassword shows an account with its service password, once.
func (s *session) printPassword(a policy.Account, password policy.Secret) error {
	result := accountAsJSON(a)
	result.ServicePassword = password.Reveal()
	err := s.print(
		result,
		[]string{"Account ID", a.ID},
		[]string{"Name", a.Name},
		[]string{"Service ID", a.ServiceID},
		[]string{"Service password", password.Reveal()},
	)
	if err == nil {
		s.note("Keep the service password: it is not shown again.")
	}
	return err
}

func listAccounts(cmd *cobra.Command, _ []string) error {
	return withStore(cmd, func(s *session) error {
		all, err := allPages(func(cursor string) ([]policy.Account, string, error) {
			return s.store.Accounts(s.ctx, keystore.AccountList{Limit: listPage, Cursor: cursor})
		})
		if err != nil {
			return err
		}
		return printAll(
			s, all, accountAsJSON, "There are no accounts.",
			[]string{"ACCOUNT ID", "SERVICE ID", "STATUS", "CREATED", "NAME"},
			func(a policy.Account) []string {
				return []string{a.ID, a.ServiceID, accountStatus(a), shortTime(a.CreatedAt, "-"), a.Name}
			},
		)
	})
}

func showAccount(cmd *cobra.Command, args []string) error {
	return withStore(cmd, func(s *session) error {
		a, err := s.store.Account(s.ctx, args[0])
		if err != nil {
			return unknown(err, listOfAccounts)
		}
		status := accountStatus(a)
		if !a.Open() {
			status += " at " + shortTime(a.ClosedAt, "")
		}
		return s.print(
			accountAsJSON(a),
			[]string{"Account ID", a.ID},
			[]string{"Name", a.Name},
			[]string{"Service ID", a.ServiceID},
			[]string{"Status", status},
			[]string{"Created", shortTime(a.CreatedAt, "-")},
		)
	})
}

func closeAccount(cmd *cobra.Command, args []string) error {
	yes, err := cmd.Flags().GetBool("yes")
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		a, err := s.store.Account(s.ctx, args[0])
		if err != nil {
			return unknown(err, listOfAccounts)
		}
		if !a.Open() {
			return s.say(accountAsJSON(a), "Account %s is closed already, since %s.", a.ID, shortTime(a.ClosedAt, ""))
		}
		active, err := s.activeKeys(a.ID)
		if err != nil {
			return err
		}
		if !yes {
			return fmt.Errorf("account %s (%q) is not closed yet: that would end its %s at once and for good, with their streams and grace windows; add --yes to do it",
				a.ID, a.Name, words.Count(active, "active key"))
		}
		if a, err = s.store.CloseAccount(s.ctx, s.now, s.by, a.ID); err != nil {
			return err
		}
		return s.say(accountAsJSON(a), "Closed account %s, and ended its %s.", a.ID, words.Count(active, "active key"))
	})
}

// activeKeys counts an account's active keys.
func (s *session) activeKeys(accountID string) (int, error) {
	active, err := s.keys(keyFilter{account: accountID, status: keyActive})
	return len(active), err
}
