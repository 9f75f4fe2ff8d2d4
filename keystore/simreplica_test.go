package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"
)

// simEdge is which of the gateways of a simulation have a replica: one in so many.
const simEdge = 3

// simHeard is how long before an instant without trouble a gateway has heard from the server at the latest, if its
// notifications are lost, and some messages more.
const simHeard = simPolled + 250*time.Millisecond

// simWritten is how much earlier the last word can be that a killed process has left in its replica: it writes there every
// replicaEvery, if it hears the server then.
const simWritten = replicaEvery

// edge reports whether the gateway has a replica.
func (g *simGateway) edge() bool { return g.number%simEdge == 1 }

// edges returns the gateways that have a replica.
func (sim *simulation) edges() []*simGateway {
	return slices.DeleteFunc(slices.Clone(sim.gateways), func(g *simGateway) bool { return !g.edge() })
}

// replica returns the directory of the gateway's replica.
func (g *simGateway) replica() string {
	return filepath.Join(g.sim.server.dir, fmt.Sprint("replica-", g.number))
}

// opened notes that a process of the gateway has started. If it has started with its replica, the last word from the
// server is that of the process before, or one that was a little earlier.
func (g *simGateway) opened(s *Store) {
	g.fromReplica.Store(s.ServesFromReplica())
	if !s.ServesFromReplica() {
		return
	}
	g.sim.note("gateway %d starts with its replica", g.number)
	word := g.word.Load()
	g.word.Store(&simSpan{word.from.Add(-simSettle), word.to})
	g.sim.mu.Lock()
	defer g.sim.mu.Unlock()
	g.sim.edgeStarts++
}

// end ends the process of the gateway. The file of the replica is then as it was when the process was killed.
func (g *simGateway) end(killed bool) error {
	s := g.store.Swap(nil)
	if s == nil {
		return nil
	}
	file := filepath.Join(g.replica(), "replica.db")
	if _, err := os.Stat(file); err != nil || !killed {
		return s.Close()
	}
	db, err := sql.Open("sqlite3", "file:"+file+"?mode=ro")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(context.Background(), `VACUUM INTO $1`, file+"-killed")
	if err = errors.Join(err, db.Close(), s.Close(), os.Chmod(file+"-killed", 0o600)); err != nil {
		return err
	}
	_, _ = os.Remove(file+"-wal"), os.Remove(file+"-shm") // closing has removed them
	return os.Rename(file+"-killed", file)
}

// judgeAway checks an answer that the store is unavailable, of a gateway with a replica: the gateway must
// know a key if it has heard from the server within Config.MaxStaleness, and nothing has happened to the key since.
func (sim *simulation) judgeAway(g *simGateway, number int, d digest, end time.Time) {
	heard := end.Add(simHeard - sim.staleness)
	if g.fromReplica.Load() {
		heard = heard.Add(simWritten)
	}
	well := heard.Add(-simSettle - time.Second)
	if heard.After(end) || len(g.leaps) > 0 || g.troubled(well, heard) || sim.refilled(g, well, end) {
		return
	}
	g.mu.Lock()
	tried := g.tried[d]
	g.mu.Unlock()
	if !tried.Before(well) {
		return // whether the write was committed can be unknown
	}
	states, _ := sim.server.statesBetween(heard.Add(-2*time.Second), end)
	before, ok := states[0].keys[d]
	for _, state := range states {
		if now := state.keys[d]; !ok || !reflect.DeepEqual(now, before) {
			return
		}
	}
	sim.fail("gateway %d, key %d: unavailable, and its replica has the key", g.number, number)
}

// refilled reports whether the replica of a gateway was filled between two instants: at the begin, or again because the feed
// was pruned or the server was reached again after a standby had taken its place. The pauses of a filling are longer than
// what the queries have taken: if these had to wait for the network, nobody knows when it is full.
func (sim *simulation) refilled(g *simGateway, from, to time.Time) bool {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	for _, s := range sim.refills {
		if slices.ContainsFunc(slices.Concat(g.slow, g.silent), func(wait simSpan) bool { return s.from.Before(wait.to) && wait.from.Before(s.to) }) {
			s.to = to.Add(1)
		}
		if !s.from.After(to) && from.Before(s.to) {
			return true
		}
	}
	return false
}

// pruning notes that a gateway prunes the feed, until the returned function is called.
func (sim *simulation) pruning() (done func()) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	n := len(sim.refills)
	sim.refills = append(sim.refills, simSpan{time.Now(), time.Now().Add(time.Hour)})
	return func() {
		sim.mu.Lock()
		defer sim.mu.Unlock()
		sim.refills[n].to = time.Now().Add(time.Second) // the others find it out
	}
}
