package keystore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/speechgate/speechgate/policy"
)

// Pages of each size have each key of the list once, and the same sums as the list of the busiest keys.
func TestKeyUsage_PagesHaveEachKeyOnce(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	late := start.Add(9 * day)
	for i := range 7 {
		k := policy.Key{ID: fmt.Sprintf("key_%d", 7-i), AccountID: fmt.Sprintf("acc_%d", i%2)}
		f.CountUsage(start, aUse(k, policy.CreateJob, policy.Allowed), UsageCounts{Requests: int64(i + 1), AudioTime: time.Second})
		f.CountUsage(start, aUse(k, policy.ReadJob, policy.KeyExpired), UsageCounts{Requests: 1, Refused: 1})
		if i > 4 {
			f.CountUsage(late, aUse(k, policy.ReadJob, policy.Allowed), UsageCounts{Requests: 2})
		}
	}
	f.usage.flush(t.Context())
	if _, err := f.rollUpUsage(t.Context(), late); err != nil { // so that both tables have rows
		t.Fatal(err)
	}
	for _, list := range []KeyUsageList{{}, {AccountID: "acc_1"}, {Since: start}, {Since: late}, {AccountID: "acc_0", Since: late}, {AccountID: "acc_none"}} {
		want := f.usageOf(UsageList{Group: UsageByKey, AccountID: list.AccountID, Since: list.Since})
		slices.SortFunc(want, func(a, b Usage) int {
			return strings.Compare(a.AccountID+a.KeyID, b.AccountID+b.KeyID)
		})
		for list.Limit = range 9 {
			var got []Usage
			for list.Cursor = ""; ; {
				page, next, err := f.KeyUsage(t.Context(), list)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page...)
				if list.Cursor = next; next == "" {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", list, diff)
			}
		}
	}
	for _, wrong := range []KeyUsageList{{Limit: -1}, {Cursor: "k0.YQ.Yg"}, {Cursor: "u0.YQ"}, {Cursor: "u"}} {
		if _, _, err := f.KeyUsage(t.Context(), wrong); err == nil {
			t.Errorf("%+v is no error", wrong)
		}
	}
}

// The busiest keys are those of the whole list, also if accounts have more requests than keys.
func TestUsage_BusiestKeys(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	for i := range 30 {
		k := policy.Key{ID: fmt.Sprintf("key_%d", i), AccountID: fmt.Sprintf("acc_%d", i/2)}
		for j, op := range []policy.Operation{policy.CreateJob, policy.ReadJob} {
			f.CountUsage(start, aUse(k, op, policy.Allowed), UsageCounts{Requests: int64(1 + i*7%30 + j), AudioBytes: int64(i)})
		}
	}
	f.usage.flush(t.Context())
	if err := f.foldNow(t.Context()); err != nil { // the counts of many keys are in the journal
		t.Fatal(err)
	}
	mustExec(t, rawDB(t, path), `DELETE FROM usage_scopes WHERE key_id = 'key_17'`) // as if it was pruned
	for _, list := range []UsageList{{}, {Since: start}, {AccountID: "acc_3"}, {AccountID: "acc_3", Since: start}, {AccountID: "acc_none"}} {
		list.Group, list.Limit = UsageByKey, 0
		all := f.usageOf(list)
		if list.AccountID == "" && len(all) != 29 {
			t.Fatalf("%d keys", len(all))
		}
		for _, list.Limit = range []int{1, 2, 7, 28, 29, 30} {
			if diff := cmp.Diff(all[:min(list.Limit, len(all))], f.usageOf(list), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", list, diff)
			}
		}
	}
}
