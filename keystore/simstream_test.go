package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// stream is a live stream of a gateway: it runs until its key has ended, and then with another key. It
// reads the record again when the watcher says so, as package gate does.
func (sim *simulation) stream(g *simGateway) {
	rng := sim.newRand(fmt.Sprint("stream", g.number))
	content := simContent()
	for !sim.over() {
		time.Sleep(time.Duration(rng.ExpFloat64() * float64(300*time.Millisecond)))
		s := g.store.Load()
		if s == nil {
			continue
		}
		n := rng.IntN(len(content.secrets))
		r, err := s.FindKey(context.Background(), content.secrets[n])
		if err != nil || simEnded(&r) {
			continue
		}
		sim.watch(g, s, n, &r)
	}
}

// simEnded reports whether a stream must be cut: the key has ended, and not only expired.
func simEnded(r *Record) bool {
	k := r.Key()
	return endedKey(&k)
}

func endedKey(k *policy.Key) bool {
	return !k.AccountOpen || k.AccountSuspended || !k.RevokedAt.IsZero() || !k.SuspendedAt.IsZero() || !k.DeletedAt.IsZero()
}

// watch runs one live stream.
func (sim *simulation) watch(g *simGateway, s *Store, number int, r *Record) {
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // the first check
	cancel := s.Watch(r, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	defer cancel()
	begun := time.Now()
	end := time.NewTimer(time.Until(sim.begun.Add(sim.length)))
	defer end.Stop()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	var failing time.Time // since when the record cannot be read; the zero time if it can
	for {
		select {
		case <-end.C:
			if g.store.Load() == s { // the process has not ended meanwhile
				sim.judgeStream(g, r.digest(), begun, failing, false)
				sim.judgeSilence(g, number, false)
			}
			return
		case <-again.C:
		case <-changed:
		}
		if g.store.Load() != s {
			return // the process has ended
		}
		if silence := s.Silence(); silence > 0 {
			left := sim.streamStaleness() - silence
			if !failing.IsZero() {
				left = min(left, sim.streamStaleness()-time.Since(failing))
			}
			if left <= 0 {
				if silence >= sim.streamStaleness() {
					sim.judgeSilence(g, number, true)
				}
				sim.judgeStream(g, r.digest(), begun, failing, true)
				return
			}
			again.Reset(left)
			continue
		}
		floor, asked := g.floorOf(r.digest()), time.Now()
		fresh, err := s.Reread(context.Background(), r)
		if err != nil && !isNotFound(err) {
			if failing.IsZero() {
				failing = time.Now()
			}
			if !g.troubled(asked.Add(-simSettle), time.Now()) {
				sim.fail("gateway %d, key %d: the record of a stream cannot be read, although nothing is wrong: %v", g.number, number, err)
			}
			if time.Since(failing) >= sim.streamStaleness() {
				sim.judgeStream(g, r.digest(), begun, failing, true)
				return
			}
			again.Reset(200 * time.Millisecond)
			continue
		}
		failing = time.Time{}
		ended := err != nil || simEnded(&fresh)
		sim.judgeAge(g, number, streamAnswer(r, asked, floor, ended))
		if ended {
			sim.judgeStream(g, r.digest(), begun, time.Time{}, true)
			return
		}
	}
}

// streamAnswer is the answer to a stream that asks whether it may go on.
func streamAnswer(r *Record, asked time.Time, floor simFloor, ended bool) *simAnswer {
	what := "its stream may go on"
	if ended {
		what = "its stream is cut"
	}
	id, _ := r.IDs()
	return &simAnswer{r.digest(), asked, time.Now(), floor, what, func(k *policy.Key) bool {
		return (k == nil || k.ID != id || endedKey(k)) == ended
	}}
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// streamStaleness is how long a stream goes on without word from the database.
func (sim *simulation) streamStaleness() time.Duration { return sim.staleness + time.Second }

// judgeSilence checks a stream that is cut because the store is silent, or one that goes on. It is cut only if the
// gateway has had no word from the server for streamStaleness, by the clock of the gateway or by the other one. The
// follower notices the silence within simSettle.
func (sim *simulation) judgeSilence(g *simGateway, number int, cut bool) {
	now, word := time.Now(), g.word.Load()
	if silence := now.Sub(word.to); silence > sim.streamStaleness()+simSettle {
		sim.fail("gateway %d, key %d: a stream went on without word from the server for %s; cut: %t", g.number, number, silence, cut)
	}
	if !cut {
		return
	}
	silence := now.Sub(word.from) + time.Millisecond // the clock counts milliseconds
	for _, leap := range g.leaps {
		if word.from.Before(leap.from) && !now.Before(leap.from) {
			silence += leap.to.Sub(leap.from)
		}
	}
	if silence < sim.streamStaleness() {
		sim.fail("gateway %d, key %d: a stream is cut because the store is silent, and the server was heard %s ago", g.number, number, silence)
	}
}

// judgeStream checks that a stream has not gone on for too long after its key had ended. It looks at the
// last time for which the key had ended without a break. What a stream is told when it asks is an answer, see judgeAge.
// failing is since when the record cannot be read, although the gateway has heard of a change: the zero time if it can.
func (sim *simulation) judgeStream(g *simGateway, d digest, begun, failing time.Time, cut bool) {
	now := time.Now()
	states, first := sim.server.statesBetween(begun, now)
	ended := len(states)
	for ended > 0 {
		k, ok := states[ended-1].keys[d]
		if ok && !endedKey(&k) {
			break
		}
		ended--
	}
	if ended == len(states) {
		return // a cut by a state that a failover has lost, or by a key that was resumed
	}
	from := states[ended].at
	if from.Before(begun) {
		from = begun
	}
	by := from.Add(sim.bound(g, first+ended, from, max(sim.staleness, lookupLimit)))
	for _, s := range sim.troublesOf(g) {
		if s.from.Before(by) && from.Before(s.to.Add(simSettle)) && by.Before(s.to.Add(simSettle)) {
			by = s.to.Add(simSettle)
		}
	}
	// Without word from the database, it is cut after streamStaleness, or when the follower has noticed. A word of a change
	// lets it go on for as long again, if the record cannot be read then.
	word := from
	if failing.After(word) {
		word = failing
	}
	if silent := word.Add(sim.streamStaleness() + simSettle); silent.Before(by) {
		by = silent
	}
	if now.After(by) {
		sim.fail("gateway %d: a stream went on for %s after its key had ended; cut: %t", g.number, now.Sub(from), cut)
	}
}
