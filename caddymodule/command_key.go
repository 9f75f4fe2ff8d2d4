package caddymodule

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func keyCommand() *cobra.Command {
	issue := leaf("issue --account <account ID> [flags]", "Issues an API key, and shows it, once", noArgument, issueKey)
	issue.Long = `Issues an API key, and shows it, once.

What --expires, --allow and --issuable say stays for the key's whole life.

--expires takes
  90s, 12h, 30d           a time from now: an integer and ms, s, m, h, d or w
  2099-12-31              a date: the key is good until that day ends, in UTC
  2099-12-31T18:00:00Z    an instant, as RFC 3339 spells it
  never                   the default

--allow takes single addresses (192.0.2.7), CIDR blocks (192.0.2.0/24,
2001:db8::/32) and ranges (192.0.2.10-192.0.2.20), with commas between them.`
	flags := issue.Flags()
	flags.String("account", "", "ID of the account that the key is for")
	flags.String("expires", "never", "When the key expires")
	flags.StringArray("allow", nil, "The addresses that the key may be used from; can be repeated (default any)")
	flags.Bool("issuable", false, "Let the key issue keys through the issuance API")
	flags.String("label", "", "What the key is for, for people")

	list := leaf("list [--account <account ID>]", "Lists the keys, oldest first", noArgument, listKeys)
	list.Flags().String("account", "", "List the keys of this account only")

	show := leaf("show <key ID>", "Shows a key, but not the secret", keyID, showKey)

	del := leaf("delete <key ID>", "Deletes a key as its account's holder can; refuses those that came with the account or from the issuance API", keyID, deleteKey)

	revoke := leaf("revoke <key ID> [--reason <text>]", "Revokes a key, whatever its origin", keyID, revokeKey)
	revoke.Flags().String("reason", "", "Why, for the audit trail")

	return group("key", "Issues, lists, shows and ends API keys", issue, list, show, del, revoke)
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
}

// keyActive is the status of a key that can be used.
const keyActive = "active"

func (s *session) keyAsJSON(k policy.Key) keyResult {
	return keyResult{
		KeyID:      k.ID,
		AccountID:  k.AccountID,
		Origin:     k.Origin.String(),
		Label:      k.Label,
		ExpiresAt:  expiryText(k.Expires),
		Allow:      k.Allow.Entries(),
		Issuable:   k.Issuable,
		Status:     k.Status(s.now),
		CreatedAt:  timeText(k.CreatedAt),
		LastUsedAt: timeText(k.LastUsedAt),
	}
}

func issueKey(cmd *cobra.Command, _ []string) error {
	return withStore(cmd, func(s *session) error {
		k, err := newKeyOfFlags(cmd, s.now)
		if err != nil {
			return err
		}
		key, secret, err := s.store.IssueKey(s.ctx, s.now, s.by, k)
		if err != nil {
			return unknown(err, listOfAccounts)
		}
		result := s.keyAsJSON(key)
		result.Key = secret.Reveal()
		rows := [][]string{
			{"Key", secret.Reveal()},
			{"Key ID", key.ID},
			{"Account ID", key.AccountID},
			{"Label", orDash(key.Label)},
			{"Expires", shortExpiry(key.Expires)},
			{"Allowed from", allowedFrom(key)},
			{"May issue keys", yesNo(key.Issuable)},
		}
		if err := s.print(result, rows...); err != nil {
			return fmt.Errorf("key %s was issued, but the key itself is lost: %w; delete it and issue another", key.ID, err)
		}
		for _, warning := range key.Allow.Warnings() {
			s.note("Warning: --allow %s.", warning)
		}
		s.note("Keep this key: it is not shown again.")
		return nil
	})
}

// newKeyOfFlags reads what key to issue at now.
func newKeyOfFlags(cmd *cobra.Command, now policy.Time) (k keystore.NewKey, err error) {
	k.Origin = policy.OriginConsole // the operator's
	if k.AccountID, err = accountFlag(cmd); err != nil {
		return k, err
	}
	if k.AccountID == "" {
		return k, fmt.Errorf("--account is missing: want the account's ID, as %q shows it", program+" "+listOfAccounts)
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
	if k.Label, err = cmd.Flags().GetString("label"); err != nil {
		return k, err
	}
	k.Issuable, err = cmd.Flags().GetBool("issuable")
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

func listKeys(cmd *cobra.Command, _ []string) error {
	account, err := accountFlag(cmd)
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		if err := s.checkAccount(account); err != nil {
			return err
		}
		all, err := s.store.Keys(s.ctx, account)
		if err != nil {
			return err
		}
		return printAll(
			s, all, s.keyAsJSON, "There are no keys.",
			[]string{"KEY ID", "ACCOUNT ID", "ORIGIN", "STATUS", "EXPIRES", "LAST USED", "LABEL"},
			func(k policy.Key) []string {
				return []string{
					k.ID, k.AccountID, k.Origin.String(), k.Status(s.now),
					shortExpiry(k.Expires), shortTime(k.LastUsedAt, "never"), orDash(k.Label),
				}
			},
		)
	})
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
			[]string{"Created", shortTime(k.CreatedAt, "-")},
			[]string{"Last used", shortTime(k.LastUsedAt, "never")},
		)
	})
}

// longStatus is the status with what made it so.
func longStatus(k policy.Key, now policy.Time) string {
	status := k.Status(now)
	switch {
	case !k.RevokedAt.IsZero():
		return status + " at " + shortTime(k.RevokedAt, "")
	case !k.AccountOpen:
		return status + ", because its account is closed"
	case !k.DeletedAt.IsZero():
		return status + " at " + shortTime(k.DeletedAt, "")
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

func revokeKey(cmd *cobra.Command, args []string) error {
	reason, err := cmd.Flags().GetString("reason")
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		k, err := s.store.RevokeKey(s.ctx, s.now, s.by, args[0], reason)
		if err != nil {
			return unknown(err, listOfKeys)
		}
		if k.RevokedAt != s.now {
			return s.say(s.keyAsJSON(k), "Key %s is revoked already, since %s.", k.ID, shortTime(k.RevokedAt, ""))
		}
		return s.say(s.keyAsJSON(k), "Revoked key %s.", k.ID)
	})
}

var (
	relativeExpiry = regexp.MustCompile(`^(-?)([0-9]+)(ms|s|m|h|d|w)$`)
	dateExpiry     = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	clockExpiry    = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}`)
	// RFC 3339, of which time.Parse takes more than there is.
	instantExpiry = regexp.MustCompile(`^[0-9-]{10}T[0-9:]{8}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)
)

// expiryUnits are in milliseconds.
var expiryUnits = map[string]policy.Time{
	"ms": 1,
	"s":  1000,
	"m":  60 * 1000,
	"h":  60 * 60 * 1000,
	"d":  24 * 60 * 60 * 1000,
	"w":  7 * 24 * 60 * 60 * 1000,
}

// lastExpiry is the end of the years that RFC 3339 can spell.
var lastExpiry = policy.At(time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC))

// parseExpiry reads --expires: a time from now, a date, which lasts to its end
// in UTC, an instant or never.
func parseExpiry(text string, now policy.Time) (policy.Expiry, error) {
	if text == "never" {
		return policy.Never(), nil
	}
	at, err := parseExpiryTime(text, now)
	switch {
	case err != nil:
	case at <= now:
		err = fmt.Errorf("that is %s, which is past", at)
	case at > lastExpiry:
		err = errExpiryFar
	default:
		return policy.ExpiresAt(at), nil
	}
	soon := now.Add(30 * 24 * time.Hour).Std()
	return policy.Expiry{}, fmt.Errorf("--expires %s: %w: want a time from now such as 30d (ms, s, m, h, d or w), a date such as %s, an instant such as %s, or never",
		shown(text), err, soon.Format(time.DateOnly), soon.Format("2006-01-02T15:00:00Z"))
}

var errExpiryFar = errors.New("that is beyond the year 9999")

func parseExpiryTime(text string, now policy.Time) (policy.Time, error) {
	if m := relativeExpiry.FindStringSubmatch(text); m != nil {
		return parseExpiryIn(m[1] == "-", m[2], expiryUnits[m[3]], now)
	}
	if dateExpiry.MatchString(text) {
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return 0, errors.New("there is no such day")
		}
		return policy.At(day.AddDate(0, 0, 1)), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil && instantExpiry.MatchString(text) {
		return policy.At(t), nil
	}
	if clockExpiry.MatchString(text) {
		return 0, errors.New("there is no such instant, or it is not spelled as in RFC 3339, with its time zone")
	}
	return 0, errors.New("that is no time")
}

func parseExpiryIn(negative bool, digits string, unit, now policy.Time) (policy.Time, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	switch {
	case negative:
		return 0, errors.New("that is negative")
	case err != nil || policy.Time(n) > (lastExpiry-now)/unit:
		return 0, errExpiryFar
	case n == 0:
		return 0, errors.New("the key would expire as it is issued")
	}
	return now + policy.Time(n)*unit, nil
}
