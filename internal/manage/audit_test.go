package manage

import (
	"slices"
	"testing"
	"time"
)

func TestManager_AuditSelectsByActorActionSubjectAndPeriod(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	account := newAccount(t, m, "One")
	key := newKey(t, m, NewKey{AccountID: account.ID})
	holder := m.as("account", account.ID)
	holder.Now = m.Now.Add(time.Hour)
	other := must(holder.IssueKey(t.Context(), NewKey{AccountID: account.ID, Expires: Never}))(t)
	m.Now = m.Now.Add(48 * time.Hour)
	must(m.RevokeKey(t.Context(), key.ID, Revocation{}))(t)
	must(m.InviteOperator(t.Context(), "key", "/console/"))(t) // a name that is the word of a kind
	named := m.as("operator", "key")
	must(named.RevokeKey(t.Context(), other.ID, Revocation{}))(t)

	for name, test := range map[string]struct {
		query AuditQuery
		want  []string
	}{
		"a kind":            {AuditQuery{Actor: "account"}, []string{"key_issue " + other.ID}},
		"a kind and a name": {AuditQuery{Actor: "operator key"}, []string{"key_revoke " + other.ID}},
		"a word of a kind":  {AuditQuery{Actor: "key"}, []string{}}, // no key has done anything
		"a name":            {AuditQuery{Actor: "ada", Action: "key_revoke"}, []string{"key_revoke " + key.ID}},
		"an ID":             {AuditQuery{Actor: account.ID}, []string{"key_issue " + other.ID}},
		"an action":         {AuditQuery{Action: "key_issue"}, []string{"key_issue " + other.ID, "key_issue " + key.ID}},
		"a subject":         {AuditQuery{Subject: key.ID}, []string{"key_revoke " + key.ID, "key_issue " + key.ID}},
		"an account":        {AuditQuery{AccountID: "One", Action: "account_create"}, []string{"account_create " + account.ID}},
		"a period":          {AuditQuery{Since: "2d", Until: "1d"}, []string{"key_issue " + other.ID, "key_issue " + key.ID, "account_create " + account.ID}},
		"an end":            {AuditQuery{Until: "2026-11-23", Action: "key_revoke"}, []string{}},
		"bounded":           {AuditQuery{Action: "key_issue", Bounded: true, Page: Page{Limit: 9}}, []string{"key_issue " + other.ID, "key_issue " + key.ID}},
	} {
		got := []string{}
		for _, e := range must(m.Audit(t.Context(), test.query))(t).Items {
			got = append(got, e.Action+" "+e.Subject)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
	if _, err := m.Audit(t.Context(), AuditQuery{Since: "1d", Until: "2d"}); err == nil {
		t.Error("a period that ends before it begins is no error")
	}
}

func TestManager_OperatorsHaveTheirLastSignIn(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	must(m.InviteOperator(t.Context(), "tanaka", "/console/"))(t)
	all := must(m.Operators(t.Context()))(t)
	if len(all) != 1 || all[0].Status != "invited" || !all[0].SignedInAt.IsZero() {
		t.Errorf("got %+v", all)
	}
	o := must(m.RemoveOperator(t.Context(), "tanaka", false))(t) // who could not sign in
	if o.Last || o.Already || o.Status != StatusRemoved {
		t.Errorf("got %+v", o)
	}
	if o = must(m.RemoveOperator(t.Context(), "tanaka", false))(t); o.Last {
		t.Errorf("again: %+v", o)
	}
}
