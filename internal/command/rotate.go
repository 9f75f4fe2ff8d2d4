package command

import (
	"fmt"

	"github.com/spf13/cobra"
)

func rotateCommand() *cobra.Command {
	rotate := Leaf("rotate <key ID> [--overlap <time>]", "Issues a key in place of another, which goes on for a while", keyID, rotateKey)
	rotate.Long = `Issues a key in place of another, and shows it, once.

The new key has the old one's rules: account, expiry, addresses, issuance right
and label. The old key is revoked when the overlap is over, or expires before; it
has no grace then. So are the keys that it issued, unless children free let them
outlive it.

--overlap takes an integer and ms, s, m, h, d or w, such as 7d; 0 revokes the old
key at once, and leaves the keys that it issued.`
	rotate.SuggestFor = []string{"renew", "replace"}
	rotate.Flags().String("overlap", "24h", "How long the old key goes on")
	return rotate
}

// rotateResult is the new key in JSON, with the old one.
type rotateResult struct {
	keyResult

	Replaces keyResult `json:"replaces"`
}

func rotateKey(cmd *cobra.Command, args []string) error {
	overlap, err := spanFlag(cmd, "overlap")
	if err != nil {
		return err
	}
	return withStore(cmd, func(s *session) error {
		r, err := s.store.RotateKey(s.ctx, s.now, s.by, args[0], overlap)
		if err != nil {
			return unknown(err, listOfKeys)
		}
		result := rotateResult{s.keyAsJSON(r.New), s.keyAsJSON(r.Old)}
		result.Key = r.Secret.Reveal()
		rows := append(newKeyRows(r.New, r.Secret), []string{"Replaces", r.Old.ID + ", " + longStatus(r.Old, s.now)})
		if err := s.print(result, rows...); err != nil {
			return fmt.Errorf("key %s was issued in place of %s, but the key itself is lost: %w; rotate the new one", r.New.ID, r.Old.ID, err)
		}
		s.warnOfAllow(r.New.Allow)
		s.note("Keep this key: it is not shown again.")
		return nil
	})
}
