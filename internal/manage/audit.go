package manage

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/internal/phrase"
	"github.com/speechgate/speechgate/internal/words"
	"github.com/speechgate/speechgate/keystore"
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
	// Actor selects the entries of an actor: one of the [ActorKinds], an ID or an operator's name,
	// or both as in "operator tanaka".
	Actor string `json:"actor"`
	// Action selects the entries with one of the [AuditActions].
	Action string `json:"action"`
	// Subject selects the entries about what has this ID or name: a key, an account, a stream or
	// an operator.
	Subject string `json:"subject"`
	// Since selects the entries since this instant: a duration before now (7d), a date
	// (from the beginning of the day in UTC), or an instant in RFC 3339.
	Since string `json:"since"`
	// Until selects the entries from before this instant: a duration before now, a date (up to the
	// end of the day in UTC), or an instant in RFC 3339.
	Until string `json:"until"`
	// Bounded limits the work for a part of the list: with a filter, a part can have fewer entries
	// than the limit then, or none, although a next part follows. It is for pages that people
	// wait for.
	Bounded bool `json:"-"`
}

// ActorKinds returns the kinds of actors.
func ActorKinds() []string {
	return []string{keystore.ActorAccount, keystore.ActorKey, keystore.ActorOperator, keystore.ActorStore}
}

// AuditActions returns the words for what was done.
func AuditActions() []string { return keystore.AuditActions() }

// actor returns the kind and the ID of the field actor.
func (q *AuditQuery) actor() (kind, id string) {
	kind, id, both := strings.Cut(q.Actor, " ")
	if !both && !slices.Contains(ActorKinds(), kind) {
		return "", kind
	}
	return kind, id
}

// Validate refuses a query with a mistake in a field, except Since and Until. It does not read
// the keystore.
func (q *AuditQuery) Validate() error {
	if err := checkAccountIfAny(q.AccountID); err != nil {
		return err
	}
	kind, id := q.actor()
	if kind != "" && !slices.Contains(ActorKinds(), kind) {
		return wrong("actor", " %s: want %s, an ID or a name, or both as in \"operator tanaka\"", words.QuoteArgument(q.Actor), phrase.Or(ActorKinds()))
	}
	if q.Action != "" {
		if err := oneOf("action", q.Action, AuditActions()); err != nil {
			return err
		}
	}
	return cmp.Or(inField("actor", keystore.CheckText("the actor", id)), inField("subject", keystore.CheckText("the subject", q.Subject)), q.check())
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
	list := keystore.AuditList{AccountID: accountID, Action: q.Action, Subject: q.Subject, Bounded: q.Bounded, Limit: q.Limit, Cursor: q.Cursor}
	list.ActorKind, list.ActorID = q.actor()
	if q.Since != "" {
		if list.Since, err = parseSince(q.Since, m.Now); err != nil {
			return List[AuditEntry]{}, err
		}
	}
	if q.Until != "" {
		if list.Until, err = parseUntil(q.Until, list.Since, m.Now); err != nil {
			return List[AuditEntry]{}, err
		}
	}
	records, next, err := m.Store.Audit(ctx, list)
	return listOf(records, next, err, auditEntryOf)
}

// AuditCheck is what [Manager.VerifyAudit] found.
type AuditCheck struct {
	Entries int    `json:"entries"` // how many entries, from the first on, are unchanged
	First   int64  `json:"first"`   // the number of the first entry
	Head    string `json:"head"`    // the chain head of these entries
	Fault   OrNull `json:"fault"`   // what is wrong with the entry after these; null if nothing is wrong
	// Text is Fault as a text that can be said in several languages.
	Text phrase.Text `json:"-"`
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
		return head, wrong("head", " %v", err)
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
	return AuditCheck{Entries: c.Entries, First: c.First, Head: c.Head.String(), Fault: OrNull(c.Fault), Text: c.Text}, err
}
