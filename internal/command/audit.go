package command

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
)

// auditLimit is the default of --limit.
const auditLimit = 100

func auditCommand() *cobra.Command {
	audit := Leaf("audit [flags]", "Shows who did what on what, and when, newest last", noSubcommand, showAudit)
	audit.Long = `Shows the audit trail: who did what on what, and when, newest last.

--since and --until take
  90s, 24h, 7d, 1h30m     a duration before now, in ms, s, m, h, d and w
  2026-11-23              a date, in UTC: --since from its beginning, and --until up
                          to its end
  2026-11-23T18:00:00Z    an instant, as RFC 3339 spells it

Entries are kept for 400 days. "audit verify" finds those that were changed or
removed.`
	audit.Flags().String("since", "", "Show no entries from before")
	audit.Flags().String("until", "", "Show no entries from later")
	audit.Flags().String("actor", "", "Show the entries of this actor only: tanaka, operator, or \"operator tanaka\"")
	audit.Flags().String("action", "", "Show the entries with this action only, such as key_revoke")
	audit.Flags().String("subject", "", "Show the entries about this key, account, stream or operator only")
	audit.Flags().String("account", "", "Show the entries of this account only")
	audit.Flags().Int("limit", auditLimit, "Show so many of the newest entries at most; 0 for all")
	audit.AddCommand(verifyAuditCommand())
	audit.SuggestionsMinimumDistance = 2
	return audit
}

func showAudit(cmd *cobra.Command, _ []string) error {
	var q manage.AuditQuery
	err := textFlags(cmd, flagInto{"account", &q.AccountID}, flagInto{"since", &q.Since}, flagInto{"until", &q.Until},
		flagInto{"actor", &q.Actor}, flagInto{"action", &q.Action}, flagInto{"subject", &q.Subject})
	if err != nil {
		return err
	}
	if q.Limit, err = cmd.Flags().GetInt("limit"); err != nil {
		return err
	}
	if err := q.Validate(); err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		newest, err := s.manager.Audit(s.ctx, q)
		if err != nil {
			return err
		}
		if newest.Next != "" {
			s.note("There are older entries: --limit shows more.")
		}
		slices.Reverse(newest.Items)
		return printAll(
			s, newest.Items, "There are no entries.",
			[]string{"AT", "WHO", "ACTION", "ACCOUNT ID", "SUBJECT", "DETAIL"},
			func(e manage.AuditEntry) []string {
				return []string{
					shortTime(e.At, "-"), who(e), e.Action,
					orDash(string(e.AccountID)), orDash(e.Subject), orDash(e.Detail),
				}
			},
		)
	})
}

// who returns the kind and the ID of an entry's actor, for people.
func who(e manage.AuditEntry) string {
	text := e.ActorKind
	if e.ActorID != "" {
		text += " " + e.ActorID
	}
	if e.ActorIP != "" {
		text += " from " + string(e.ActorIP)
	}
	return text
}
