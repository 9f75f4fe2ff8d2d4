package keystore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// ending lists keys that end, as their IDs and when they end after start.
func (f fixture) ending(list EndingList) (all []string) {
	f.t.Helper()
	page, _, err := f.EndingKeys(f.t.Context(), list)
	if err != nil {
		f.t.Fatal(err)
	}
	return namesOf(page, endName)
}

func endName(e EndingKey) string { return fmt.Sprintf("%s after %d", e.ID, e.EndsAt-start) }

func TestEndingKeys_EachEnd(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a, other, closed := f.account(), f.account(), f.account()
	never := func(k *NewKey) { k.Expires = policy.Never() }
	soon, _ := f.key(a.ID, expiresIn(2*time.Hour))
	f.key(a.ID, never)
	f.key(a.ID, expiresIn(day+time.Millisecond))
	first, _ := f.key(other.ID, expiresIn(time.Hour), func(k *NewKey) { k.Origin = policy.OriginAPI })
	suspended, _ := f.key(a.ID, expiresIn(3*time.Hour))
	deleted, _ := f.key(a.ID, expiresIn(time.Hour))
	f.key(closed.ID, expiresIn(time.Hour))
	issuer, _ := f.key(a.ID, never, func(k *NewKey) { k.Issuable = true })
	child, _ := f.child(issuer, never)
	early, _ := f.child(issuer, expiresIn(time.Minute))
	f.child(issuer, never, func(k *NewKey) { k.OutlivesIssuer = true })
	for _, err := range []error{
		second(f.SuspendKey(t.Context(), start, operator, suspended.ID, "")),
		second(f.DeleteKey(t.Context(), start, operator, deleted.ID)),
		second(f.CloseAccount(t.Context(), start, operator, closed.ID)),
		second(f.RotateKey(t.Context(), start, operator, issuer.ID, 4*time.Hour)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	after := func(k policy.Key, d time.Duration) string { return fmt.Sprintf("%s after %d", k.ID, d.Milliseconds()) }
	ofOther := after(first, time.Hour)
	want := []string{
		after(early, time.Minute), ofOther, after(soon, 2*time.Hour), after(suspended, 3*time.Hour), after(issuer, 4*time.Hour), after(child, 4*time.Hour),
	}
	list := EndingList{After: start, By: start.Add(day)}
	if diff := cmp.Diff(want, f.ending(list)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list.AccountID = a.ID
	if diff := cmp.Diff(slices.DeleteFunc(slices.Clone(want), func(name string) bool { return name == ofOther }), f.ending(list)); diff != "" {
		t.Errorf("of one account (-want +got):\n%s", diff)
	}
	// The first instant is not in the span, and the last one is.
	if got := f.ending(EndingList{After: start.Add(time.Minute), By: start.Add(time.Hour)}); !slices.Equal(got, []string{ofOther}) {
		t.Errorf("between two ends: %v", got)
	}
}

// A key is in the list at the first instant at which its status is an end, and every page has
// the next keys.
func TestEndingKeys_EndAsThePolicySays(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	r := rawRows{T: t, db: rawDB(t, path)}
	ended := func(k *policy.Key, at policy.Time) bool {
		return !slices.Contains([]string{"active", "suspended"}, k.Status(at))
	}
	rapid.Check(t, func(t *rapid.T) {
		mustExec(r.T, r.db, `DELETE FROM api_keys`)
		accounts := []string{f.account().ID, f.account().ID}
		at := func(columns map[string]any, names ...string) map[string]any {
			for _, name := range names {
				if rapid.IntRange(0, 2).Draw(t, name) == 0 {
					columns[name] = start + policy.Time(rapid.IntRange(-2, 6).Draw(t, name+" at"))
				}
			}
			return columns
		}
		var ids []string
		issuer := map[string]string{}
		for range rapid.IntRange(1, 8).Draw(t, "keys") {
			account := rapid.SampledFrom(accounts).Draw(t, "account")
			columns := at(map[string]any{"origin": rapid.SampledFrom([]string{"initial", "console", "api"}).Draw(t, "origin")},
				"expires_at", "deleted_at", "revoked_at", "revoke_from", "children_revoked_at")
			if by := issuer[account]; by != "" && rapid.Bool().Draw(t, "issued") {
				columns["issuer_id"], columns["outlives_issuer"] = by, rapid.Bool().Draw(t, "outlives")
			}
			id := r.key(account, start-10, columns)
			ids, issuer[account] = append(ids, id), id
		}
		list := EndingList{After: start + policy.Time(rapid.IntRange(-3, 3).Draw(t, "after"))}
		list.By = list.After + policy.Time(rapid.IntRange(0, 5).Draw(t, "span"))
		list.AccountID = rapid.SampledFrom(append(accounts, "")).Draw(t, "whose")
		var want []string
		for now := list.After + 1; now <= list.By; now++ {
			for _, id := range ids { // in the order of their rows
				k, err := f.Key(r.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				if (list.AccountID == "" || list.AccountID == k.AccountID) && !ended(&k, now-1) && ended(&k, now) {
					want = append(want, fmt.Sprintf("%s after %d", id, now-start))
				}
			}
		}
		var got []string
		for list.Limit = rapid.IntRange(1, 3).Draw(t, "limit"); ; {
			page, next, err := f.EndingKeys(r.Context(), list)
			if err != nil || len(page) > list.Limit {
				t.Fatalf("%d keys, %v", len(page), err)
			}
			got = append(got, namesOf(page, endName)...)
			if list.Cursor = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestEndingKeys_RefusesCursorsOfOthers(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	for _, cursor := range []string{"x", "f", "f1", "f1.", "f1.eA", "k1.MQ", "f1.MQ.MQ"} {
		if _, _, err := f.EndingKeys(t.Context(), EndingList{After: start, By: start + 1, Cursor: cursor}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", cursor, err)
		}
	}
}

func TestEndingKeys_ReadsNoMoreThanAPage(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a query plan of SQLite")
	f := openStore(t, newPath(t))
	for _, list := range []EndingList{{After: 1, By: 2, Limit: 9}, {AccountID: "acc_1", After: 1, By: 2, Limit: 9}, {After: 1, By: 2, Limit: 9, Cursor: listPosition{1, []string{"1"}}.cursor(endingCursor)}} {
		for _, part := range endingParts(&list) {
			text, err := part.build(`SELECT k.id FROM ` + keyTables)
			if err != nil {
				t.Fatal(err)
			}
			plan := f.planOf(text, part.args...)
			if part.order[0] == issuersEnd && !strings.Contains(plan, "api_keys_revoke_from") {
				t.Errorf("%+v:\n%s", list, plan)
			}
			if strings.Contains(plan, "SCAN") || part.order[0] == ownEnd && strings.Contains(plan, "TEMP B-TREE") {
				t.Errorf("%+v:\n%s", list, plan)
			}
		}
	}
	if plan := f.planOf(usageOfKeys, make([]any, 1+2*keysAtOnce)...); strings.Contains(plan, "SCAN u") || strings.Contains(plan, "SCAN usage_scopes") {
		t.Errorf("the usage is read as\n%s", plan)
	}
	if plan := f.planOf(unfinishedJobs, "key_1", 10); strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("jobs are read as\n%s", plan)
	}
}

func TestUsageSince_IsThatOfEachKey(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	a := f.account()
	want := make(map[string]UsageCounts)
	var keys []policy.Identity
	for i := range keysAtOnce + 3 {
		k, _ := f.key(a.ID)
		keys = append(keys, policy.Identity{KeyID: k.ID, AccountID: k.AccountID})
		if i%2 == 0 {
			continue
		}
		c := UsageCounts{Requests: int64(i), Refused: 1, AudioBytes: 7, AudioTime: time.Second, StreamTime: time.Minute}
		f.CountUsage(start, aUse(k, policy.Recognize, policy.Allowed), c)
		f.CountUsage(start.Add(-time.Hour), aUse(k, policy.ReadJob, policy.KeyExpired), c)
		f.CountUsage(start.Add(-8*day), aUse(k, policy.ReadJob, policy.KeyExpired), c)
		sum := c
		sum.add(c)
		want[k.ID] = sum
	}
	f.usage.flush(t.Context())
	if err := f.foldNow(t.Context()); err != nil { // the counts of many keys are in the journal
		t.Fatal(err)
	}
	got, err := f.UsageSince(t.Context(), start.Add(-7*day), keys)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestLiveChildren_AreCountedUpToTheMost(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	issuer, _ := f.key(f.account().ID, func(k *NewKey) { k.Issuable = true })
	one, _ := f.child(issuer)
	two, _ := f.child(issuer)
	revoked, _ := f.child(issuer)
	if _, err := f.SuspendKey(t.Context(), start, operator, two.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int][]string{1: {one.ID}, 2: {one.ID, two.ID}, 9: {one.ID, two.ID}} {
		if got, err := f.LiveChildren(t.Context(), issuer.ID, start, most); err != nil || !slices.Equal(got, want) {
			t.Errorf("%d at most: %v, %v; want %v", most, got, err, want)
		}
	}
	if got, err := f.LiveChildren(t.Context(), issuer.ID, start.Add(day), 9); err != nil || len(got) != 0 {
		t.Errorf("when they have expired: %v, %v", got, err)
	}
}

func TestUnfinishedJobs_AreThoseAmongTheNewest(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	k, _ := f.key(f.account().ID)
	for _, id := range []string{"one", "two", "three", "four"} {
		f.job(k, id)
	}
	if err := f.SetJobState(t.Context(), "amivoice", "three", policy.JobCompleted, start+1); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int][]string{9: {"four", "two", "one"}, 3: {"four", "two"}} {
		jobs, err := f.UnfinishedJobs(t.Context(), k.ID, most)
		if got := namesOf(jobs, func(j policy.Job) string { return j.ID }); err != nil || !slices.Equal(got, want) {
			t.Errorf("of %d: %v, %v; want %v", most, got, err, want)
		}
	}
}
