package keystore

import (
	"strings"
	"testing"

	"github.com/speechgate/speechgate/internal/postgrestest"
)

// A page of a list is read in the list's order: it does not sort all rows, which can be millions.
func TestLists_PagesAreNotSorted(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	f := openStore(t, newPath(t), commandLine)
	const keys, accounts = `SELECT ` + keyColumns + ` FROM ` + keyTables, `SELECT ` + accountColumns + ` FROM accounts`
	after := []string{"", listPosition{int64(start), []string{"key_x"}}.cursor("k")}
	for _, c := range []struct {
		name, selection string
		query           listQuery
		index           string
	}{
		{"keys", keys, listQuery{name: "k", order: []string{"k.created_at", "k.id"}}, "api_keys_created"},
		{"keys of an account", keys, listQuery{name: "k", order: []string{"k.created_at", "k.id"}, conditions: []string{"k.account_id = $1"}, args: []any{"acc_1"}}, "api_keys_account_created"},
		{"accounts", accounts, listQuery{name: "k", order: []string{"created_at", "id"}}, "accounts_created"},
	} {
		for _, cursor := range after {
			for _, newestFirst := range []bool{false, true} {
				q := c.query
				q.limit, q.cursor, q.descending = 50, cursor, newestFirst
				text, err := q.build(c.selection)
				if err != nil {
					t.Fatal(err)
				}
				if plan := f.planOf(text, q.args...); strings.Contains(plan, "B-TREE") || !strings.Contains(plan+" ", "INDEX "+c.index) || strings.Contains(plan, "SCAN a ") {
					t.Errorf("%s, cursor %q, newest first %t: the plan is\n%s", c.name, cursor, newestFirst, plan)
				}
			}
		}
	}
}

// The last use of a key is looked up after the tables that a status depends on, so only for the keys that a list selects.
func TestLists_TheLastUseIsLookedUpLast(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	f := openStore(t, newPath(t), commandLine)
	plan := f.planOf(`SELECT `+keyColumns+` FROM `+keyTables+` WHERE `+keyStatus+` = 'revoked'`, start, start)
	issuer, use := strings.Index(plan, "SEARCH i "), strings.Index(plan, "SEARCH u ")
	if issuer < 0 || use < issuer {
		t.Errorf("the plan is\n%s", plan)
	}
}
