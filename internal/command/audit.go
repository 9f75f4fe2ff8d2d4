package command

import (
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
)

// auditLimit is how many entries are shown where nothing is said.
const auditLimit = 100

func auditCommand() *cobra.Command {
	audit := Leaf("audit [flags]", "Shows who did what on what, and when, newest last", noSubcommand, showAudit)
	audit.Long = `Shows the audit trail: who did what on what, and when, newest last.

--since takes
  36h, 7d                 a time ago: an integer and ms, s, m, h, d or w
  2026-11-23              a date: from its beginning, in UTC
  2026-11-23T18:00:00Z    an instant, as RFC 3339 spells it

Entries are kept for 400 days. "audit verify" finds those that were changed or
removed.`
	audit.Flags().String("since", "", "Show no entries from before")
	audit.Flags().String("account", "", "Show the entries of this account only")
	audit.Flags().Int("limit", auditLimit, "Show so many of the newest entries at most; 0 for all")
	audit.AddCommand(verifyAuditCommand())
	audit.SuggestionsMinimumDistance = 2
	return audit
}

// noSubcommand is noArgument for a command that has subcommands too.
func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
}

// auditResult is an entry of the audit trail in JSON.
type auditResult struct {
	Seq       int64   `json:"seq"`
	At        *string `json:"at"`
	ActorKind string  `json:"actor_kind"`
	ActorID   string  `json:"actor_id"`
	ActorIP   *string `json:"actor_ip"`
	Action    string  `json:"action"`
	AccountID *string `json:"account_id"`
	Subject   string  `json:"subject"`
	Detail    string  `json:"detail"`
}

func auditAsJSON(e keystore.AuditEntry) auditResult {
	result := auditResult{
		Seq: e.Seq, At: words.TimeText(e.At), ActorKind: e.Actor.Kind, ActorID: e.Actor.ID,
		Action: e.Action, Subject: e.Subject, Detail: e.Detail,
	}
	if e.Actor.From.IsValid() {
		text := e.Actor.From.String()
		result.ActorIP = &text
	}
	if e.AccountID != "" {
		result.AccountID = &e.AccountID
	}
	return result
}

func showAudit(cmd *cobra.Command, _ []string) error {
	account, err := accountFlag(cmd)
	if err != nil {
		return err
	}
	since, err := textFlag(cmd, "since")
	if err != nil {
		return err
	}
	limit, err := cmd.Flags().GetInt("limit")
	switch {
	case err != nil:
		return err
	case limit < 0 || limit == math.MaxInt:
		return fmt.Errorf("--limit %d: want the number of entries, or 0 for all", limit)
	}
	return withStore(cmd, func(s *session) error {
		if err := s.checkAccount(account); err != nil {
			return err
		}
		list := keystore.AuditList{AccountID: account, Limit: limit}
		if since != "" {
			if list.Since, err = parseSince(since, s.now); err != nil {
				return err
			}
		}
		all, next, err := s.store.Audit(s.ctx, list)
		if err != nil {
			return err
		}
		if next != "" {
			s.note("There are older entries: --limit shows more.")
		}
		slices.Reverse(all)
		return printAll(
			s, all, auditAsJSON, "There are no entries.",
			[]string{"AT", "WHO", "ACTION", "ACCOUNT ID", "SUBJECT", "DETAIL"},
			func(e keystore.AuditEntry) []string {
				return []string{
					shortTime(e.At, "-"), who(e.Actor), e.Action,
					orDash(e.AccountID), orDash(e.Subject), orDash(e.Detail),
				}
			},
		)
	})
}

// who names an actor.
func who(a keystore.Actor) string {
	text := a.Kind
	if a.ID != "" {
		text += " " + a.ID
	}
	if a.From.IsValid() {
		text += " from " + a.From.String()
	}
	return text
}
