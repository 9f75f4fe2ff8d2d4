package keystore

import (
	"context"

	"github.com/speechgate/speechgate/policy"
)

// AuditList says which entries of the audit trail [Store.Audit] returns: those that all
// fields select. The zero value is all entries.
type AuditList struct {
	// AccountID selects the entries of an account. Default: all.
	AccountID string
	// ActorKind selects the entries of actors of a kind, such as ActorOperator. Default: all.
	ActorKind string
	// ActorID selects the entries of actors with this ID or name. Default: all.
	ActorID string
	// Action selects the entries with one of the [AuditActions]. Default: all.
	Action string
	// Subject selects the entries about a record: a key ID, for example. Default: all.
	Subject string
	// Since selects the entries of this time or later. Default: all.
	Since policy.Time
	// Until selects the entries from before this time. Default: all.
	Until policy.Time
	// Bounded limits the work for a page: it looks at up to 100,000 entries, so it can have fewer
	// entries than the limit, or none, although there is a next page. A list that AccountID alone
	// selects needs no such limit.
	Bounded bool

	// Limit is the most entries to return. Default: all.
	Limit int
	// Cursor continues the list after another page: the next that the call before
	// returned. Default: the newest entry.
	Cursor string

	window int64 // how many entries a bounded page looks at; 0 for auditWindow
}

// auditWindow is how many entries a bounded page looks at, which takes up to 30 ms. There is no
// index by which the database could find the entries of an actor, for example: each index would
// make every change of the keystore slower. The entries of an account have an index.
const auditWindow = 100_000

const auditCursor = "e" // the beginning of the cursors of Audit

// Audit returns a page of the audit trail, newest first, and the cursor of the next
// page, which is empty after the last page. Paging neither repeats nor skips an entry,
// and does not show entries that are added meanwhile. The error is ErrInvalid if the
// cursor is not one of this list.
func (s *Store) Audit(ctx context.Context, list AuditList) (page []AuditEntry, next string, err error) {
	q := listQuery{name: auditCursor, limit: list.Limit, cursor: list.Cursor, descending: true}
	for _, c := range []struct{ column, value string }{
		{"account_id", list.AccountID}, {"actor_kind", list.ActorKind}, {"actor_id", list.ActorID}, {"action", list.Action}, {"subject", list.Subject},
	} {
		if c.value != "" {
			q.where(c.column+` = ?`, c.value)
		}
	}
	if !list.Since.IsZero() {
		q.where(`at >= ?`, list.Since)
	}
	if !list.Until.IsZero() {
		q.where(`at < ?`, list.Until)
	}
	byAccount := list.AccountID != "" && len(q.conditions) == 1
	bounded := list.Bounded && list.Limit > 0 && len(q.conditions) > 0 && !byAccount
	var end int64 // the page looks at the entries from this one on
	if bounded {
		if end, err = s.auditWindowEnd(ctx, &list); err != nil {
			return nil, "", err
		}
		q.where(`seq >= ?`, end)
	}
	q.orderBy("seq")
	page, next, err = readPage(ctx, s, &q, `SELECT `+auditColumns+` FROM audit`, scanAudit,
		func(e *AuditEntry) listPosition { return listPosition{e.Seq, nil} })
	if err != nil || next != "" || !bounded {
		return page, next, err
	}
	older, err := query(ctx, s, scanColumn[bool], `SELECT EXISTS (SELECT 1 FROM audit WHERE seq < $1)`, end)
	if err == nil && older[0] {
		next = listPosition{end, nil}.cursor(auditCursor)
	}
	return page, next, err
}

// auditWindowEnd returns the number of the oldest entry that a bounded page looks at. The numbers
// of the entries have no gaps.
func (s *Store) auditWindowEnd(ctx context.Context, list *AuditList) (int64, error) {
	window := list.window
	if window == 0 {
		window = auditWindow
	}
	if at, ok := parseCursor(auditCursor, list.Cursor, 0); ok {
		return max(at.number, 0) - window, nil
	}
	newest, err := s.LastAudit(ctx) // readPage refuses a cursor of another list
	return newest + 1 - window, err
}
