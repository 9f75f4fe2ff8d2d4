package command

import (
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

func listKeysCommand() *cobra.Command {
	list := Leaf("list [flags]", "Lists the keys, oldest first", NoArgument, listKeys)
	list.Long = `Lists the keys, oldest first: those that all flags fit.

--expiring and --unused take a duration, such as 24h, 7d or 2w.`
	list.Flags().String("account", "", "List the keys of this account only")
	list.Flags().String("status", "", "List the keys of this status only: "+words.Alternatives(manage.KeyStatuses()))
	list.Flags().String("origin", "", "List the keys of this origin only: "+words.Alternatives(manage.KeyOrigins()))
	list.Flags().String("label", "", "List only the keys whose label contains this text, in upper or lower case")
	list.Flags().String("expiring", "", "List only the active keys that expire within this time")
	list.Flags().String("unused", "", "List only the active keys that are older than this time, and were not used for so long")
	list.Flags().String("search", "", "List only the keys whose label contains this text; labels that begin with it come first. A text key_… finds the IDs that begin with it")
	list.Flags().String("sort", "", "The order: "+words.Alternatives(manage.KeySorts())+" (default issued)")
	list.Flags().Bool("reverse", false, "Turn the order around")
	list.Flags().String("issued-by", "", "List only the keys that the key with this ID issued")
	limitFlag(list, "keys")
	return list
}

func listKeys(cmd *cobra.Command, _ []string) error {
	var q manage.KeyQuery
	err := textFlags(cmd, flagInto{"account", &q.AccountID}, flagInto{"status", &q.Status},
		flagInto{"origin", &q.Origin}, flagInto{"label", &q.Label},
		flagInto{"search", &q.Search}, flagInto{"sort", &q.Sort}, flagInto{"issued-by", &q.IssuedBy}, flagInto{"expiring", &q.Expiring}, flagInto{"unused", &q.Unused})
	if err != nil {
		return err
	}
	reverse, err := cmd.Flags().GetBool("reverse")
	if err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	none := "There are no keys."
	if q != (manage.KeyQuery{AccountID: q.AccountID}) {
		none = "There are no such keys."
	}
	return withStore(cmd, func(s *session) error {
		read := func(page manage.Page, newestFirst bool) (manage.List[manage.Key], error) {
			q.Page, q.NewestFirst = page, newestFirst
			return s.manager.Keys(s.ctx, q)
		}
		list := limitedList[manage.Key]
		if q.Search != "" || q.Sort != "" || reverse {
			list = firstOf[manage.Key]
			inOrder := read
			read = func(page manage.Page, _ bool) (manage.List[manage.Key], error) { return inOrder(page, reverse) }
		}
		all, err := list(cmd, s, read)
		if err != nil {
			return err
		}
		return printAll(
			s, all, none,
			[]string{"KEY ID", "ACCOUNT ID", "ORIGIN", "STATUS", "EXPIRES", "LAST USED", "LABEL"},
			func(k manage.Key) []string {
				return []string{
					k.ID, k.AccountID, k.Origin, k.Status,
					shortExpiry(k.ExpiresAt), shortTime(k.LastUsedAt, "never"), orDash(k.Label),
				}
			},
		)
	})
}
