package caddymodule

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// keyFilter says which keys to list; what is zero does not matter.
type keyFilter struct {
	account  string
	status   string
	issuer   string
	expiring time.Duration // active, and expire within it
	unused   time.Duration // active, older, and not used within it
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

// onlyActive is the flag by which only active keys are meant, if one is.
func (f keyFilter) onlyActive() string {
	switch {
	case f.expiring > 0:
		return "expiring"
	case f.unused > 0:
		return "unused"
	}
	return ""
}

// fits reports whether the key is one of those at now.
func (f keyFilter) fits(k policy.Key, now policy.Time) bool {
	status := k.Status(now)
	switch {
	case f.account != "" && k.AccountID != f.account,
		f.status != "" && status != f.status,
		f.onlyActive() != "" && status != keyActive,
		f.expiring > 0 && !k.Expires.Passed(now.Add(f.expiring)),
		f.unused > 0 && max(k.CreatedAt, k.LastUsedAt) > now.Add(-f.unused):
		return false
	}
	return true
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

// keys returns the keys that the filter fits, oldest first.
func (s *session) keys(filter keyFilter) ([]policy.Key, error) {
	all, err := s.candidates(filter)
	if err != nil {
		return nil, err
	}
	var fitting []policy.Key
	for _, k := range all {
		if filter.fits(k, s.now) {
			fitting = append(fitting, k)
		}
	}
	return fitting, nil
}

func (s *session) candidates(filter keyFilter) ([]policy.Key, error) {
	if filter.issuer == "" {
		return s.store.Keys(s.ctx, filter.account)
	}
	all, err := s.store.KeysIssuedBy(s.ctx, filter.issuer)
	if err != nil || len(all) > 0 {
		return all, err
	}
	// An issuer can have been pruned, and its keys remain.
	if _, err := s.store.Key(s.ctx, filter.issuer); errors.Is(err, keystore.ErrNotFound) {
		return nil, unknown(err, listOfKeys)
	}
	return nil, err
}
