package keystore

import (
	"fmt"
	"slices"
	"testing"
)

// A page with a filter is full as long as keys match, however few of them match: nobody who asks for the
// revoked keys wants to ask again for each window.
func TestKeys_APageWithAFilterIsFull(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	accountID := f.account().ID
	var revoked []string
	for i := range 40 {
		key, _ := f.key(accountID)
		if i%9 == 4 {
			if _, err := f.RevokeKey(t.Context(), start, operator, key.ID, ""); err != nil {
				t.Fatal(err)
			}
			revoked = append(revoked, key.ID)
		}
	}
	slices.Sort(revoked) // all were issued at the same instant
	for _, list := range []KeyList{{}, {AccountID: accountID}, {NewestFirst: true}, {AccountID: accountID, NewestFirst: true}} {
		list.Status, list.Limit, list.windows = "revoked", 2, keyWindows{keys: 3}
		want := slices.Clone(revoked)
		if list.NewestFirst {
			slices.Reverse(want)
		}
		t.Run(fmt.Sprintf("account=%t,newest=%t", list.AccountID != "", list.NewestFirst), func(t *testing.T) {
			t.Parallel()
			for len(want) > 0 {
				page, next, err := f.Keys(t.Context(), list)
				if err != nil {
					t.Fatal(err)
				}
				if n := min(2, len(want)); len(page) != n || page[0].ID != want[0] || page[n-1].ID != want[n-1] {
					t.Fatalf("a page has %d keys, want the first of %v", len(page), want)
				}
				want = want[len(page):]
				if list.Cursor = next; next == "" && len(want) > 0 {
					t.Fatalf("the list ends before %v", want)
				}
			}
			if list.Cursor == "" {
				return
			}
			if page, next, err := f.Keys(t.Context(), list); err != nil || len(page) > 0 || next != "" {
				t.Errorf("the last page has %d keys and the cursor %q, %v", len(page), next, err)
			}
		})
	}
}
