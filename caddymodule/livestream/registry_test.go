package livestream

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// For any order of events, the counts are those of the listed streams, no limit is exceeded,
// and nothing is left when all streams have ended.
func TestR21_TheRegistryCountsEachStreamOnce(t *testing.T) {
	t.Parallel()
	clients := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), {}}
	rapid.Check(t, func(t *rapid.T) {
		const maxWaiting, perKey, perAccount = 2, 2, 3
		r := NewRegistry()
		begun := 0
		var ids []string
		for range rapid.IntRange(1, 50).Draw(t, "events") {
			switch rapid.IntRange(0, 2).Draw(t, "event") {
			case 0:
				begun++
				s := Snapshot{ID: fmt.Sprint("str_", begun), Client: rapid.SampledFrom(clients).Draw(t, "client")}
				waiting := 0
				for _, other := range r.List() {
					if other.Owner == (policy.Identity{}) && policy.NetworkOf(other.Client) == policy.NetworkOf(s.Client) {
						waiting++
					}
				}
				if added := r.Begin(s, maxWaiting, func() bool { return true }); added != (waiting < maxWaiting) {
					t.Fatalf("%d streams of the network wait, and another is added: %t", waiting, added)
				}
				ids = append(ids, s.ID)
			case 1:
				if len(ids) == 0 {
					continue
				}
				key := rapid.IntRange(1, 4).Draw(t, "key")
				owner := policy.Identity{KeyID: fmt.Sprint("key_", key), AccountID: fmt.Sprint("acc_", key%2)}
				r.Accept(rapid.SampledFrom(ids).Draw(t, "stream"), owner, 1, perKey, perAccount)
			case 2:
				if len(ids) > 0 {
					r.End(rapid.SampledFrom(ids).Draw(t, "stream"))
				}
			}
			keys, accounts := make(map[string]int), make(map[string]int)
			for _, s := range r.List() {
				if s.Owner != (policy.Identity{}) {
					keys[s.Owner.KeyID]++
					accounts[s.Owner.AccountID]++
				}
			}
			for key, n := range keys {
				if n > perKey || r.byKey[key] != n {
					t.Fatalf("%s has %d streams, and %d are counted", key, n, r.byKey[key])
				}
			}
			for account, n := range accounts {
				if n > perAccount || r.byAccount[account] != n {
					t.Fatalf("%s has %d streams, and %d are counted", account, n, r.byAccount[account])
				}
			}
			for key := 1; key <= 4; key++ {
				owner := policy.Identity{KeyID: fmt.Sprint("key_", key), AccountID: fmt.Sprint("acc_", key%2)}
				ofKey, ofAccount := r.Count(owner)
				want := Accepted
				if keys[owner.KeyID] >= perKey {
					want = KeyFull
				} else if accounts[owner.AccountID] >= perAccount {
					want = AccountFull
				}
				if got := r.Check(owner, perKey, perAccount); got != want || ofKey != keys[owner.KeyID] || ofAccount != accounts[owner.AccountID] {
					t.Fatalf("%+v: %d and %d streams are counted, and another one gets %d, want %d", owner, ofKey, ofAccount, got, want)
				}
				if r.Check(owner, 0, 0) != Accepted {
					t.Fatal("there is a limit although none is set")
				}
			}
		}
		for _, id := range ids {
			r.End(id)
		}
		if len(r.streams)+len(r.byKey)+len(r.byAccount)+len(r.waiting) > 0 {
			t.Fatalf("after all streams have ended, the registry has %+v", r)
		}
	})
}

func TestR21_StreamsAreListedAndCutOldestFirst(t *testing.T) {
	t.Parallel()
	r := NewRegistry()
	var cut []string
	for _, id := range []string{"c", "a", "b"} {
		ended := id == "a" // a stream that is just ending counts as not cut
		r.Begin(Snapshot{ID: id}, 10, func() bool {
			cut = append(cut, id)
			return !ended
		})
	}
	var listed []string
	for _, s := range r.List() {
		listed = append(listed, s.ID)
	}
	if want := []string{"c", "a", "b"}; !slices.Equal(listed, want) {
		t.Errorf("listed %v, want %v", listed, want)
	}
	if n := r.CutIf(func(s *Snapshot) bool { return s.ID != "b" }); n != 1 || !slices.Equal(cut, []string{"c", "a"}) {
		t.Errorf("%d were cut, of %v", n, cut)
	}
}
