package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

const expiresHelp = `
--expires takes
  90s, 12h, 30d           a time from now: an integer and ms, s, m, h, d or w
  2099-12-31              a date: the key is good until that day ends, in UTC
  2099-12-31T18:00:00Z    an instant, as RFC 3339 spells it
  never                   the default

--allow takes single addresses (192.0.2.7), CIDR blocks (192.0.2.0/24,
2001:db8::/32) and ranges (192.0.2.10-192.0.2.20), with commas between them.`

func keyCommand() *cobra.Command {
	issue := Leaf("issue --account <account ID> [flags]", "Issues an API key, and shows it, once", NoArgument, issueKey)
	issue.Long = `Issues an API key, and shows it, once.

What --expires, --allow and --issuable say stays for the key's whole life.
` + expiresHelp
	issue.SuggestFor = []string{"create", "new", "add", "make", "generate"}
	ruleFlags(issue)
	issue.Flags().Bool("issuable", false, "Let the key issue keys through the issuance API")

	list := Leaf("list [flags]", "Lists the keys, oldest first", NoArgument, listKeys)
	list.Long = `Lists the keys, oldest first: those that all flags fit.

--expiring and --unused take an integer and ms, s, m, h, d or w, such as 14d.`
	list.Flags().String("account", "", "List the keys of this account only")
	list.Flags().String("status", "", "List the keys of this status only: "+words.Alternatives(keyStatuses))
	list.Flags().String("expiring", "", "List the active keys only that expire within this time")
	list.Flags().String("unused", "", "List the active keys only that were not used for this time, and are older")
	list.Flags().String("issued-by", "", "List the keys only that the key with this ID issued")

	show := Leaf("show <key ID>", "Shows a key, but not the secret", keyID, showKey)

	del := Leaf("delete <key ID>", "Deletes a key as its account's holder can; refuses those that came with the account or from the issuance API", keyID, deleteKey)
	del.SuggestFor = []string{"remove", "rm"}

	revoke := Leaf("revoke <key ID> [flags]", "Revokes a key, whatever its origin", keyID, revokeKey)
	revoke.SuggestFor = []string{"disable", "block"}
	revoke.Flags().String("reason", "", "Why, for the audit trail")
	revoke.Flags().Bool("with-children", false, "Revoke the keys as well that it issued through the issuance API")

	return group("key", "Issues, imports, lists, shows, rotates and ends API keys",
		issue, importCommand(), list, show, rotateCommand(), del, revoke)
}

// ruleFlags adds the flags for the account, and for the rules of its keys.
func ruleFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.String("account", "", "ID of the account that the key is for")
	flags.String("expires", "never", "When the key expires")
	flags.StringArray("allow", nil, "The addresses that the key may be used from; can be repeated (default any)")
	flags.String("label", "", "What the key is for, for people")
}

// keyResult is a key in JSON.
type keyResult struct {
	KeyID      string   `json:"key_id"`
	Key        string   `json:"key,omitempty"` // when it is issued
	AccountID  string   `json:"account_id"`
	Origin     string   `json:"origin"`
	Label      string   `json:"label"`
	ExpiresAt  *string  `json:"expires_at"`
	Allow      []string `json:"allow"`
	Issuable   bool     `json:"issuable"`
	Status     string   `json:"status"`
	CreatedAt  *string  `json:"created_at"`
	LastUsedAt *string  `json:"last_used_at"`
	RevokeFrom *string  `json:"revoke_from"`
	IssuerID   *string  `json:"issuer_id"`
}

// keyActive is the status of a key that can be used.
const keyActive = "active"

var keyStatuses = []string{keyActive, "expired", "deleted", "revoked"}

func (s *session) keyAsJSON(k policy.Key) keyResult {
	result := keyResult{
		KeyID:      k.ID,
		AccountID:  k.AccountID,
		Origin:     k.Origin.String(),
		Label:      k.Label,
		ExpiresAt:  expiryText(k.Expires),
		Allow:      k.Allow.Entries(),
		Issuable:   k.Issuable,
		Status:     k.Status(s.now),
		CreatedAt:  words.TimeText(k.CreatedAt),
		LastUsedAt: words.TimeText(k.LastUsedAt),
		RevokeFrom: words.TimeText(k.RevokeFrom),
	}
	if k.IssuerID != "" {
		result.IssuerID = &k.IssuerID
	}
	return result
}

func issueKey(cmd *cobra.Command, _ []string) error {
	return withStore(cmd, func(s *session) error {
		k, err := newKeyOfFlags(cmd, s.now)
		if err != nil {
			return err
		}
		if k.Issuable, err = cmd.Flags().GetBool("issuable"); err != nil {
			return err
		}
		key, secret, err := s.store.IssueKey(s.ctx, s.now, s.by, k)
		if err != nil {
			return unknown(err, listOfAccounts)
		}
		result := s.keyAsJSON(key)
		result.Key = secret.Reveal()
		if err := s.print(result, newKeyRows(key, secret)...); err != nil {
			return fmt.Errorf("key %s was issued, but the key itself is lost: %w; delete it and issue another", key.ID, err)
		}
		s.warnOfAllow(key.Allow)
		s.note("Keep this key: it is not shown again.")
		return nil
	})
}

// newKeyRows show a key that was issued just now, to people.
func newKeyRows(key policy.Key, secret policy.Secret) [][]string {
	return [][]string{
		{"Key", secret.Reveal()},
		{"Key ID", key.ID},
		{"Account ID", key.AccountID},
		{"Label", orDash(key.Label)},
		{"Expires", shortExpiry(key.Expires)},
		{"Allowed from", allowedFrom(key)},
		{"May issue keys", yesNo(key.Issuable)},
	}
}

func (s *session) warnOfAllow(allow policy.AddrSet) {
	for _, warning := range allow.Warnings() {
		s.note("Warning: --allow %s.", warning)
	}
}

// newKeyOfFlags reads which account's keys are to be made at now, and what they
// can do.
func newKeyOfFlags(cmd *cobra.Command, now policy.Time) (k keystore.NewKey, err error) {
	k.Origin = policy.OriginConsole // the operator's
	if k.AccountID, err = accountFlag(cmd); err != nil {
		return k, err
	}
	if k.AccountID == "" {
		return k, fmt.Errorf("--account is missing: want the account's ID, as %q shows it", app.Program+" "+listOfAccounts)
	}
	expires, err := cmd.Flags().GetString("expires")
	if err != nil {
		return k, err
	}
	if k.Expires, err = parseExpiry(expires, now); err != nil {
		return k, err
	}
	allow, err := cmd.Flags().GetStringArray("allow")
	if err != nil {
		return k, err
	}
	if k.Allow, err = policy.ParseAddrSet(strings.Join(allow, ",")); err != nil {
		return k, fmt.Errorf("--allow: %w", err)
	}
	if k.Allow.Any() && cmd.Flags().Changed("allow") {
		return k, errors.New("--allow is empty: leave it out to allow any address")
	}
	k.Label, err = cmd.Flags().GetString("label")
	return k, err
}

// accountFlag returns the account that --account names; empty if it is left
// out.
func accountFlag(cmd *cobra.Command) (string, error) {
	id, err := textFlag(cmd, "account")
	if err != nil || id == "" {
		return "", err
	}
	if err := checkAccountID(id); err != nil {
		return "", fmt.Errorf("--account %w", err)
	}
	return id, nil
}

// checkAccount says whether the account exists that a list is of, if of one.
func (s *session) checkAccount(id string) error {
	if id == "" {
		return nil
	}
	_, err := s.store.Account(s.ctx, id)
	return unknown(err, listOfAccounts)
}

func showKey(cmd *cobra.Command, args []string) error {
	return withStore(cmd, func(s *session) error {
		k, err := s.store.Key(s.ctx, args[0])
		if err != nil {
			return unknown(err, listOfKeys)
		}
		return s.print(
			s.keyAsJSON(k),
			[]string{"Key ID", k.ID},
			[]string{"Begins with", k.Prefix},
			[]string{"Account ID", k.AccountID},
			[]string{"Origin", k.Origin.String()},
			[]string{"Label", orDash(k.Label)},
			[]string{"Status", longStatus(k, s.now)},
			[]string{"Expires", shortExpiry(k.Expires)},
			[]string{"Allowed from", allowedFrom(k)},
			[]string{"May issue keys", yesNo(k.Issuable)},
			[]string{"Issued by", orDash(k.IssuerID)},
			[]string{"Created", shortTime(k.CreatedAt, "-")},
			[]string{"Last used", shortTime(k.LastUsedAt, "never")},
		)
	})
}

// longStatus is the status with what made it so.
func longStatus(k policy.Key, now policy.Time) string {
	status := k.Status(now)
	switch since := k.RevokedSince(now); {
	case !since.IsZero():
		return status + " at " + shortTime(since, "")
	case !k.AccountOpen:
		return status + ", because its account is closed"
	case !k.DeletedAt.IsZero():
		return status + " at " + shortTime(k.DeletedAt, "")
	case !k.RevokeFrom.IsZero():
		return status + ", to be revoked at " + shortTime(k.RevokeFrom, "")
	}
	return status
}

func allowedFrom(k policy.Key) string {
	if k.Allow.Any() {
		return "any address"
	}
	return strings.Join(k.Allow.Entries(), ", ")
}

func deleteKey(cmd *cobra.Command, args []string) error {
	return withStore(cmd, func(s *session) error {
		k, err := s.store.DeleteKey(s.ctx, s.now, s.by, args[0])
		if err != nil {
			return unknown(err, listOfKeys)
		}
		if k.DeletedAt != s.now {
			return s.say(s.keyAsJSON(k), "Key %s is deleted already, since %s.", k.ID, shortTime(k.DeletedAt, ""))
		}
		return s.say(s.keyAsJSON(k), "Deleted key %s.", k.ID)
	})
}
