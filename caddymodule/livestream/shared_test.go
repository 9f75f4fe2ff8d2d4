package livestream

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// If each gateway is told at once what the others have, no limit is exceeded, and what is counted is
// what runs at all of them.
func TestR21_GatewaysCountStreamsTogether(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const gateways, perKey, perAccount = 3, 2, 3
		type running struct {
			at    int
			id    string
			owner policy.Identity
		}
		all := make([]*Registry, gateways)
		told := make([]map[string]int, gateways)
		for i := range all {
			all[i], told[i] = NewRegistry(), make(map[string]int)
			all[i].Share(func() {})
		}
		var streams []running
		for n := range rapid.IntRange(1, 60).Draw(t, "events") {
			if len(streams) > 0 && rapid.IntRange(0, 2).Draw(t, "event") == 0 {
				all[streams[0].at].End(streams[0].id)
				streams = streams[1:]
			} else {
				key := rapid.IntRange(1, 4).Draw(t, "key")
				s := running{rapid.IntRange(0, gateways-1).Draw(t, "gateway"), fmt.Sprint("str_", n), policy.Identity{KeyID: fmt.Sprint("key_", key), AccountID: fmt.Sprint("acc_", key%2)}}
				ofKey, ofAccount := 0, 0
				for _, other := range streams {
					if other.owner.KeyID == s.owner.KeyID {
						ofKey++
					}
					if other.owner.AccountID == s.owner.AccountID {
						ofAccount++
					}
				}
				if k, a := all[s.at].Count(s.owner); k != ofKey || a != ofAccount {
					t.Fatalf("%d and %d streams are counted, want %d and %d", k, a, ofKey, ofAccount)
				}
				want := Accepted
				if ofKey >= perKey {
					want = KeyFull
				} else if ofAccount >= perAccount {
					want = AccountFull
				}
				all[s.at].Begin(Snapshot{ID: s.id}, 1000, func() bool { return true })
				if got := all[s.at].Accept(s.id, s.owner, 1, perKey, perAccount); got != want {
					t.Fatalf("with %d and %d streams, another one gets %d, want %d", ofKey, ofAccount, got, want)
				}
				if want == Accepted {
					streams = append(streams, s)
				} else {
					all[s.at].End(s.id)
				}
			}
			restate := rapid.Bool().Draw(t, "all")
			for i, from := range all {
				for _, c := range from.Changes(restate) {
					before := told[i][c.ID]
					told[i][c.ID] = c.Now
					c.Now -= before
					for j, to := range all {
						if i != j {
							to.Add(1, c)
						}
					}
				}
			}
		}
		for _, s := range streams {
			all[s.at].End(s.id)
		}
		for i, r := range all {
			for _, c := range r.Changes(false) {
				if c.Now != 0 {
					t.Fatalf("gateway %d tells of %d streams of %s after all have ended", i, c.Now, c.ID)
				}
			}
			r.Share(nil)
			if len(r.changed) > 0 || r.tell != nil {
				t.Fatal("a registry notes changes after the end of sharing")
			}
		}
	})
}
