package keystore

import (
	"context"
	"fmt"

	"github.com/speechgate/speechgate/policy"
)

// CheckOperator refuses the name of an operator that the audit trail cannot have: want up
// to 200 bytes of printable UTF-8, or none. The error is ErrInvalid.
func CheckOperator(name string) error { return CheckText("the operator's name", name) }

// NoteCut adds an entry to the audit trail about live streams that the operator cut. The
// subject is the ID of a stream, a key or an account; the account can be empty.
func (s *Store) NoteCut(ctx context.Context, now policy.Time, by Actor, accountID, subject string, streams int) error {
	if err := CheckOperator(by.ID); err != nil {
		return err
	}
	return s.write(ctx, func(t *txn) error {
		t.audit(now, by, actionStreamCut, accountID, subject, fmt.Sprintf("streams cut: %d", streams))
		return t.err
	})
}
