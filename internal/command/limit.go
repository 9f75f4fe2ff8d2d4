package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
)

func limitAccountCommand() *cobra.Command {
	limit := Leaf("limit <account> --limit <limit>…", "Changes how much all keys of an account together may be used", oneAccount, limitAccount)
	limit.Long = `Changes how much all keys of an account together may be used, from now on.

Each --limit sets one limit, and the other limits stay.
` + limitHelp + `
  operations=recognize    operations that the keys may use
  requests=none           no such limit; likewise for the others
  none                    no limits at all

A key may also have limits of its own, from "key issue". The lower one counts.
Audio counts from the account's creation. Requests and streams that are running go
on, except streams of an account that may not open streams any more, or has used up
its audio: they are cut.`
	limit.SuggestFor = []string{"limits", "quota", "throttle"}
	limit.Flags().StringArray("limit", nil, "A limit to set or to remove; can be repeated")
	return limit
}

func limitAccount(cmd *cobra.Command, args []string) error {
	changes, err := limitFlags(cmd)
	if err != nil {
		return err
	}
	if err := manage.CheckLimitChange(changes); err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		a, err := s.manager.LimitAccount(s.ctx, args[0], changes)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("Account %s has", a.ID)
		if a.Already {
			text = fmt.Sprintf("Nothing changed: account %s has", a.ID)
		}
		if len(a.Limits) == 0 {
			return s.say(a, "%s no limits.", text)
		}
		return s.say(a, "%s the limits %s.", text, strings.Join(a.Limits, ", "))
	})
}
