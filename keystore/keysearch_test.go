package keystore

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// patience is longer than a query of these tests takes.
const patience = 20 * time.Second

// makeSearchIndex makes the index of docs/clustering.md, with the rights that the owner of the database has.
func makeSearchIndex(t *testing.T, db *sql.DB) {
	t.Helper()
	mustExec(t, db, `CREATE EXTENSION pg_trgm`)
	mustExec(t, db, `CREATE INDEX CONCURRENTLY api_keys_search ON api_keys USING gin (lower(label) gin_trgm_ops) WHERE label <> ''`)
}

// With the index, a search finds the keys that it finds without, in the same order: also with characters
// that mean something to LIKE, with characters of several bytes, and with letters in upper and lower case.
func TestKeys_SearchIndexFindsTheSame(t *testing.T) {
	t.Parallel()
	// The table is so small that PostgreSQL would take no index otherwise.
	dsn := postgrestest.Start(t).NewDatabase(t) + "&enable_seqscan=off&enable_indexscan=off&enable_indexonlyscan=off"
	f, db := openStore(t, dsn, commandLine), rawDB(t, dsn)
	makeSearchIndex(t, db)
	plans := connectForPlans(t, dsn)
	r := rawRows{T: t, db: db}
	accounts := []string{f.account().ID, f.account().ID}
	texts := rapid.StringOfN(rapid.SampledFrom([]rune(`aAbB1 %_\-,éÉ東京İ`)), 3, 6, -1)
	rapid.Check(t, func(t *rapid.T) {
		mustExec(r.T, db, `DELETE FROM api_keys`)
		r.n = 0
		m := orderModel{
			accounts: accounts, accountID: rapid.SampledFrom(append(accounts, "")).Draw(t, "whose"), search: texts.Draw(t, "text"),
			reverse: rapid.Bool().Draw(t, "reverse"), status: rapid.SampledFrom([]string{"", "active"}).Draw(t, "status"),
		}
		var keys []policy.Key
		for range rapid.IntRange(0, 20).Draw(t, "keys") {
			label := rapid.OneOf(rapid.Just(""), texts, rapid.Just(m.search), rapid.Just(strings.ToUpper(m.search))).Draw(t, "middle")
			label = rapid.SampledFrom([]string{"", "x", "x ", "京"}).Draw(t, "before") + label + rapid.SampledFrom([]string{"", " end"}).Draw(t, "after")
			columns := map[string]any{"label": label}
			if rapid.Bool().Draw(t, "has expired") {
				columns["expires_at"] = start - 1
			}
			id := r.key(rapid.SampledFrom(accounts).Draw(t, "account"), start-10, columns)
			k, err := f.Key(r.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		list := m.list()
		list.Limit = rapid.SampledFrom([]int{0, 1, 2, 7, 30}).Draw(t, "limit")
		list.windows = keyWindows{keys: 5, first: rapid.IntRange(1, 10).Draw(t, "first labels"), found: patience, labels: 5}
		if sections := searchSections(&list); m.accountID == "" {
			var q listQuery
			text := sections[1][0].foundText(&q, &list, start, nil, list.Limit)
			if _, plan := explain(r.T, plans, tracedQuery{text, q.args}); !strings.Contains(plan, "api_keys_search") {
				t.Fatalf("the index is not used:\n%s", plan)
			}
		}
		var got []string
		for pages := 0; pages == 0 || list.Cursor != ""; pages++ {
			page, next, err := f.Keys(r.Context(), list)
			if err != nil || pages > 50 || list.Limit > 0 && len(page) > list.Limit {
				t.Fatalf("page %d: %d keys, %v", pages, len(page), err)
			}
			got = append(got, namesOf(page, func(k policy.Key) string { return k.ID })...)
			list.Cursor = next
		}
		if want := m.expected(keys); !slices.Equal(got, want) {
			t.Fatalf("%+v: got %v, want %v", m, got, want)
		}
	})
}

// A page of a search has all keys that match, however few labels a page looks at, if there is the index. The
// page looks at as few labels as before if there is no index, or none that is finished; if a page must not
// wait for it; and if the text is too short for it.
func TestKeys_SearchIndexFillsAPage(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dsn := server.NewDatabase(t)
	f, db := openStore(t, dsn, commandLine), rawDB(t, dsn)
	r := rawRows{T: t, db: db}
	account := f.account().ID
	for n := range 200 {
		r.key(account, start, map[string]any{"label": fmt.Sprintf("device %03d", n)})
	}
	finish := func(valid bool) {
		admin, err := sql.Open("pgx", server.AdminDSN(t, dsn))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = admin.Close() }()
		mustExec(t, admin, `UPDATE pg_index SET indisvalid = $1 WHERE indexrelid = 'api_keys_search'::REGCLASS`, valid)
	}
	for _, test := range []struct {
		name   string
		change func()
		search string
		found  time.Duration
		whole  bool
	}{
		{"no index", func() {}, "190", patience, false},
		{"the index", func() { makeSearchIndex(t, db) }, "190", patience, true},
		{"the index, and nothing found", func() {}, "nothing", patience, true},
		{"the index, and a short text", func() {}, "90", patience, false},
		{"the index, without a time to wait", func() {}, "190", 0, false},
		{"the index is not finished", func() { finish(false) }, "190", patience, false},
		{"the index is finished", func() { finish(true) }, "190", patience, true},
	} {
		test.change()
		list := KeyList{AccountID: account, Search: test.search, Limit: 50, windows: keyWindows{keys: 5, first: 5, found: test.found, labels: 10}}
		page, next, err := f.Keys(t.Context(), list)
		whole := next == "" && (test.search == "nothing" || len(page) == 1)
		if err != nil || whole != test.whole {
			t.Errorf("%s: %d keys, next %q, %v; want all keys in one page: %t", test.name, len(page), next, err, test.whole)
		}
	}
}

// With the index, a search reads little more than the keys that match.
func TestKeys_SearchIndexReadsFewRows(t *testing.T) {
	t.Parallel()
	dsn := postgrestest.Start(t).NewDatabase(t)
	openStore(t, dsn, commandLine) // makes the tables
	makeSearchIndex(t, rawDB(t, dsn))
	db := connectForPlans(t, dsn)
	fillForPlans(t, db)
	for search, mostRows := range map[string]float64{"vice-0007": 100, "no such label": 10} {
		for _, accountID := range []string{"", "acc_000"} {
			for _, from := range [][]any{nil, {"vice", int64(1)}} {
				list := KeyList{AccountID: accountID, Search: search, windows: defaultWindows}
				sections := searchSections(&list)
				p := &sections[1][0]
				if from != nil && accountID == "" {
					from = append([]any{"acc_000"}, from...)
				}
				var q listQuery
				text := p.foundText(&q, &list, start, from, 50)
				plan, shown := explain(t, db, tracedQuery{text, q.args})
				if rows := plan.rows(); rows > mostRows || !strings.Contains(shown, "api_keys_search") {
					t.Errorf("a search for %q in account %q reads %.0f rows, want %.0f at most:\n%s", search, accountID, rows, mostRows, shown)
				}
			}
		}
	}
}
