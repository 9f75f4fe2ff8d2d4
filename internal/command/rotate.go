package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
)

func rotateCommand() *cobra.Command {
	rotate := Leaf("rotate <key ID> [--overlap <time>]", "Issues a key in place of another, which goes on for a while", oneID(manage.KindKey), rotateKey)
	rotate.Long = `Issues a key in place of another, and shows it, once.

The new key has the old one's rules: account, expiry, addresses, issuance right
and label. The old key is revoked when the overlap is over, or expires before; it
has no grace then. So are the keys that it issued, unless children free let them
outlive it.

--overlap takes a duration, such as 24h, 7d or 1w; 0 revokes the old
key at once, and leaves the keys that it issued.`
	rotate.SuggestFor = []string{"renew", "replace"}
	rotate.Flags().String("overlap", "24h", "How long the old key goes on")
	return rotate
}

func rotateKey(cmd *cobra.Command, args []string) error {
	overlap, err := textFlag(cmd, "overlap")
	if err != nil {
		return err
	}
	if err := manage.CheckOverlap(overlap); err != nil {
		return err
	}
	return changeStore(cmd, func(s *session) error {
		k, err := s.manager.RotateKey(s.ctx, args[0], overlap)
		if err != nil {
			return err
		}
		rows := append(newKeyRows(k.Key), []string{"Replaces", k.Replaces.ID + ", " + longStatus(k.Replaces)})
		if err := s.print(k, rows...); err != nil {
			return fmt.Errorf("key %s was issued in place of %s, but the key itself is lost: %w; rotate the new one", k.ID, k.Replaces.ID, err)
		}
		s.warnOfAllow(k.Warnings)
		s.note("Keep this key: it is not shown again.")
		return nil
	})
}
