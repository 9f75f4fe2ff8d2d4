package keystore

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// manyEntries makes entries of several actors, actions and subjects, a second apart.
func (f fixture) manyEntries() {
	f.t.Helper()
	for i := range 24 {
		err := f.write(f.t.Context(), func(t *txn) error {
			by := []Actor{{Kind: ActorOperator, ID: "tanaka"}, {Kind: ActorOperator, ID: "suzuki"}, {Kind: ActorKey, ID: "tanaka"}}[i%3]
			action := []string{actionKeyIssue, actionKeyRevoke}[i/3%2]
			t.audit(start.Add(time.Duration(i)*time.Second), by, action, fmt.Sprintf("acc_%d", i%4), fmt.Sprintf("key_%d", i%5), strconv.Itoa(i))
			return t.err
		})
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// Pages of a filter have the same entries, however large they are, and however many entries they
// look at.
func TestAuditList_PagesOfAFilterNeitherRepeatNorSkipAnEntry(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.manyEntries()
	second := func(i int) policy.Time { return start.Add(time.Duration(i) * time.Second) }
	for name, c := range map[string]struct {
		list AuditList
		want func(i int) bool
	}{
		"all":               {AuditList{}, func(int) bool { return true }},
		"kind":              {AuditList{ActorKind: ActorKey}, func(i int) bool { return i%3 == 2 }},
		"actor":             {AuditList{ActorID: "tanaka"}, func(i int) bool { return i%3 != 1 }},
		"kind and actor":    {AuditList{ActorKind: ActorOperator, ActorID: "tanaka"}, func(i int) bool { return i%3 == 0 }},
		"action":            {AuditList{Action: actionKeyRevoke}, func(i int) bool { return i/3%2 == 1 }},
		"subject":           {AuditList{Subject: "key_3"}, func(i int) bool { return i%5 == 3 }},
		"account":           {AuditList{AccountID: "acc_2"}, func(i int) bool { return i%4 == 2 }},
		"account and kind":  {AuditList{AccountID: "acc_2", ActorKind: ActorKey}, func(i int) bool { return i%4 == 2 && i%3 == 2 }},
		"since":             {AuditList{Since: second(20)}, func(i int) bool { return i >= 20 }},
		"until":             {AuditList{Until: second(4)}, func(i int) bool { return i < 4 }},
		"period and action": {AuditList{Since: second(3), Until: second(8), Action: actionKeyIssue}, func(i int) bool { return i >= 3 && i < 8 && i/3%2 == 0 }},
		"none":              {AuditList{ActorID: "nobody"}, func(int) bool { return false }},
	} {
		var want []string
		for i := 23; i >= 0; i-- {
			if c.want(i) {
				want = append(want, strconv.Itoa(i))
			}
		}
		for _, limit := range []int{1, 2, 5, 30} {
			for _, window := range []int64{1, 3, 7, 24, 100} {
				list := c.list
				list.Limit, list.Bounded, list.window = limit, true, window
				var got []string
				for pages := 0; ; pages++ {
					page, next, err := f.Audit(t.Context(), list)
					if err != nil || pages > 50 {
						t.Fatalf("%s: %d pages, %v", name, pages, err)
					}
					if len(page) > limit {
						t.Errorf("%s: %d entries, want %d at most", name, len(page), limit)
					}
					for i := range page {
						got = append(got, page[i].Detail)
					}
					if list.Cursor = next; next == "" {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, limit %d, window %d: got %v, want %v", name, limit, window, got, want)
				}
			}
		}
		if all, next, err := f.Audit(t.Context(), c.list); err != nil || next != "" || len(all) != len(want) {
			t.Errorf("%s: the whole list has %d entries, want %d; %v", name, len(all), len(want), err)
		}
	}
}

// A page reads the part of an index that its window has.
func TestAuditList_ReadsAnIndexInItsOrder(t *testing.T) {
	t.Parallel()
	f := openStore(t, newFile(t, "a query plan of SQLite"), commandLine)
	text := `SELECT ` + auditColumns + ` FROM audit WHERE actor_id = $1 AND seq >= $2 AND (seq) < ($3) ORDER BY seq DESC LIMIT $4`
	if plan := f.planOf(text, "a", 1, 2, 3); !strings.Contains(plan, "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)") {
		t.Errorf("the plan is\n%s", plan)
	}
	text = `SELECT ` + auditColumns + ` FROM audit WHERE account_id = $1 AND (seq) < ($2) ORDER BY seq DESC LIMIT $3`
	if plan := f.planOf(text, "acc_1", 2, 3); !strings.Contains(plan, "USING INDEX audit_account (account_id=? AND rowid<?)") || strings.Contains(plan, "B-TREE") {
		t.Errorf("the plan for an account is\n%s", plan)
	}
}

// AuditActions has every action.
func TestAuditActions_AreAll(t *testing.T) {
	t.Parallel()
	parsed, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "action") {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Error(err)
			}
			want = append(want, text)
		}
		return true
	})
	slices.Sort(want)
	if got := AuditActions(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkAuditList(b *testing.B) {
	f, _, err := tryStore(b.TempDir()+"/k.db", commandLine)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	const entries = 300_000
	err = f.write(b.Context(), func(t *txn) error {
		for i := range entries {
			t.audit(start.Add(time.Duration(i)*time.Millisecond), Actor{Kind: ActorKey, ID: "key_" + strconv.Itoa(i%1000)}, actionKeyIssue, "acc_SHgJeTLJMKuxVzYzaCyb", "key_u88sJUcZOkPH6PhwPqtZ", "origin api, expires 2026-12-23T02:15:57.734Z, from any")
		}
		return t.err
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, list := range map[string]AuditList{
		"all": {}, "actor": {ActorID: "nobody"}, "subject": {Subject: "key_none"}, "action": {Action: actionKeyRevoke}, "until": {Until: start}, "account": {AccountID: "acc_none"},
	} {
		b.Run(name, func(b *testing.B) {
			list.Bounded, list.Limit = true, 50
			for b.Loop() {
				if _, _, err := f.Audit(b.Context(), list); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
