package headbudget

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// For any order of events, the memory stays within its bound, and everything is given back
// in the end.
func TestR21_AMemoryIsNeverHeldBeyondItsBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := NewMemory()
		m.expiring = true // the test calls Expire itself
		budget := &Budget{Memory: m, Max: 100}
		var all []*Reservation
		cuts := make(map[*Reservation]int)
		held := make(map[*Reservation]int) // as the holder knows it
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(all) == 0 || rapid.IntRange(0, 2).Draw(t, "new") == 0 {
				var r *Reservation
				r = budget.NewReservation(time.Now(), func() { cuts[r]++ })
				if rapid.Bool().Draw(t, "old") {
					r.begun = r.begun.Add(-time.Duration(rapid.IntRange(2, 20).Draw(t, "age")) * time.Second)
				}
				all = append(all, r)
			}
			r := rapid.SampledFrom(all).Draw(t, "which")
			switch n := rapid.IntRange(0, 60).Draw(t, "n"); rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				m.Expire(time.Now().Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "later")) * time.Second))
			case 1:
				r.Release(held[r])
				held[r] = 0
			default:
				if ok := r.Reserve(n); ok {
					held[r] += n
				} else if r.Lost() == "" && m.held+int64(n) <= 100 {
					t.Fatalf("%d bytes are refused, and %d of 100 are held", n, m.held)
				}
			}
			var sum int64
			for e := m.holders.Front(); e != nil; e = e.Next() {
				sum += holderOf(e).held
			}
			if m.held != sum || m.held < 0 || m.held > 100 {
				t.Fatalf("%d bytes are held; the holders hold %d", m.held, sum)
			}
			for _, r := range all {
				if lost := r.Lost() != ""; lost != (cuts[r] == 1) || lost && r.held != 0 || !lost && r.held != int64(held[r]) {
					t.Fatalf("a reservation of %d bytes holds %d, was cut %d times, and is lost: %v", held[r], r.held, cuts[r], lost)
				}
			}
		}
		for _, r := range all {
			r.Release(held[r])
		}
		if m.held != 0 || m.holders.Len() != 0 || m.Expire(time.Now()) {
			t.Fatalf("in the end %d bytes are held by %d", m.held, m.holders.Len())
		}
	})
}
