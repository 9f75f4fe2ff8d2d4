package command

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// keyFilter is what the flags of "key list" say. Fields that are zero select all keys.
type keyFilter struct {
	account  string
	status   string
	issuer   string
	expiring time.Duration // active keys that expire within this time
	unused   time.Duration // active keys that are older and were not used for this time
}

func keyFilterOfFlags(cmd *cobra.Command) (f keyFilter, err error) {
	if f.account, err = accountFlag(cmd); err != nil {
		return f, err
	}
	if f.status, err = choiceFlag(cmd, "status", keyStatuses); err != nil {
		return f, err
	}
	if f.issuer, err = textFlag(cmd, "issued-by"); err != nil {
		return f, err
	}
	if f.issuer != "" {
		if err := checkKeyID(f.issuer); err != nil {
			return f, fmt.Errorf("--issued-by %w", err)
		}
	}
	if f.expiring, err = positiveSpanFlag(cmd, "expiring"); err != nil {
		return f, err
	}
	if f.unused, err = positiveSpanFlag(cmd, "unused"); err != nil {
		return f, err
	}
	if f.status != "" && f.status != keyActive && f.onlyActive() != "" {
		return f, fmt.Errorf("--status %s and --%s: no key is both, since the latter lists active keys", f.status, f.onlyActive())
	}
	return f, nil
}

// onlyActive returns the name of a flag in use that selects active keys only; "" for none.
func (f keyFilter) onlyActive() string {
	switch {
	case f.expiring > 0:
		return "expiring"
	case f.unused > 0:
		return "unused"
	}
	return ""
}

// list returns the list of the keys that the filter selects at now.
func (f keyFilter) list(now policy.Time) keystore.KeyList {
	list := keystore.KeyList{AccountID: f.account, IssuerID: f.issuer, Status: f.status, Now: now}
	if f.expiring > 0 {
		list.ExpiresBy = now.Add(f.expiring)
	}
	if f.unused > 0 {
		list.UnusedSince = now.Add(-f.unused)
	}
	return list
}

func listKeys(cmd *cobra.Command, _ []string) error {
	filter, err := keyFilterOfFlags(cmd)
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		if err := s.checkAccount(filter.account); err != nil {
			return err
		}
		all, err := s.keys(filter)
		if err != nil {
			return err
		}
		none := "There are no keys."
		if filter != (keyFilter{account: filter.account}) {
			none = "There are no such keys."
		}
		return printAll(
			s, all, s.keyAsJSON, none,
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

// keys returns the keys that the filter selects, oldest first.
func (s *session) keys(filter keyFilter) ([]policy.Key, error) {
	list := filter.list(s.now)
	all, err := allPages(func(cursor string) ([]policy.Key, string, error) {
		list.Limit, list.Cursor = listPage, cursor
		return s.store.Keys(s.ctx, list)
	})
	if err != nil || len(all) > 0 || filter.issuer == "" {
		return all, err
	}
	return nil, s.checkIssuer(filter.issuer)
}

// checkIssuer returns an error if there is no such key and no key that it issued: an
// issuer can have been pruned while its keys remain.
func (s *session) checkIssuer(id string) error {
	issued, _, err := s.store.Keys(s.ctx, keystore.KeyList{IssuerID: id, Limit: 1})
	if err != nil || len(issued) > 0 {
		return err
	}
	if _, err := s.store.Key(s.ctx, id); errors.Is(err, keystore.ErrNotFound) {
		return unknown(err, listOfKeys)
	}
	return nil
}

// listPage is how many entries are read from the store at a time. Each page costs the
// store a look at all keys, so small pages would make a long list slow.
const listPage = 100_000

// allPages reads a whole list, page by page.
func allPages[T any](read func(cursor string) (page []T, next string, err error)) (all []T, err error) {
	for cursor := ""; ; {
		page, next, err := read(cursor)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if next == "" {
			return all, nil
		}
		cursor = next
	}
}
