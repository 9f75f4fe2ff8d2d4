package keystore

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// rawRows inserts rows as another program could, with any times.
type rawRows struct {
	*testing.T
	db *sql.DB
	n  int
}

// key inserts a key of an account. columns are further columns with their values.
func (r *rawRows) key(accountID string, created policy.Time, columns map[string]any) (id string) {
	r.n++
	id = fmt.Sprintf("key_%d", r.n)
	names := []string{"id", "account_id", "digest", "prefix", "origin", "label", "allow", "issuable", "created_at"}
	values := []any{id, accountID, []byte(id), "sgk_1234", "api", "", "[]", false, int64(created)}
	for name, value := range columns {
		if t, ok := value.(policy.Time); ok {
			value = int64(t)
		}
		// Of a column that is given twice, SQLite takes the first value.
		if i := slices.Index(names, name); i >= 0 {
			values[i] = value
			continue
		}
		names, values = append(names, name), append(values, value)
	}
	places := make([]string, len(values))
	for i := range places {
		places[i] = fmt.Sprint("$", i+1)
	}
	mustExec(r.T, r.db, `INSERT INTO api_keys (`+strings.Join(names, ", ")+`) VALUES (`+strings.Join(places, ", ")+`)`, values...)
	return id
}

func (r *rawRows) used(keyID string, at policy.Time) {
	mustExec(r.T, r.db, `INSERT INTO last_uses (digest, at) VALUES ($1, $2)`, []byte(keyID), int64(at))
}

func (r *rawRows) job(keyID, backend, id string, created policy.Time) {
	mustExec(r.T, r.db, `INSERT INTO jobs (id, backend, dialect, account_id, key_id, client, created_at, state)
		SELECT $1, $2, 'amivoice', account_id, id, '', $3, 'queued' FROM api_keys WHERE id = $4`, id, backend, int64(created), keyID)
}

func TestKeys_SelectsByEachField(t *testing.T) {
	t.Parallel()
	const day30 = 30 * day
	at := func(d time.Duration) policy.Time { return start.Add(d) }
	type times struct{ created, used, expires policy.Time } // expires zero: never
	path := newPath(t)
	f := openStore(t, path, commandLine)
	r := rawRows{T: t, db: rawDB(t, path)}
	mustExec(t, r.db, `INSERT INTO accounts (id, name, service_id, spw_digest, created_at) VALUES ('acc_1', 'A', 's', $1, 1)`, []byte{0})
	for _, test := range []struct {
		name string
		list KeyList
		key  times
		want bool
	}{
		{"everything", KeyList{}, times{created: at(-1)}, true},
		{"the account", KeyList{AccountID: "acc_1"}, times{created: at(-1)}, true},
		{"another account", KeyList{AccountID: "acc_2"}, times{created: at(-1)}, false},
		{"another issuer", KeyList{IssuerID: "key_9"}, times{created: at(-1)}, false},
		{"expires within", KeyList{ExpiresBy: at(time.Hour)}, times{at(-1), 0, at(time.Hour)}, true},
		{"expires after", KeyList{ExpiresBy: at(time.Hour)}, times{at(-1), 0, at(time.Hour) + 1}, false},
		{"never expires", KeyList{ExpiresBy: at(time.Hour)}, times{created: at(-1)}, false},
		{"has expired", KeyList{ExpiresBy: at(time.Hour)}, times{at(-time.Hour), 0, at(-1)}, false},
		{"not used for so long", KeyList{UnusedSince: at(-time.Hour)}, times{at(-day30), at(-time.Hour), 0}, true},
		{"used within", KeyList{UnusedSince: at(-time.Hour)}, times{at(-day30), at(-time.Hour) + 1, 0}, false},
		{"never used, and old", KeyList{UnusedSince: at(-time.Hour)}, times{created: at(-time.Hour)}, true},
		{"never used, and young", KeyList{UnusedSince: at(-time.Hour)}, times{created: at(-time.Hour) + 1}, false},
		{"not used, and expired", KeyList{UnusedSince: at(-time.Hour)}, times{at(-day30), 0, at(-1)}, false},
		{"both", KeyList{UnusedSince: at(-time.Hour), ExpiresBy: at(time.Hour)}, times{at(-day30), 0, at(time.Minute)}, true},
		{"one of both", KeyList{UnusedSince: at(-time.Hour), ExpiresBy: at(time.Hour)}, times{created: at(-day30)}, false},
		{"active", KeyList{Status: "active"}, times{created: at(-1)}, true},
		{"not active", KeyList{Status: "expired"}, times{created: at(-1)}, false},
	} {
		columns := map[string]any{}
		if test.key.expires != 0 {
			columns["expires_at"] = test.key.expires
		}
		id := r.key("acc_1", test.key.created, columns)
		if test.key.used != 0 {
			r.used(id, test.key.used)
		}
		// The default of Now is the clock of the store, which is set to start.
		for _, now := range []policy.Time{start, 0} {
			test.list.Now = now
			keys, _, err := f.Keys(t.Context(), test.list)
			if err != nil || (len(keys) == 1) != test.want {
				t.Errorf("%s: got %d keys, %v; want the key: %t", test.name, len(keys), err, test.want)
			}
		}
		mustExec(t, r.db, `DELETE FROM last_uses`)
		mustExec(t, r.db, `DELETE FROM api_keys`)
	}
}

// The status in SQL is the status in Go, whatever ended a key and in which order.
func TestKeys_StatusIsThatOfThePolicy(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	r := rawRows{T: t, db: rawDB(t, path)}
	open, closed := f.account(), f.account()
	if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	statuses := []string{"active", "expired", "deleted", "revoked"}
	for i, columns := range []map[string]any{{}, {"expires_at": start}, {"deleted_at": start}, {"revoked_at": start}} {
		r.key(open.ID, start-5, columns)
		if keys, _, err := f.Keys(t.Context(), KeyList{Status: statuses[i], Now: start}); err != nil || len(keys) != 1 {
			t.Errorf("%d keys are %s, %v; want one", len(keys), statuses[i], err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		ends := func(label string, names ...string) map[string]any {
			columns := map[string]any{}
			for _, name := range names {
				if rapid.IntRange(0, 2).Draw(t, label+" "+name) == 0 {
					columns[name] = start + policy.Time(rapid.IntRange(-2, 2).Draw(t, label+" "+name+" at"))
				}
			}
			return columns
		}
		account := rapid.SampledFrom([]string{open.ID, open.ID, open.ID, closed.ID}).Draw(t, "account")
		issuer := r.key(account, start-10, ends("issuer", "expires_at", "revoke_from", "children_revoked_at"))
		columns := ends("key", "expires_at", "deleted_at", "revoked_at", "revoke_from")
		columns["issuer_id"], columns["outlives_issuer"] = issuer, rapid.Bool().Draw(t, "outlives")
		id := r.key(account, start-5, columns)
		now := start + policy.Time(rapid.IntRange(-3, 3).Draw(t, "now"))
		k, err := f.Key(r.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range statuses {
			list, _, err := f.Keys(r.Context(), KeyList{IssuerID: issuer, Status: status, Now: now})
			if err != nil || (len(list) == 1) != (k.Status(now) == status) {
				t.Fatalf("status %s lists %d keys, %v; the key is %s: %+v", status, len(list), err, k.Status(now), k)
			}
		}
	})
}

// lister reads one list in pages, and names its entries.
type lister struct {
	name string
	page func(limit int, cursor string) (entries []string, next string, err error)
	add  func()       // adds an entry at the end of the list, or before its beginning
	drop func(string) // removes an entry; nil if nothing removes single entries
}

func namesOf[T any](all []T, name func(T) string) []string {
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = name(v)
	}
	return names
}

// listers returns every list of a store that has some entries, many with equal times.
func listers(t *testing.T) []lister {
	path := newPath(t)
	f := openStore(t, path, commandLine)
	r := &rawRows{T: t, db: rawDB(t, path)}
	r.db.SetMaxOpenConns(1)
	if !isPostgres(path) {
		mustExec(t, r.db, `PRAGMA synchronous = OFF`) // nothing here has to survive
	}
	odd := "\x00\xff" // of an ID
	if isPostgres(path) {
		odd = "\x01é" // it has no zero bytes, and only UTF-8
	}
	now := start
	later := func() policy.Time { now++; return now }
	account := func(at policy.Time) string {
		r.n++
		id := fmt.Sprintf("acc_%d", r.n*7919%1_000_003) // in no order
		mustExec(t, r.db, `INSERT INTO accounts (id, name, service_id, spw_digest, created_at) VALUES ($1, 'A', $1, $2, $3)`, id, []byte{0}, int64(at))
		return id
	}
	audit := func(at policy.Time, accountID string) {
		mustExec(t, r.db, `INSERT INTO audit (at, actor_kind, actor_id, actor_from, action, account_id, subject, detail)
			VALUES ($1, 'operator', '', '', 'key_issue', $2, '', '')`, int64(at), accountID)
	}
	accounts := []string{account(start), account(start)}
	keys := []string{r.key(accounts[0], start, nil), r.key(accounts[1], start, nil)}
	for i := range 12 {
		at := start + policy.Time(i/4)
		account(at)
		k := r.key(accounts[i%2], at, map[string]any{"issuer_id": keys[0]})
		r.job(keys[i%2], []string{"b", "a", "a.b"}[i%3], fmt.Sprintf("job.%d%s", i*5%12, odd), at)
		r.used(k, at)
		audit(at, accounts[i%2])
	}
	now += 100
	deleter := func(statement string) func(string) { return func(id string) { mustExec(t, r.db, statement, id) } }
	dropKey := deleter(`DELETE FROM api_keys WHERE id = $1`)
	keyLister := func(name string, list KeyList) lister {
		return lister{name, func(limit int, cursor string) ([]string, string, error) {
			list.Limit, list.Cursor = limit, cursor
			page, next, err := f.Keys(t.Context(), list)
			return namesOf(page, func(k policy.Key) string { return k.ID }), next, err
		}, func() { r.key(accounts[0], later(), map[string]any{"issuer_id": keys[0]}) }, func(id string) {
			if !slices.Contains(keys, id) { // which have jobs
				dropKey(id)
			}
		}}
	}
	jobLister := func(name string, list JobList) lister {
		return lister{name, func(limit int, cursor string) ([]string, string, error) {
			list.Limit, list.Cursor = limit, cursor
			page, next, err := f.Jobs(t.Context(), list)
			return namesOf(page, func(j policy.Job) string { return j.Backend + " " + j.ID }), next, err
		}, func() { r.job(keys[0], "a", fmt.Sprint(r.n, now), later()) }, deleter(`DELETE FROM jobs WHERE backend || ' ' || id = $1`)}
	}
	auditLister := func(name string, list AuditList) lister {
		return lister{name, func(limit int, cursor string) ([]string, string, error) {
			list.Limit, list.Cursor = limit, cursor
			page, next, err := f.Audit(t.Context(), list)
			return namesOf(page, func(e AuditEntry) string { return fmt.Sprint(e.Seq) }), next, err
		}, func() { audit(later(), accounts[0]) }, nil}
	}
	return []lister{
		{"accounts", func(limit int, cursor string) ([]string, string, error) {
			page, next, err := f.Accounts(t.Context(), AccountList{Limit: limit, Cursor: cursor})
			return namesOf(page, func(a policy.Account) string { return a.ID }), next, err
		}, func() { account(later()) }, nil},
		keyLister("keys", KeyList{}),
		keyLister("keys of an account", KeyList{AccountID: accounts[0]}),
		keyLister("keys of an issuer", KeyList{IssuerID: keys[0], Status: "active"}),
		keyLister("keys that are unused", KeyList{UnusedSince: start + 1000}),
		jobLister("jobs", JobList{}),
		jobLister("jobs of an account", JobList{AccountID: accounts[0]}),
		auditLister("audit", AuditList{}),
		auditLister("audit of an account", AuditList{AccountID: accounts[0]}),
		auditLister("audit since", AuditList{Since: start + 1}),
	}
}

// whole reads a list in one page.
func (l *lister) whole(t interface{ Fatal(...any) }) []string {
	all, next, err := l.page(0, "")
	if err != nil || next != "" {
		t.Fatal("the whole list of", l.name, "has a next page", next, err)
	}
	return all
}

func TestLists_PagesAreTheWholeList(t *testing.T) {
	t.Parallel()
	for _, l := range listers(t) {
		want := l.whole(t)
		if len(want) < 3 {
			t.Fatalf("%s: only %d entries", l.name, len(want))
		}
		for limit := 1; limit <= len(want)+1; limit++ {
			var got []string
			cursor := ""
			for more := true; more; more = cursor != "" {
				page, next, err := l.page(limit, cursor)
				if err != nil || len(page) > limit || len(page) == 0 {
					t.Fatalf("%s: a page of %d of %d, %v", l.name, len(page), limit, err)
				}
				got, cursor = append(got, page...), next
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s by %d:\n%q, want\n%q", l.name, limit, got, want)
			}
		}
	}
}

// While entries come and go, paging returns each entry that was there all the time
// once, and the entries in the order of the whole list.
func TestLists_PagingNeitherRepeatsNorSkips(t *testing.T) {
	t.Parallel()
	all := listers(t)
	rapid.Check(t, func(t *rapid.T) {
		l := all[rapid.IntRange(0, len(all)-1).Draw(t, "list")]
		lasting := l.whole(t) // the entries that are there all the time
		var got []string
		cursor, added := "", 0
		for more := true; more; more = cursor != "" {
			page, next, err := l.page(rapid.IntRange(1, 5).Draw(t, "limit"), cursor)
			if err != nil {
				t.Fatal(err)
			}
			got, cursor = append(got, page...), next
			switch rapid.IntRange(0, 4).Draw(t, "meanwhile") {
			case 0:
				if added++; added <= 2 {
					l.add()
				}
			case 1:
				if l.drop != nil && len(lasting) > 8 {
					l.drop(rapid.SampledFrom(lasting).Draw(t, "dropped"))
					lasting = intersection(lasting, l.whole(t))
				}
			}
		}
		if found := intersection(got, lasting); !slices.Equal(found, lasting) {
			t.Fatalf("%s: got %q, and all the time there were %q", l.name, got, lasting)
		}
		if n := len(slices.Compact(slices.Sorted(slices.Values(got)))); n != len(got) {
			t.Fatalf("%s: an entry is repeated: %q", l.name, got)
		}
	})
}

// intersection returns the entries of a that are in b, in the order of a.
func intersection(a, b []string) (both []string) {
	for _, name := range a {
		if slices.Contains(b, name) {
			both = append(both, name)
		}
	}
	return both
}

func TestLists_BadCursorsAreRefused(t *testing.T) {
	t.Parallel()
	all := listers(t)
	for i := range all {
		_, next, err := all[i].page(1, "")
		if err != nil || next == "" {
			t.Fatalf("%s: no next page, %v", all[i].name, err)
		}
		for _, other := range all {
			if strings.Fields(other.name)[0] != strings.Fields(all[i].name)[0] {
				_, _, err := other.page(1, next)
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: a cursor of %s: error %v, want one that is %q", other.name, all[i].name, err, ErrInvalid)
				}
			}
		}
		for _, bad := range []string{next + "!", next + ".eA", next[1:], "x", ".", "k9999999999999999999.eA", strings.Repeat("k", 10_000)} {
			_, _, err := all[i].page(1, bad)
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: cursor %.100q: error %v, want one that is %q", all[i].name, bad, err, ErrInvalid)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("%s: the error has %d bytes", all[i].name, len(err.Error()))
			}
		}
		_, _, err = all[i].page(-1, "")
		wantIs(t, err, ErrInvalid)
	}
}

func TestListPosition_CursorsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := listPosition{rapid.Int64().Draw(t, "number"), rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "texts")}
		cursor := want.cursor("k")
		if got, ok := parseCursor("k", cursor, len(want.texts)); !ok || got.number != want.number || !slices.Equal(got.texts, want.texts) {
			t.Fatalf("%+v became %q and %+v, %t", want, cursor, got, ok)
		}
		if strings.Trim(cursor, "-_.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			t.Fatalf("cursor %q has to be escaped in a URL", cursor)
		}
	})
}
