package keystore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// orderModel is what a list of keys in an order or of a search must be.
type orderModel struct {
	accounts  []string // in the order of their rows
	accountID string
	order     KeyOrder
	search    string
	reverse   bool
	status    string
	origin    policy.Origin
}

func (m *orderModel) list() KeyList {
	return KeyList{AccountID: m.accountID, Order: m.order, Search: m.search, NewestFirst: m.reverse, Status: m.status, Origin: m.origin, Now: start, Bounded: true}
}

// endOf returns the first of the ends of a key; the end of time for a key that never ends.
func endOf(k *policy.Key) policy.Time {
	end := policy.Time(1<<63 - 1)
	if at, ok := k.Expires.Time(); ok {
		end = at
	}
	for _, at := range []policy.Time{k.DeletedAt, k.RevokedAt, k.RevokeFrom} {
		if !at.IsZero() {
			end = min(end, at)
		}
	}
	return end
}

// section returns the section of the list that a key is in, or -1 if it is not in the list.
func (m *orderModel) section(k *policy.Key) int {
	label, search := lowerASCII(k.Label), lowerASCII(m.search)
	switch {
	case m.accountID != "" && k.AccountID != m.accountID, m.status != "" && k.Status(start) != m.status, m.origin != 0 && k.Origin != m.origin:
		return -1
	case strings.HasPrefix(m.search, "key_"):
		return map[bool]int{true: 0, false: -1}[strings.HasPrefix(k.ID, m.search)]
	case m.search != "" && strings.HasPrefix(label, search):
		return 0
	case m.search != "" && strings.Contains(label, search):
		return 1
	case m.search != "":
		return -1
	case m.order == OrderUse && k.LastUsedAt.IsZero():
		return 1
	}
	return 0
}

// compare compares keys of one section. Their rows are in the order of the numbers in their IDs.
func (m *orderModel) compare(a, b *policy.Key, section int) int {
	ids := cmp.Compare(a.ID, b.ID)
	rows := cmp.Or(cmp.Compare(len(a.ID), len(b.ID)), ids)
	labels := cmp.Or(cmp.Compare(lowerASCII(a.Label), lowerASCII(b.Label)), rows)
	if m.accountID == "" && m.search != "" && section == 0 {
		labels = cmp.Or(cmp.Compare(slices.Index(m.accounts, a.AccountID), slices.Index(m.accounts, b.AccountID)), labels)
	} else if m.accountID == "" {
		labels = cmp.Or(cmp.Compare(a.AccountID, b.AccountID), labels)
	}
	switch {
	case strings.HasPrefix(m.search, "key_"):
		return ids
	case m.search == "" && m.order == OrderIssued:
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), ids)
	case m.search != "" || m.order == OrderLabel || m.order == OrderUse && section == 1:
		return labels
	case m.order == OrderEnd:
		return cmp.Or(cmp.Compare(endOf(a), endOf(b)), rows)
	default: // the digests of the test are the IDs
		return cmp.Or(cmp.Compare(a.LastUsedAt, b.LastUsedAt), bytes.Compare([]byte(a.ID), []byte(b.ID)))
	}
}

func (m *orderModel) expected(keys []policy.Key) (ids []string) {
	for section := range 2 {
		part := slices.DeleteFunc(slices.Clone(keys), func(k policy.Key) bool { return m.section(&k) != section })
		slices.SortFunc(part, func(a, b policy.Key) int {
			c := m.compare(&a, &b, section)
			if m.reverse {
				c = -c
			}
			return c
		})
		ids = append(ids, namesOf(part, func(k policy.Key) string { return k.ID })...)
	}
	return ids
}

// Each order and search lists the keys that the model lists, in pages of every size, however few
// keys a page looks at.
func TestKeys_InEachOrder(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	r := rawRows{T: t, db: rawDB(t, path)}
	accounts := []string{f.account().ID, f.account().ID}
	labels := []string{"", "a", "A", "ab", "Ba", "xaB", "50%", "5_0", "東京 a", "éA", "key_1"}
	rapid.Check(t, func(t *rapid.T) {
		mustExec(r.T, r.db, `DELETE FROM last_uses`)
		mustExec(r.T, r.db, `DELETE FROM api_keys`)
		r.n = 0
		var keys []policy.Key
		for range rapid.IntRange(0, 25).Draw(t, "keys") {
			columns := map[string]any{
				"origin": rapid.SampledFrom([]string{"initial", "console", "api"}).Draw(t, "origin"),
				"label":  rapid.SampledFrom(labels).Draw(t, "label"),
			}
			for _, name := range []string{"expires_at", "deleted_at", "revoked_at", "revoke_from"} {
				if rapid.IntRange(0, 3).Draw(t, name) == 0 {
					columns[name] = start + policy.Time(rapid.IntRange(-2, 2).Draw(t, name+" at"))
				}
			}
			id := r.key(rapid.SampledFrom(accounts).Draw(t, "account"), start-10+policy.Time(rapid.IntRange(0, 2).Draw(t, "created")), columns)
			if rapid.Bool().Draw(t, "was used") {
				r.used(id, start+policy.Time(rapid.IntRange(-3, 0).Draw(t, "used")))
			}
			k, err := f.Key(r.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		m := orderModel{
			accounts:  accounts,
			accountID: rapid.SampledFrom(append(accounts, "")).Draw(t, "whose"),
			order:     KeyOrder(rapid.IntRange(0, 3).Draw(t, "order")),
			reverse:   rapid.Bool().Draw(t, "reverse"),
			status:    rapid.SampledFrom([]string{"", "", "active", "expired", "revoked"}).Draw(t, "status"),
			origin:    rapid.SampledFrom([]policy.Origin{0, 0, policy.OriginConsole}).Draw(t, "only the origin"),
		}
		if rapid.Bool().Draw(t, "search") {
			m.search = rapid.SampledFrom([]string{"a", "B", "ab", "0", "%", "_", `\`, "京", "é", "key_1", "key_", "none"}).Draw(t, "text")
		}
		list := m.list()
		list.windows = keyWindows{keys: rapid.IntRange(1, 30).Draw(t, "window"), first: rapid.IntRange(1, 30).Draw(t, "first labels"), labels: rapid.IntRange(1, 30).Draw(t, "window of labels"), few: rapid.SampledFrom([]int{0, 100}).Draw(t, "few")}
		if all, next, err := f.Keys(r.Context(), list); err != nil || next != "" || !slices.Equal(namesOf(all, func(k policy.Key) string { return k.ID }), m.expected(keys)) {
			t.Fatalf("without a limit: %v, next %q, %v; want %v", namesOf(all, func(k policy.Key) string { return k.ID }), next, err, m.expected(keys))
		}
		var got []string
		pages := 0
		for list.Limit = rapid.IntRange(1, 6).Draw(t, "limit"); ; pages++ {
			page, next, err := f.Keys(r.Context(), list)
			if err != nil || len(page) > list.Limit || pages > 100 {
				t.Fatalf("page %d: %d keys, %v", pages, len(page), err)
			}
			got = append(got, namesOf(page, func(k policy.Key) string { return k.ID })...)
			if list.Cursor = next; next == "" {
				break
			}
		}
		if want := m.expected(keys); !slices.Equal(got, want) {
			t.Fatalf("%+v: got %v, want %v", m, got, want)
		}
	})
}

// Keys of one account that were used at the same instant are listed in pages, too.
func TestKeys_UsedAtOneInstantAreOnDifferentPages(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	r := rawRows{T: t, db: rawDB(t, path)}
	account := f.account().ID
	for range 3 {
		r.used(r.key(account, start-10, map[string]any{"origin": "console"}), start)
	}
	for _, newestFirst := range []bool{false, true} {
		list := KeyList{AccountID: account, Order: OrderUse, NewestFirst: newestFirst, Limit: 1}
		var got []string
		for range 3 {
			page, next, err := f.Keys(t.Context(), list)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, namesOf(page, func(k policy.Key) string { return k.ID })...)
			list.Cursor = next
		}
		if slices.Sort(got); !slices.Equal(got, []string{"key_1", "key_2", "key_3"}) {
			t.Errorf("newest first %t: the pages have %v", newestFirst, got)
		}
	}
}

// A search in more accounts than a page looks at finds the keys of all of them.
func TestKeys_SearchInManyAccounts(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	r := rawRows{T: t, db: rawDB(t, path)}
	var want []string
	for n := range 2*accountsAtOnce + 3 {
		id := fmt.Sprintf("acc_%03d", n)
		mustExec(t, r.db, `INSERT INTO accounts (id, name, service_id, spw_digest, created_at) VALUES ($1, 'A', $1, $2, 1)`, id, []byte{})
		if n%3 > 0 {
			want = append(want, r.key(id, start, map[string]any{"origin": "console", "label": "Device"}))
		}
	}
	for _, limit := range []int{0, 1, 7, accountsAtOnce, accountsAtOnce + 1, 500} {
		for _, newestFirst := range []bool{false, true} {
			list := KeyList{Search: "dev", Limit: limit, NewestFirst: newestFirst}
			var got []string
			for pages := 0; pages == 0 || list.Cursor != ""; pages++ {
				page, next, err := f.Keys(t.Context(), list)
				if err != nil || pages > 200 {
					t.Fatalf("page %d: %v", pages, err)
				}
				got = append(got, namesOf(page, func(k policy.Key) string { return k.ID })...)
				list.Cursor = next
			}
			if newestFirst {
				slices.Reverse(got)
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d, newest first %t: got %v, want %v", limit, newestFirst, got, want)
			}
		}
	}
}

func TestKeys_OrdersRefuseCursorsOfOthers(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	for _, cursor := range []string{"x", "o", "ol", "ol0", "ol9", "ol0.", "ol0.i1", "ol0.tYQ", "ol0.tYQ.ix", "ol0.t!.i1", "ol0.tYQ.i1.i1", "ol0.xYQ.i1", "ol0.i1.i1", "ol0.tYQ.tYQ", "ol0.bYQ.i1", "ol-0.tYQ.i1", "oe0.i1.i1", "k1.eA"} {
		_, _, err := f.Keys(t.Context(), KeyList{AccountID: "acc_1", Order: OrderLabel, Limit: 1, Cursor: cursor})
		if cursor == "ol0" {
			if err != nil {
				t.Errorf("the beginning of the list: %v", err)
			}
		} else if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", cursor, err)
		}
	}
	if _, _, err := f.Keys(t.Context(), KeyList{Order: OrderEnd, Limit: -1}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a limit of -1: %v", err)
	}
}

// Each window reads an index in its order from the place on, and no more rows than it has. The outer
// query has the order of the window.
func TestKeys_OrdersSortNothing(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	f := openStore(t, newPath(t))
	for _, accountID := range []string{"", f.account().ID} {
		for _, list := range []KeyList{
			{Bounded: true},
			{Order: OrderLabel},
			{Order: OrderEnd},
			{Order: OrderUse},
			{Search: "key_1"},
			{Search: "a"},
			{Bounded: true, NewestFirst: true},
			{Order: OrderLabel, NewestFirst: true},
			{Order: OrderEnd, NewestFirst: true},
			{Order: OrderUse, NewestFirst: true},
			{Search: "key_1", NewestFirst: true},
			{Search: "a", NewestFirst: true},
		} {
			list.AccountID = accountID // of no keys, so that the windows are those of many
			list.windows = keyWindows{keys: 100, first: 100, labels: 100, few: -1}
			sections, err := f.keySections(t.Context(), &list, start)
			if err != nil {
				t.Fatal(err)
			}
			for i, section := range sections {
				for _, p := range section {
					if p.inAccounts {
						for _, from := range [][]any{nil, {int64(1)}} {
							q := listQuery{descending: list.NewestFirst}
							text := p.accountsText(&q, from, 10)
							if plan := f.planOf(text, q.args...); strings.Contains(plan, "TEMP B-TREE") || !strings.Contains(plan, "COVERING INDEX api_keys_label (account_id=? AND <expr>>? AND <expr><?)") {
								t.Errorf("the accounts of a search:\n%s\n%s", text, plan)
							}
						}
						p = p.inAccount("acc_1")
					}
					from := make([]any, len(p.order))
					for j := range from {
						from[j] = int64(j)
					}
					parts := []keyPart{p}
					if p.computed {
						parts, from = append(parts, splitParts(parts, from, list.NewestFirst)...), nil
					}
					for j, p := range parts {
						for _, from := range [][]any{nil, from} {
							var q, all, last listQuery
							text := p.windowText(&q, from, list.NewestFirst, 10)
							plan := f.planOf(text, q.args...)
							if strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN api_keys\n") || (from != nil || j > 0) && !strings.Contains(plan, "SEARCH") {
								t.Errorf("order %d, search %q, account %q, section %d:\n%s\n%s", list.Order, list.Search, accountID, i, text, plan)
							}
							if j > 0 && !strings.Contains(plan, column(p.order[p.alike])) {
								t.Errorf("order %d, search %q, account %q, section %d, part %d: the search does not begin at the place:\n%s\n%s", list.Order, list.Search, accountID, i, j, text, plan)
							}
							plan = f.planOf(p.text(&all, &list, start, from, 10, 5), all.args...) + f.planOf(p.lastText(&last, from, list.NewestFirst, 10), last.args...)
							if strings.Contains(plan, "TEMP B-TREE") {
								t.Errorf("order %d, search %q, account %q, section %d: the outer query sorts:\n%s", list.Order, list.Search, accountID, i, plan)
							}
						}
					}
				}
			}
		}
	}
}

// column returns how a column of an order that a search is bounded by looks in a plan of SQLite.
func column(order string) string {
	if strings.Contains(order, "(") {
		return "<expr>"
	}
	return strings.TrimPrefix(strings.TrimPrefix(order, "x."), "y.")
}

func BenchmarkKeys(b *testing.B) {
	const keys, accounts = 1_000_000, 1_000
	path := b.TempDir() + "/k.db"
	s, _, err := tryStore(path, commandLine)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	big := manyKeys(b, path, keys, accounts)
	for _, list := range []KeyList{
		{Order: OrderLabel},
		{Order: OrderEnd},
		{Order: OrderUse},
		{Order: OrderLabel, Status: "revoked"},
		{Order: OrderEnd, Status: "active"},
		{Order: OrderUse, Status: "expired"},
		{Order: OrderUse, NewestFirst: true},
		{Bounded: true, Status: "revoked", NewestFirst: true},
		{Search: "device-09"},
		{Search: "vice-0999"},
		{Search: "no such label"},
		{Search: "key_99"},
	} {
		for _, accountID := range []string{big, "acc_7", ""} {
			list.AccountID, list.Limit, list.Now = accountID, 50, start
			b.Run(fmt.Sprintf("order=%d/search=%s/status=%s/new=%t/account=%s", list.Order, list.Search, list.Status, list.NewestFirst, accountID), func(b *testing.B) {
				for b.Loop() {
					if _, _, err := s.Keys(b.Context(), list); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// manyKeys writes keys of one account, which it returns, and a few of many others.
func manyKeys(b *testing.B, path string, keys, accounts int) (big string) {
	b.Helper()
	db := rawDB(b, path)
	exec := func(text string, args ...any) { mustExec(b, db, text, args...) }
	exec(`WITH RECURSIVE n (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM n WHERE n < $1) INSERT INTO accounts (id, name, service_id, spw_digest, created_at)
		SELECT 'acc_' || n, 'A', n, x'00', 1 FROM n`, accounts)
	exec(`WITH RECURSIVE n (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM n WHERE n < $1)
		INSERT INTO api_keys (id, account_id, digest, prefix, origin, label, allow, issuable, created_at, expires_at, revoked_at)
		SELECT 'key_' || (n * 7919 % 1000003), CASE WHEN n % 100 = 0 THEN 'acc_' || (n / 100 % $2) ELSE 'acc_0' END, randomblob(32), 'sgk_1234',
			CASE n % 3 WHEN 0 THEN 'initial' WHEN 1 THEN 'console' ELSE 'api' END, printf('device-%07d', n * 31 % 1000003), '[]', 0, $3 + n,
			CASE WHEN n % 4 > 0 THEN $3 + (n % 1000 - 500) * 3600000 END, CASE WHEN n % 100000 = 5 THEN $3 END FROM n`, keys, accounts, start)
	exec(`INSERT INTO last_uses (digest, at) SELECT digest, created_at FROM api_keys WHERE rowid % 2 = 0`)
	return "acc_0"
}
