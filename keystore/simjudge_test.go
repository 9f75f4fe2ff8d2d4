package keystore

import (
	"slices"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// simAnswer is what a gateway has answered about a key.
type simAnswer struct {
	digest     digest
	begin, end time.Time // of the lookup
	floor      simFloor  // before the lookup
	what       string
	fits       func(*policy.Key) bool // reports whether it is the answer for a key; nil is an unknown key
}

// judgeAge checks that the database has been in a state with this answer, and not too long ago.
func (sim *simulation) judgeAge(g *simGateway, number int, a *simAnswer) {
	stale := max(sim.staleness, lookupLimit)
	states, first := sim.server.statesBetween(a.begin.Add(-stale), a.end)
	for i, state := range slices.Backward(states) {
		var key *policy.Key
		if k, ok := state.keys[a.digest]; ok {
			key = &k
		}
		if !a.fits(key) {
			continue
		}
		if first+i < a.floor.of(key == nil) {
			sim.fail("gateway %d, key %d: %s, which was so before the gateway's own change", g.number, number, a.what)
			return
		}
		if i == len(states)-1 {
			return
		}
		changed := states[i+1].at
		if age := a.begin.Sub(changed); age > sim.bound(g, first+i+1, changed, stale) {
			sim.fail("gateway %d, key %d: %s, %s after a change to something else; the bound is %s",
				g.number, number, a.what, age, sim.bound(g, first+i+1, changed, stale))
		}
		return
	}
	sim.fail("gateway %d, key %d: %s, and the database was in no such state within the last %s", g.number, number, a.what, stale)
}

// bound is how long after a change a gateway may answer by the state before it.
func (sim *simulation) bound(g *simGateway, state int, changed time.Time, stale time.Duration) time.Duration {
	g.mu.Lock()
	heard := g.deaf || g.heard[state]
	g.mu.Unlock()
	switch {
	case g.troubled(changed.Add(-simSettle), changed.Add(simPolled)):
		return stale
	case !heard:
		return min(simPolled, stale)
	}
	return simBound
}
