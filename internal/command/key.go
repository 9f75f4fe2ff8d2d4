package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/internal/words"
)

const expiresHelp = `
--expires takes
  90s, 24h, 7d, 1h30m     a duration from now, in ms, s, m, h, d and w
  2099-12-31              a date: the key is good until that day ends, in UTC
  2099-12-31T18:00:00Z    an instant, as RFC 3339 spells it
  never                   the default

--allow takes single addresses (192.0.2.7), CIDR blocks (192.0.2.0/24,
2001:db8::/32) and ranges (192.0.2.10-192.0.2.20), with commas between them.
` + limitHelp + `
  operations=recognize,stream   operations that the key may use; the others are
                          create_job, read_job, delete_job, list_jobs, info, mint
Reading jobs is never limited.`

// limitHelp explains the limits that count something.
const limitHelp = `
--limit takes
  requests=60/m           requests a minute
  concurrent=4            requests at a time, without live streams
  streams=2               live streams at a time
  audio=3600s/d           seconds of audio a day, in UTC
  audio-total=36000s      seconds of audio in all`

func keyCommand() *cobra.Command {
	issue := Leaf("issue --account <account ID> [flags]", "Issues an API key, and shows it, once", NoArgument, issueKey)
	issue.Long = `Issues an API key, and shows it, once.

What --expires, --allow, --limit and --issuable say stays for the key's whole life.
` + expiresHelp
	issue.SuggestFor = []string{"create", "new", "add", "make", "generate"}
	newKeyFlags(issue)
	issue.Flags().Bool("issuable", false, "Let the key issue keys through the issuance API")

	show := Leaf("show <key ID>…|--key-stdin", "Shows a key, but not the secret", keyIDsOrStdin, showKey)
	show.Long = show.Short + "." + keyStdinHelp
	keyStdinFlag(show)

	return group("key", "Issues, imports, lists, shows, renames, rotates, suspends and ends API keys",
		issue, importCommand(), listKeysCommand(), show, renameKeyCommand(), rotateCommand(),
		suspendKeyCommand(), resumeKeyCommand(), deleteCommand(), revokeCommand())
}

// newKeyFlags adds the flags of a command that makes keys: the account, and the rules of
// the keys.
func newKeyFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("account", "", "ID or name of the account that the key is for")
	flags.String("expires", manage.Never, "When the key expires")
	flags.StringArray("allow", nil, "The addresses that the key may be used from; can be repeated (default any)")
	flags.StringArray("limit", nil, "How much the key may be used; can be repeated (default no limits)")
	flags.String("label", "", "What the key is for, for people")
}

// newKeyOfFlags reads the flags of newKeyFlags.
func newKeyOfFlags(cmd *cobra.Command) (n manage.NewKey, err error) {
	if n.AccountID, err = textFlag(cmd, "account"); err != nil {
		return n, err
	}
	if n.Expires, err = cmd.Flags().GetString("expires"); err != nil {
		return n, err
	}
	if n.Allow, err = cmd.Flags().GetStringArray("allow"); err != nil {
		return n, err
	}
	if len(n.Allow) == 0 && cmd.Flags().Changed("allow") {
		n.Allow = []string{""} // for --allow "" pflag returns no element
	}
	if n.Limits, err = limitFlags(cmd); err != nil {
		return n, err
	}
	n.Label, err = cmd.Flags().GetString("label")
	return n, err
}

// limitFlags reads the flag --limit.
func limitFlags(cmd *cobra.Command) ([]string, error) {
	limits, err := cmd.Flags().GetStringArray("limit")
	if len(limits) == 0 && cmd.Flags().Changed("limit") {
		limits = []string{""} // for --limit "" pflag returns no element
	}
	return limits, err
}

func issueKey(cmd *cobra.Command, _ []string) error {
	return changeStore(cmd, func(s *session) error {
		n, err := newKeyOfFlags(cmd)
		if err != nil {
			return err
		}
		if n.Issuable, err = cmd.Flags().GetBool("issuable"); err != nil {
			return err
		}
		k, err := s.manager.IssueKey(s.ctx, n)
		if err != nil {
			return err
		}
		if err := s.print(k, newKeyRows(k)...); err != nil {
			return fmt.Errorf("key %s was issued, but the key itself is lost: %w; delete it and issue another", k.ID, err)
		}
		s.warnOfAllow(k.Warnings)
		s.note("Keep this key: it is not shown again.")
		return nil
	})
}

// newKeyRows returns a new key as rows for people.
func newKeyRows(k manage.Key) [][]string {
	return withLimits(k.Limits, [][]string{
		{"Key", k.Secret.Reveal()},
		{"Key ID", k.ID},
		{"Account ID", k.AccountID},
		{"Label", orDash(k.Label)},
		{"Expires", shortExpiry(k.ExpiresAt)},
		{"Allowed from", allowedFrom(k)},
		{"May issue keys", yesNo(k.Issuable)},
	})
}

func (s *session) warnOfAllow(warnings []string) {
	for _, warning := range warnings {
		s.note("Warning: --allow %s.", warning)
	}
}

func showKey(cmd *cobra.Command, args []string) error {
	return withStore(cmd, func(s *session) error {
		ids, err := s.keyIDsOf(args)
		if err != nil {
			return err
		}
		return s.forEach(ids, func(id string) (result, error) {
			k, err := s.manager.Key(s.ctx, id)
			return result{k, keyRows(k)}, err
		})
	})
}

// keyRows returns a key as rows for people.
func keyRows(k manage.Key) [][]string {
	return withLimits(k.Limits, [][]string{
		{"Key ID", k.ID},
		{"Begins with", orDash(k.Prefix)},
		{"Account ID", k.AccountID},
		{"Origin", k.Origin},
		{"Label", orDash(k.Label)},
		{"Status", longStatus(k)},
		{"Expires", shortExpiry(k.ExpiresAt)},
		{"Allowed from", allowedFrom(k)},
		{"May issue keys", yesNo(k.Issuable)},
		{"Issued by", orDash(string(k.IssuerID))},
		{"Created", shortTime(k.CreatedAt, "-")},
		{"Last used", shortTime(k.LastUsedAt, "never")},
	})
}

// longStatus returns the status of a key for people, with the time and the reason.
func longStatus(k manage.Key) string {
	switch {
	case !k.RevokedAt.IsZero():
		return k.Status + " at " + shortTime(k.EndedAt, "") + because(k.RevokeReason)
	case !k.EndedAt.IsZero():
		return k.Status + " at " + shortTime(k.EndedAt, "")
	case !k.AccountOpen:
		return k.Status + ", because its account is closed"
	}
	status := k.Status
	if status == "suspended" { // an expired key can have a suspension too
		status += suspension(k)
	}
	if !k.RevokeFrom.IsZero() {
		status += ", to be revoked at " + shortTime(k.RevokeFrom, "")
	}
	return status
}

// suspension returns what longStatus adds to the status of a suspended key.
func suspension(k manage.Key) string {
	if k.SuspendedAt.IsZero() {
		return ", because its account is suspended"
	}
	text := " since " + shortTime(k.SuspendedAt, "") + because(k.SuspendReason)
	if k.AccountSuspended {
		text += ", and its account is suspended"
	}
	return text
}

func allowedFrom(k manage.Key) string {
	if len(k.Allow) == 0 {
		return "any address"
	}
	return strings.Join(k.Allow, ", ")
}

// withLimits adds a row with limits, if there are any.
func withLimits(limits []string, rows [][]string) [][]string {
	if len(limits) == 0 {
		return rows
	}
	return append(rows, []string{"Limits", strings.Join(limits, ", ")})
}

func deleteCommand() *cobra.Command {
	del := Leaf("delete <key ID>…", "Deletes a key as its account's holder can; refuses those that came with the account or from the issuance API", someIDs(manage.KindKey), deleteKey)
	del.SuggestFor = []string{"remove", "rm"}
	return del
}

func deleteKey(cmd *cobra.Command, args []string) error {
	return changeRecords(cmd, args, func(s *session, id string) (manage.EndedKey, error) {
		return s.manager.DeleteKey(s.ctx, id)
	}, func(k manage.EndedKey) string {
		return changedOnce(manage.KindKey, k.ID, "deleted", k.At, k.Already)
	})
}

func revokeCommand() *cobra.Command {
	revoke := Leaf("revoke <key ID>…|--key-stdin [flags]", "Revokes a key, whatever its origin", keyIDsOrStdin, revokeKey)
	revoke.Long = revoke.Short + "." + keyStdinHelp
	revoke.Flags().String("reason", "", "Why, for people and the audit trail")
	revoke.Flags().Bool("with-children", false, "Revoke the keys as well that it issued through the issuance API")
	keyStdinFlag(revoke)
	return revoke
}

func revokeKey(cmd *cobra.Command, args []string) error {
	var r manage.Revocation
	var err error
	if r.Reason, err = cmd.Flags().GetString("reason"); err != nil {
		return err
	}
	if r.WithChildren, err = cmd.Flags().GetBool("with-children"); err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		ids, err := s.keyIDsOf(args)
		if err != nil {
			return err
		}
		return changeEach(s, ids, func(id string) (manage.EndedKey, error) {
			return s.manager.RevokeKey(s.ctx, id, r)
		}, revoked)
	})
}

// revoked returns a sentence about a revoked key.
func revoked(k manage.EndedKey) string {
	if k.Children == nil {
		return changedOnce(manage.KindKey, k.ID, "revoked", k.At, k.Already)
	}
	issued := words.Count(*k.Children, "key") + " that it issued"
	if k.Already {
		return fmt.Sprintf("Key %s is revoked already, since %s; revoked %s.", k.ID, shortTime(k.At, ""), issued)
	}
	return fmt.Sprintf("Revoked key %s, and %s.", k.ID, issued)
}
