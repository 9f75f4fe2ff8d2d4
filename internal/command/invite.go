package command

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
)

const flagURL = "url"

const inviteHelp = `
The link works once, for 24 hours, and is a secret: who has it sets the password.
An earlier link for the same user no longer works. Using the link ends the user's
sessions, and removes the user's second factor and passkeys.

The link begins with --url; without it, with the address of the console in the
configuration. Without both it is only a path, for behind the host's name.`

func inviteAccountCommand() *cobra.Command {
	invite := Leaf("invite <account> [--url <URL>]", "Makes a link at which the account's holder sets a console password", oneAccount, inviteAccount)
	invite.Long = "Makes a link at which the holder of an account sets a password for the console.\n" + inviteHelp
	consoleURLFlag(invite)
	return invite
}

func consoleURLFlag(cmd *cobra.Command) {
	cmd.Flags().String(flagURL, "", "The URL of the console's start page, such as https://speech.example.com/console/")
}

func inviteAccount(cmd *cobra.Command, args []string) error {
	return invite(cmd, func(s *session, consoleURL string) error {
		i, err := s.manager.InviteAccount(s.ctx, args[0], consoleURL)
		if err != nil {
			return err
		}
		return s.printInvitation(i, []string{"Account ID", i.AccountID}, i.Invitation)
	})
}

// invite runs a command that makes a set-up link.
func invite(cmd *cobra.Command, run func(s *session, consoleURL string) error) error {
	consoleURL, err := consoleURLOf(cmd)
	if err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		if err := run(s, consoleURL); err != nil {
			return err
		}
		if consoleURL[0] == '/' {
			s.note("The link is only a path: put the address of the console in front of it, or name it with --%s.", flagURL)
		}
		return nil
	})
}

func (s *session) printInvitation(value any, who []string, i manage.Invitation) error {
	err := s.print(value, who, []string{"Set-up link", i.SetupURL.Reveal()}, []string{"Works until", shortTime(i.ExpiresAt, "")})
	if err != nil {
		return fmt.Errorf("%w; invite again", err)
	}
	s.note("The link is a secret, and works once: give it to this user only.")
	return nil
}

func operatorCommand() *cobra.Command {
	invite := Leaf("invite <name> [--url <URL>]", "Makes a link at which an operator sets a console password", oneName, inviteOperator)
	invite.Long = "Makes a link at which an operator sets a password for the console.\n\nThe name is up to 64 letters, digits, and . _ - @ +. The audit trail has it for\neverything that the operator does in the console.\n" + inviteHelp + `

If the console has an OpenID Connect provider, an operator with the name that the
provider knows can sign in there while the link works, in place of using the link.`
	consoleURLFlag(invite)
	list := Leaf("list", "Lists the operators that were invited, by name", NoArgument, listOperators)
	remove := Leaf("remove <name>…", "Keeps operators from signing in, and ends their sessions", someNames, removeOperators)
	remove.SuggestFor = []string{"delete", "close"}
	return group("operator", "Invites, lists and removes operators of the console", invite, list, remove)
}

// oneName is a check for a command that takes one argument, an operator's name.
func oneName(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one name, as in %q", cmd.UseLine())
	}
	return nil
}

func someNames(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return oneName(cmd, args)
	}
	return nil
}

func inviteOperator(cmd *cobra.Command, args []string) error {
	return invite(cmd, func(s *session, consoleURL string) error {
		i, err := s.manager.InviteOperator(s.ctx, args[0], consoleURL)
		if err != nil {
			return err
		}
		return s.printInvitation(i, []string{"Operator", i.Operator}, i.Invitation)
	})
}

func listOperators(cmd *cobra.Command, _ []string) error {
	return withStore(cmd, func(s *session) error {
		all, err := s.manager.Operators(s.ctx)
		if err != nil {
			return err
		}
		return printAll(
			s, all, "No operator was invited.",
			[]string{"NAME", "STATUS", "SECOND FACTOR", "PASSKEYS", "LAST SIGN-IN", "CREATED", "INVITED UNTIL"},
			func(o manage.Operator) []string {
				second := "no"
				switch {
				case o.SecondFactor:
					second = "yes"
				case o.Provider != nil:
					second = "at " + *o.Provider
				}
				return []string{o.Name, o.Status, second, strconv.Itoa(o.Passkeys), shortTime(o.SignedInAt, "never"), shortTime(o.CreatedAt, "-"), shortTime(o.InvitedUntil, "-")}
			},
		)
	})
}

func removeOperators(cmd *cobra.Command, args []string) error {
	return changeRecords(cmd, args, func(s *session, name string) (manage.Operator, error) {
		o, err := s.manager.RemoveOperator(s.ctx, name, true)
		if o.Last {
			s.note("No operator can sign in at the console now: \"caddy speechgate operator invite\" lets one in.")
		}
		return o, err
	}, func(o manage.Operator) string {
		return changedOnce("operator", o.Name, "removed", o.RemovedAt, o.Already)
	})
}
