package command

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/speechgate/speechgate/internal/manage"
)

func verifyAuditCommand() *cobra.Command {
	verify := Leaf("verify [--head <head>]", "Finds the first entry that was changed or removed", NoArgument, verifyAudit)
	verify.Long = `Goes through the audit trail, whose entries are chained by their hashes, and finds
the first that was changed or removed. The exit status is 1 if there is one.

It prints the trail's head, which stands for all entries up to now. Keep it where
whoever can write the keystore cannot, and give it with --head later: that shows
as well whether entries were cut off at the end, or all rewritten.`
	verify.SuggestFor = []string{"check"}
	verify.Flags().String("head", "", "A head that this printed earlier, to compare with")
	return verify
}

func verifyAudit(cmd *cobra.Command, _ []string) error {
	head, err := textFlag(cmd, "head")
	if err != nil {
		return err
	}
	var keptSeq int64
	if head != "" {
		if keptSeq, err = manage.CheckHead(head); err != nil {
			return err
		}
	}
	return withStore(cmd, func(s *session) error {
		c, err := s.manager.VerifyAudit(s.ctx, head)
		if err != nil {
			return err
		}
		if s.json || c.Fault == "" {
			err = s.print(
				c,
				[]string{"Entries", strconv.Itoa(c.Entries)},
				[]string{"First", strconv.FormatInt(c.First, 10)},
				[]string{"Head", c.Head},
			)
		}
		switch {
		case err != nil:
			return err
		case c.Fault != "":
			return fmt.Errorf("the audit trail is not whole: %s", c.Fault)
		case head == "":
			s.note("The entries are whole, as far as they go. Keep the head elsewhere: --head with it shows later what was cut off or rewritten.")
		default:
			s.note("The entries are whole, and those up to entry %d are those that the head was noted of.", keptSeq)
		}
		return nil
	})
}
