package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/speechgate/speechgate/internal/manage"
	"github.com/speechgate/speechgate/policy"
)

// auditList is the data of the page audit.
type auditList struct {
	Entries                         []manage.AuditEntry
	Next                            string
	First                           bool
	Account, Actor, Action, Subject string
	From, To                        string // days in the reader's zone, both inclusive
	Filtered                        bool
	Actions                         []string
	Check                           *auditCheck // nil if the trail was not checked now
	Problem                         string
}

// auditCheck is what a check of the audit trail has found.
type auditCheck struct {
	manage.AuditCheck

	Last int64 // the number of the last entry that is unchanged
	Kept bool  // a chain head from before was compared with the trail
	// Rewritten says that the entries up to Last fit together, but not to the chain head from
	// before.
	Rewritten bool
}

// auditCheckOf returns what a check of the trail against a chain head has found; head can be empty.
func auditCheckOf(found manage.AuditCheck, head string) *auditCheck {
	c := &auditCheck{AuditCheck: found, Last: found.First + int64(found.Entries) - 1, Kept: head != ""}
	number, _, _ := strings.Cut(head, ":")
	end, _, _ := strings.Cut(found.Head, ":")
	c.Rewritten = found.Fault != "" && number == end && !strings.EqualFold(head, found.Head)
	return c
}

// auditList returns the entries that a query of the page selects. If the query has a mistake, the
// list says so, and has no entries.
func (v *visit) auditList(query url.Values) (*auditList, error) {
	text := func(name string) string { return strings.TrimSpace(query.Get(name)) }
	l := &auditList{
		First: query.Get("cursor") == "", Account: text("account"), Actor: text("actor"), Action: text("action"), Subject: text("subject"),
		From: text("from"), To: text("to"), Actions: manage.AuditActions(),
	}
	l.Filtered = l.Account+l.Actor+l.Action+l.Subject+l.From+l.To != ""
	entries, err := v.manager.Audit(v.r.Context(), manage.AuditQuery{
		Page: manage.Page{Limit: rowsPerPage, Cursor: query.Get("cursor")}, AccountID: l.Account, Actor: l.Actor, Action: l.Action, Subject: l.Subject,
		Since: v.midnight(l.From, 0), Until: v.midnight(l.To, 1), Bounded: true,
	})
	if v.isMistake(err) || isAbsent(err) {
		l.Problem = v.mistake(err)
		return l, nil
	}
	l.Entries, l.Next = entries.Items, string(entries.Next)
	return l, err
}

// midnight returns the instant at which a day begins in the reader's zone, so many days later. It
// returns a text that is no day unchanged.
func (v *visit) midnight(day string, later int) string {
	at, err := time.ParseInLocation(time.DateOnly, day, v.zone)
	if err != nil {
		return day
	}
	return policy.At(at.AddDate(0, 0, later)).String()
}

func auditPage(v *visit) error {
	l, err := v.auditList(v.r.URL.Query())
	if err != nil {
		return err
	}
	status := http.StatusOK
	if l.Problem != "" {
		status = http.StatusBadRequest
	}
	return v.render(status, "audit", "Audit trail", l)
}

// verifyAudit checks the audit trail.
func verifyAudit(v *visit) error {
	head := strings.TrimSpace(v.form("head"))
	check, err := v.manager.VerifyAudit(v.r.Context(), head)
	if err != nil && !v.isMistake(err) {
		return err
	}
	l, listErr := v.auditList(nil)
	if listErr != nil {
		return listErr
	}
	if err != nil {
		l.Problem = v.mistake(err)
		return v.render(http.StatusUnprocessableEntity, "audit", "Audit trail", l)
	}
	l.Check = auditCheckOf(check, head)
	return v.show("audit", "Audit trail", l)
}

// record is an ID with the URL of the page about what has it.
type record struct {
	ID, Link string // Link is empty if no page is about it
}

// Record returns the record with an ID.
func (v *visit) Record(id string) record {
	switch {
	case manage.CheckID("", manage.KindKey, id) == nil:
		return record{id, v.Link("operator/keys", id)}
	case manage.CheckID("", manage.KindAccount, id) == nil:
		return record{id, v.Link("operator/accounts", id)}
	}
	return record{ID: id}
}
