package command

import (
	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/words"
)

// revokeResult is a key in JSON with how many it took along.
type revokeResult struct {
	keyResult

	Children int `json:"children_revoked"`
}

func revokeKey(cmd *cobra.Command, args []string) error {
	reason, err := cmd.Flags().GetString("reason")
	if err != nil {
		return err
	}
	children, err := cmd.Flags().GetBool("with-children")
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		if children {
			return s.revokeTree(args[0], reason)
		}
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

func (s *session) revokeTree(id, reason string) error {
	k, children, err := s.store.RevokeTree(s.ctx, s.now, s.by, id, reason)
	if err != nil {
		return unknown(err, listOfKeys)
	}
	result := revokeResult{s.keyAsJSON(k), children}
	issued := words.Count(children, "key") + " that it issued"
	if k.RevokedAt != s.now {
		return s.say(result, "Key %s is revoked already, since %s; revoked %s.", k.ID, shortTime(k.RevokedAt, ""), issued)
	}
	return s.say(result, "Revoked key %s, and %s.", k.ID, issued)
}
