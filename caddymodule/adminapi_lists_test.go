package caddymodule_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/keystore"
	"github.com/speechgate/speechgate/policy"
)

func TestAdminAPI_CursorsGoThroughAList(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	c := newAdminClient(t)
	account := g.newAccount("Other")
	var want, got []string
	for range 7 {
		key, _ := g.issue(keystore.NewKey{AccountID: account.ID})
		want = append(want, key.ID)
	}
	parts := 0
	for target := "keys?limit=3&account_id=" + account.ID; target != ""; parts++ {
		part := c.object(http.StatusOK, http.MethodGet, target, "")
		for _, item := range part["items"].([]any) { //nolint:forcetypeassert // or it panics
			got = append(got, text(item.(map[string]any)["key_id"])) //nolint:forcetypeassert // or it panics
		}
		target = ""
		if next, ok := part["next"].(string); ok {
			target = "keys?limit=3&account_id=" + account.ID + "&cursor=" + next
		}
	}
	slices.Sort(got) // keys of one millisecond are in the order of their IDs
	slices.Sort(want)
	if parts != 3 || !slices.Equal(got, want) {
		t.Errorf("%d parts with the keys %v, want 3 with %v", parts, got, want)
	}
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodGet, "keys?cursor=x", ""); p.Field != "cursor" {
		t.Errorf("a wrong cursor: %+v", p)
	}
}

// Each key is on one part of the list of usage, also while others are counted.
func TestAdminAPI_ListsTheUsageOfEachKey(t *testing.T) {
	g := newGateway(t, "upstream_key "+backendKey)
	account := g.newAccount("Other")
	other := g.openStore()
	var want, got []string
	for range 5 {
		key, _ := g.issue(keystore.NewKey{AccountID: account.ID})
		want = append(want, key.ID)
		other.CountUsage(policy.At(time.Now()), &keystore.UsageOf{KeyID: key.ID, AccountID: account.ID}, keystore.UsageCounts{Requests: 1})
	}
	slices.Sort(want)
	if err := other.Close(); err != nil { // it writes what it has counted
		t.Fatal(err)
	}
	c := newAdminClient(t)
	var parts int
	for _, query := range []string{"", "&since=1d"} {
		got, parts = nil, 0
		for target := "usage/keys?limit=2&account_id=Other" + query; target != ""; parts++ {
			part := c.object(http.StatusOK, http.MethodGet, target, "")
			for _, item := range part["items"].([]any) { //nolint:forcetypeassert // or it panics
				u := item.(map[string]any) //nolint:forcetypeassert // or it panics
				if u["requests"] != 1.0 || u["account_id"] != account.ID {
					t.Errorf("the usage is %v", u)
				}
				got = append(got, text(u["key_id"]))
			}
			target = ""
			if next, ok := part["next"].(string); ok {
				target = "usage/keys?limit=2&account_id=Other" + query + "&cursor=" + next
			}
		}
		if parts != 3 || !slices.Equal(got, want) {
			t.Errorf("%q: %d parts with the keys %v, want 3 with %v", query, parts, got, want)
		}
	}
	if p := c.refused(http.StatusBadRequest, "invalid_field", http.MethodGet, "usage/keys?cursor=k1.a2V5", ""); p.Field != "cursor" {
		t.Errorf("a cursor of another list: %+v", p)
	}
}
