package command

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/keystore"
)

func verifyAuditCommand() *cobra.Command {
	verify := Leaf("verify [--head <head>]", "Finds the first entry that was changed or removed", NoArgument, verifyAudit)
	verify.Long = `Goes through the audit trail, whose entries are chained by their hashes, and finds
the first that was changed or removed. The exit status is 1 if there is one.

It prints the trail's head, which stands for all entries up to now. Keep it where
whoever can write the keystore cannot, and give it with --head later: that shows
as well whether entries were cut off at the end, or all written anew.`
	verify.SuggestFor = []string{"check"}
	verify.Flags().String("head", "", "A head that this printed earlier, to compare with")
	return verify
}

// verifyResult is a look through the audit trail in JSON.
type verifyResult struct {
	Entries int     `json:"entries"`
	First   int64   `json:"first"`
	Head    string  `json:"head"`
	Fault   *string `json:"fault"`
}

func verifyAudit(cmd *cobra.Command, _ []string) error {
	text, err := textFlag(cmd, "head")
	if err != nil {
		return err
	}
	var kept *keystore.AuditHead
	if text != "" {
		head, err := keystore.ParseAuditHead(text)
		if err != nil {
			return fmt.Errorf("--%w", err)
		}
		kept = &head
	}
	return withStore(cmd, func(s *session) error {
		c, err := s.store.VerifyAudit(s.ctx, kept)
		switch {
		case errors.Is(err, keystore.ErrInvalid):
			return fmt.Errorf("--head %s: %w", text, err)
		case err != nil:
			return err
		}
		result := verifyResult{Entries: c.Entries, First: c.First, Head: c.Head.String()}
		if c.Fault != "" {
			result.Fault = &c.Fault
		}
		if s.json || c.Fault == "" {
			err = s.print(
				result,
				[]string{"Entries", strconv.Itoa(c.Entries)},
				[]string{"First", strconv.FormatInt(c.First, 10)},
				[]string{"Head", c.Head.String()},
			)
		}
		switch {
		case err != nil:
			return err
		case c.Fault != "":
			return fmt.Errorf("the audit trail is not whole: %s", c.Fault)
		case kept == nil:
			s.note("The entries are whole, as far as they go. Keep the head elsewhere: --head with it shows later what was cut off or written anew.")
		default:
			s.note("The entries are whole, and those up to entry %d are those that the head was noted of.", kept.Seq)
		}
		return nil
	})
}
