package manage

import (
	"context"
	"errors"
	"strings"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

// AuditEntry is an entry of the audit trail in a result.
type AuditEntry struct {
	Seq       int64  `json:"seq"`
	At        Time   `json:"at"`
	ActorKind string `json:"actor_kind"`
	ActorID   string `json:"actor_id"`
	ActorIP   OrNull `json:"actor_ip"`
	Action    string `json:"action"`
	AccountID OrNull `json:"account_id"`
	Subject   string `json:"subject"`
	Detail    string `json:"detail"`
}

func auditEntryOf(e keystore.AuditEntry) AuditEntry {
	result := AuditEntry{
		Seq: e.Seq, At: Time{e.At}, ActorKind: e.Actor.Kind, ActorID: e.Actor.ID,
		Action: e.Action, AccountID: OrNull(e.AccountID), Subject: e.Subject, Detail: e.Detail,
	}
	if e.Actor.From.IsValid() {
		result.ActorIP = OrNull(e.Actor.From.String())
	}
	return result
}

// AuditQuery selects entries of the audit trail. An entry must match all its fields. The
// zero value selects all entries.
type AuditQuery struct {
	Page

	// AccountID selects the entries of the account with this ID or name.
	AccountID string `json:"account_id"`
	// Since selects the entries since this instant: a duration before now (7d), a date
	// (from the beginning of the day in UTC), or an instant in RFC 3339.
	Since string `json:"since"`
}

// Validate refuses a query with a mistake in a field, except Since. It does not read the
// keystore.
func (q *AuditQuery) Validate() error {
	if err := checkAccountIfAny(q.AccountID); err != nil {
		return err
	}
	return q.check()
}

// Audit returns a part of the audit trail, newest first.
func (m *Manager) Audit(ctx context.Context, q AuditQuery) (List[AuditEntry], error) {
	if err := q.Validate(); err != nil {
		return List[AuditEntry]{}, err
	}
	id, err := m.accountIDIfAny(ctx, q.AccountID)
	if err != nil {
		return List[AuditEntry]{}, err
	}
	accountID, err := m.scope(id)
	if err != nil {
		return List[AuditEntry]{}, err
	}
	var since policy.Time
	if q.Since != "" {
		if since, err = parseSince(q.Since, m.Now); err != nil {
			return List[AuditEntry]{}, err
		}
	}
	records, next, err := m.Store.Audit(ctx, keystore.AuditList{AccountID: accountID, Since: since, Limit: q.Limit, Cursor: q.Cursor})
	return listOf(records, next, err, auditEntryOf)
}

// AuditCheck is what [Manager.VerifyAudit] found.
type AuditCheck struct {
	Entries int    `json:"entries"` // how many entries, from the first on, are unchanged
	First   int64  `json:"first"`   // the number of the first entry
	Head    string `json:"head"`    // the chain head of these entries
	Fault   OrNull `json:"fault"`   // what is wrong with the entry after these; null if nothing is wrong
}

// CheckHead refuses a text that is not a chain head. It returns the number of the entry
// that the chain head belongs to.
func CheckHead(text string) (seq int64, err error) {
	head, err := parseHead(text)
	return head.Seq, err
}

func parseHead(text string) (keystore.AuditHead, error) {
	head, err := keystore.ParseAuditHead(text)
	if err != nil {
		return head, wrong("head", "%s", strings.TrimPrefix(err.Error(), "head"))
	}
	return head, nil
}

// VerifyAudit checks the audit trail, and finds the first entry that was changed or
// removed. If head is not empty, it is a chain head that an earlier call returned, and the
// trail must still contain its entry. VerifyAudit is for the operator only.
func (m *Manager) VerifyAudit(ctx context.Context, head string) (AuditCheck, error) {
	if err := m.operatorOnly(); err != nil {
		return AuditCheck{}, err
	}
	var kept *keystore.AuditHead
	if head != "" {
		parsed, err := parseHead(head)
		if err != nil {
			return AuditCheck{}, err
		}
		kept = &parsed
	}
	c, err := m.Store.VerifyAudit(ctx, kept)
	if errors.Is(err, keystore.ErrInvalid) {
		err = wrong("head", " %s: %v", head, err)
	}
	return AuditCheck{Entries: c.Entries, First: c.First, Head: c.Head.String(), Fault: OrNull(c.Fault)}, err
}
