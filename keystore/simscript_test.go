package keystore

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// simEvent is what happens at an instant.
type simEvent struct {
	at  time.Time
	run func()
}

// script writes, from the seed, what will happen to the network, the server and the gateways. From
// simQuiet before its end, a simulation has no trouble.
func (sim *simulation) script() {
	rng := sim.newRand("script")
	last := sim.length - simQuiet
	instant := func() time.Time { return sim.begun.Add(time.Duration(rng.Int64N(int64(last)))) }
	span := func(longest time.Duration) simSpan {
		from := instant()
		to := from.Add(100*time.Millisecond + time.Duration(rng.Int64N(int64(longest))))
		if end := sim.begun.Add(last); to.After(end) {
			to = end
		}
		return simSpan{from, to}
	}
	sim.refills = append(sim.refills, simSpan{sim.begun, sim.begun.Add(2 * time.Second)})
	for range 3 + rng.IntN(6) {
		switch rng.IntN(9) {
		case 0, 1: // the server or a firewall resets connections
			s := span(2 * sim.staleness)
			for _, g := range sim.some(rng) {
				g.cut, g.troubles = append(g.cut, s), append(g.troubles, s)
				sim.at(s.from, g.kill)
			}
		case 2, 3: // the network drops all packets
			s := span(2 * sim.staleness)
			for _, g := range sim.some(rng) {
				g.silent, g.troubles = append(g.silent, s), append(g.troubles, s)
				if rng.IntN(2) == 0 {
					sim.at(s.to, g.kill) // the connections do not survive it
				}
			}
		case 4: // the network is slow
			s := span(sim.staleness)
			for _, g := range sim.some(rng) {
				g.slow, g.troubles = append(g.slow, s), append(g.troubles, s)
			}
		case 5: // the server restarts
			s := span(4 * time.Second)
			sim.down = append(sim.down, s)
			sim.at(s.from, func() { sim.server.stop("") })
		case 6: // a standby takes the server's place, and lacks the last transactions
			s, standby := span(4*time.Second), ""
			sim.down = append(sim.down, s)
			sim.at(s.from.Add(-time.Duration(rng.Int64N(int64(time.Second)))), func() {
				sim.note("this is the last state of the standby")
				standby = sim.server.copyToStandby()
			})
			sim.at(s.from, func() { sim.server.stop(standby) })
			sim.refills = append(sim.refills, simSpan{s.to, s.to.Add(time.Second)})
		case 7: // gateways restart
			for _, g := range sim.some(rng) {
				at, killed := instant(), rng.IntN(2) == 0
				sim.at(at, func() {
					sim.note("gateway %d restarts; killed: %t", g.number, killed)
					sim.restart(g, killed)
				})
				if rng.IntN(6) == 0 {
					g.back = at.Add(time.Duration(rng.Int64N(int64(2 * time.Second)))) // about when it is stopped
				}
			}
		case 8: // a site makes a change, loses its line, and then its power
			s, edges := span(2*sim.staleness), sim.edges()
			g, op := edges[rng.IntN(len(edges))], rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
			g.cut, g.troubles = append(g.cut, s), append(g.troubles, s)
			sim.at(s.from.Add(-time.Duration(rng.Int64N(int64(200*time.Millisecond)))), func() {
				sim.running.Go(func() { sim.changeOne(g, op) })
			})
			sim.at(s.from, g.kill)
			sim.at(s.from.Add(time.Duration(rng.Int64N(int64(200*time.Millisecond)))), func() {
				sim.note("gateway %d loses its power", g.number)
				sim.restart(g, true)
			})
		}
	}
	for _, g := range sim.gateways {
		if rng.IntN(8) == 0 {
			from := instant()
			g.leaps = append(g.leaps, simSpan{from, from.Add(time.Duration(rng.Int64N(int64(2 * time.Second))))})
		}
	}
	slices.SortStableFunc(sim.events, func(a, b simEvent) int { return a.at.Compare(b.at) })
}

// at adds an event to the script.
func (sim *simulation) at(t time.Time, run func()) { sim.events = append(sim.events, simEvent{t, run}) }

// some picks one gateway, some or all.
func (sim *simulation) some(rng *rand.Rand) []*simGateway {
	n := 1
	switch rng.IntN(3) {
	case 0:
		n = len(sim.gateways)
	case 1:
		n = 1 + rng.IntN(len(sim.gateways))
	}
	picked := slices.Clone(sim.gateways)
	rng.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
	return picked[:n]
}

// plan is the script as a text.
func (sim *simulation) plan() string {
	var b strings.Builder
	spans := func(what string, all []simSpan) {
		for _, s := range all {
			fmt.Fprintf(&b, "%s from %s to %s\n", what, s.from.Sub(sim.begun), s.to.Sub(sim.begun))
		}
	}
	spans("the server is down", sim.down)
	for _, g := range sim.gateways {
		fmt.Fprintf(&b, "gateway %d: deaf %t, clock %s ahead\n", g.number, g.deaf, g.skew)
		spans("cut", g.cut)
		spans("silent", g.silent)
		spans("slow", g.slow)
		spans("leap", g.leaps)
		if !g.back.IsZero() {
			fmt.Fprintln(&b, "set back at", g.back.Sub(sim.begun))
		}
	}
	for _, e := range sim.events {
		fmt.Fprintln(&b, "an event at", e.at.Sub(sim.begun))
	}
	return b.String()
}
