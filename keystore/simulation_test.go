package keystore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/speechgate/speechgate/policy"
)

var ( //nolint:gochecknoglobals // flags of the test
	simSeed     = flag.Uint64("simulation.seed", 0, "run the simulation with this seed only")
	simSeeds    = flag.Int("simulation.seeds", 60, "run the simulation with so many seeds")
	simFirst    = flag.Uint64("simulation.first", 1, "the first of these seeds")
	simGateways = flag.Int("simulation.gateways", 12, "how many gateways a simulation has")
)

const (
	simLength = 20 * time.Second
	simQuiet  = 6 * time.Second // without trouble, at the end of a simulation

	// The bounds of a simulation. A message takes up to 10 ms in one direction.
	simBound  = 250 * time.Millisecond  // after a change, if nothing is wrong
	simPolled = 1250 * time.Millisecond // if its notification was lost: the feed is read each second
	simSettle = 3500 * time.Millisecond // after a trouble: the longest poll, the longest pause, and a poll that succeeds
)

// TestSimulation runs gateways in virtual time against a scripted database: delays, transactions of
// several gateways at the same time, commits whose answer is lost, notifications that are lost, late or doubled,
// partitions, restarts of the server, gateways that are stopped or killed, failovers that lose the last transactions,
// and clocks that are apart, leap or are set back. The follower of the change feed, the cache, the lookups, the watchers and the writes are the
// keystore's own.
//
// Each answer of each gateway must be the one that the database would have given within a bound before
// the lookup:
//
//   - simBound, if nothing is wrong with the gateway, its network and the server; simPolled, if the
//     notification was lost
//   - Config.MaxStaleness in all other cases, but not less than lookupLimit
//   - and the gateway itself never answers by a state older than its own last write of the key, also if it was
//     killed in between
//
// Some gateways have a replica: the bound of their answers is the same, also after a restart while the server is away,
// and they know the keys of their replicas, see judgeAway.
//
// A gateway may answer that the store is unavailable only while there is trouble, and simSettle after
// it. A live stream whose key has ended is cut within simBound, or simSettle after the trouble. It is cut
// within streamStaleness and simSettle in each trouble, however long. A stream is cut only because of an answer that the
// key has ended, which the rules above bind, or because the server was not heard for streamStaleness.
//
// A seed decides the script, the delays, what the clients ask, and the pauses after a failure. It does not
// decide in which order goroutines run that become ready at the same instant: so a seed that has failed can
// pass. Repeat it with -count.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *simSeed != 0 {
		simulate(t, *simSeed, *simGateways, false)
		return
	}
	var next atomic.Uint64
	var starts, answers atomic.Int64
	for worker := range 2 {
		t.Run(strconv.Itoa(worker), func(t *testing.T) {
			t.Parallel()
			for n := next.Add(1); n <= uint64(*simSeeds); n = next.Add(1) {
				seed := *simFirst + n - 1
				sim := simulate(t, seed, *simGateways, false)
				starts.Add(int64(sim.edgeStarts))
				answers.Add(int64(sim.edgeAnswers))
				if t.Failed() {
					next.Store(uint64(*simSeeds)) // the other one stops too
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		if *simSeeds >= 60 && !t.Failed() && (starts.Load() == 0 || answers.Load() == 0) {
			t.Errorf("%d gateways started with their replicas, and %d answers came while replicas were in use: want some of both", starts.Load(), answers.Load())
		}
	})
}

// The same seed has the same script.
func TestSimulation_ASeedHasOneScript(t *testing.T) {
	t.Parallel()
	first, again, other := simulate(t, 1, 8, false), simulate(t, 1, 8, false), simulate(t, 2, 8, false)
	if first.plan() != again.plan() {
		t.Errorf("two scripts of one seed differ:\n%s\n%s", first.plan(), again.plan())
	}
	if first.plan() == other.plan() {
		t.Error("two seeds have the same script")
	}
}

// simulation is one run.
type simulation struct {
	seed      uint64
	length    time.Duration
	staleness time.Duration
	slowness  time.Duration // the longest delay of a slow network
	unordered bool          // a defect: see simServer.hide

	begun    time.Time
	started  atomic.Bool
	server   *simServer
	gateways []*simGateway
	down     []simSpan // of the server
	events   []simEvent
	running  sync.WaitGroup

	mu       sync.Mutex
	answers  map[string]int // by their reasons
	faults   []string
	journal  []string // what has happened, if the simulation runs with one seed
	restarts map[*simGateway][]simSpan
	refills  []simSpan // in which replicas are filled, also for the first time

	edgeStarts, edgeAnswers int // of gateways with their replicas
}

// newRand returns a generator for a part of the simulation.
func (sim *simulation) newRand(part string) *rand.Rand {
	h := fnv.New64a()
	_, _ = io.WriteString(h, part)
	return rand.New(rand.NewPCG(sim.seed, h.Sum64()))
}

// simulate runs the simulation of a seed in virtual time, and reports what broke a rule.
func simulate(t *testing.T, seed uint64, gateways int, unordered bool) *simulation {
	t.Helper()
	simContent() // outside of the bubble
	dir := filepath.Join(t.TempDir(), fmt.Sprint(seed))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	sim := &simulation{seed: seed, length: simLength, unordered: unordered, answers: make(map[string]int), restarts: make(map[*simGateway][]simSpan)}
	var err error
	synctest.Test(t, func(t *testing.T) { err = sim.run(t.Context(), dir, gateways) })
	if err != nil {
		t.Error(err)
	}
	if len(sim.journal) > 0 && testing.Verbose() {
		t.Log("the script:\n" + sim.plan() + "what has happened:\n" + strings.Join(sim.journal, "\n"))
	}
	if len(sim.faults) > 0 && !unordered {
		t.Errorf("seed %d: %d answers broke a rule. The first:\n%s\nTo run it again: go test ./keystore -v -run '^TestSimulation$' -simulation.seed %d -simulation.gateways %d",
			seed, len(sim.faults), strings.Join(sim.faults[:min(len(sim.faults), 10)], "\n"), seed, gateways)
	}
	t.Log(sim.summary())
	return sim
}

// summary counts what has happened.
func (sim *simulation) summary() string {
	queries := make(map[string]int)
	for _, g := range sim.gateways {
		for pool, seconds := range g.counts {
			for _, n := range seconds {
				queries[pool] += n
			}
		}
	}
	return fmt.Sprintf("seed %d: %d changes, answers %v, queries %v", sim.seed, len(sim.server.states), sim.answers, queries)
}

// run runs the simulation within the virtual time.
func (sim *simulation) run(ctx context.Context, dir string, gateways int) (err error) {
	sim.begun = time.Now()
	rng := sim.newRand("settings")
	sim.staleness = []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}[rng.IntN(3)]
	sim.slowness = 20*time.Millisecond + time.Duration(rng.Int64N(int64(600*time.Millisecond)))
	if sim.server, err = newSimServer(sim, dir); err != nil { //nolint:contextcheck // the rows are read until the end of the simulation
		return err
	}
	for i := range gateways {
		sim.gateways = append(sim.gateways, &simGateway{
			sim: sim, number: i, deaf: rng.IntN(16) == 0, skew: time.Duration(rng.Int64N(int64(4*time.Second))) - 2*time.Second,
			conns: make(map[*simConn]struct{}), made: make(map[string]int), floor: make(map[digest]simFloor), tried: make(map[digest]time.Time), heard: make(map[int]bool),
			counts: make(map[string][]int),
		})
	}
	sim.begun = time.Now()
	sim.script() //nolint:contextcheck // the script runs until the end of the simulation
	for _, g := range sim.gateways {
		if err := g.open(ctx); err != nil {
			return err
		}
	}
	sim.started.Store(true)
	sim.running.Go(sim.play)
	sim.running.Go(sim.change)
	for _, g := range sim.gateways {
		for client := range 2 {
			sim.running.Go(func() { sim.ask(g, client) }) //nolint:contextcheck // a client asks until the end of the simulation
		}
		sim.running.Go(func() { sim.stream(g) }) //nolint:contextcheck // a stream lasts until the end of the simulation
	}
	sim.running.Wait()
	var errs []error
	for _, g := range sim.gateways {
		errs = append(errs, g.end(false)) //nolint:contextcheck // Close needs no context
	}
	time.Sleep(10 * time.Second) // messages under way arrive
	sim.checkRates()
	return errors.Join(append(errs, sim.server.close())...)
}

func (sim *simulation) over() bool { return time.Since(sim.begun) >= sim.length }

// play plays the script.
func (sim *simulation) play() {
	for _, e := range sim.events {
		time.Sleep(time.Until(e.at))
		e.run()
	}
}

// restart ends the process of a gateway, and starts another one after a pause. A process that is killed does not
// leave word in its replica.
func (sim *simulation) restart(g *simGateway, killed bool) {
	sim.running.Go(func() {
		if g.store.Load() == nil {
			return // it restarts already
		}
		from := time.Now()
		sim.mu.Lock()
		n := len(sim.restarts[g])
		sim.restarts[g] = append(sim.restarts[g], simSpan{from, from.Add(time.Hour)}) // until it is known
		sim.mu.Unlock()
		err := g.end(killed)
		time.Sleep(time.Duration(g.newRand("restart").Int64N(int64(2 * time.Second))))
		if err == nil {
			ctx, cancel := context.WithDeadline(context.Background(), sim.begun.Add(sim.length))
			defer cancel()
			err = g.open(ctx)
		}
		if err != nil {
			sim.fail("gateway %d restarts: %v", g.number, err)
		}
		sim.mu.Lock()
		sim.restarts[g][n].to = time.Now()
		sim.mu.Unlock()
	})
}

// troublesOf returns the times in which a gateway has any trouble, the one that begins first before the others.
func (sim *simulation) troublesOf(g *simGateway) []simSpan {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	all := slices.Concat(g.troubles, sim.down, sim.restarts[g])
	slices.SortFunc(all, func(a, b simSpan) int { return a.from.Compare(b.from) })
	return all
}

func (sim *simulation) killAll() {
	for _, g := range sim.gateways {
		g.kill()
	}
}

// notify sends the notification of a state to all gateways. Some are lost, late or doubled.
func (sim *simulation) notify(rng *rand.Rand, state int) {
	for _, g := range sim.gateways {
		delay := time.Duration(rng.Int64N(int64(10 * time.Millisecond)))
		switch rng.IntN(30) {
		case 0: // lost
		case 1: // late
			time.AfterFunc(delay+time.Duration(rng.Int64N(int64(2*time.Second))), func() { g.hear(state, false) })
		case 2: // doubled
			time.AfterFunc(2*delay, func() { g.hear(state, true) })
			fallthrough
		default:
			time.AfterFunc(delay, func() { g.hear(state, true) })
		}
	}
}

func (sim *simulation) fail(format string, args ...any) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.faults = append(sim.faults, fmt.Sprintf("%8s ", time.Since(sim.begun).Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

// note writes into the journal.
func (sim *simulation) note(format string, args ...any) {
	if *simSeed == 0 {
		return
	}
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.journal = append(sim.journal, fmt.Sprintf("%12s ", time.Since(sim.begun).Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

// unavailable is the reason of an answer that the store cannot be asked.
const unavailable = "unavailable"

// reasonOf is what a gateway decides at an instant of its clock, with a key; nil is an unknown key.
func reasonOf(at policy.Time, k *policy.Key) string {
	return policy.Decide(at, k, &policy.Request{Operation: policy.Recognize, Client: client}, policy.Rules{}).Reason.String()
}

// ask is a client of a gateway: it asks for keys until the simulation is over.
func (sim *simulation) ask(g *simGateway, number int) {
	rng := sim.newRand(fmt.Sprint("client", g.number, number))
	content := simContent()
	for !sim.over() {
		time.Sleep(time.Duration(rng.ExpFloat64() * float64(60*time.Millisecond)))
		s := g.store.Load()
		if s == nil {
			continue
		}
		n := rng.IntN(len(content.secrets))
		d := s.hash.secret(content.secrets[n])
		floor, begin := g.floorOf(d), time.Now()
		r, err := s.FindKey(context.Background(), content.secrets[n])
		sim.judge(g, s, n, d, begin, floor, &r, err)
	}
}

// judge checks an answer of a gateway's process, and notes it.
func (sim *simulation) judge(g *simGateway, s *Store, number int, d digest, begin time.Time, floor simFloor, r *Record, err error) {
	end, at := time.Now(), g.clock()
	reason := unavailable
	switch {
	case err == nil:
		key := r.Key()
		reason = reasonOf(at, &key)
	case errors.Is(err, ErrNotFound):
		reason = reasonOf(at, nil)
	case !g.troubled(begin.Add(-simSettle), end):
		sim.fail("gateway %d, key %d: %v, although nothing is wrong", g.number, number, err)
	case g.edge() && g.store.Load() == s: // the process has not ended meanwhile
		sim.judgeAway(g, number, d, end)
	}
	if reason != unavailable {
		sim.judgeAge(g, number, &simAnswer{d, begin, end, floor, reason, func(k *policy.Key) bool { return reasonOf(at, k) == reason }})
	}
	sim.mu.Lock()
	defer sim.mu.Unlock()
	sim.answers[reason]++
	if err == nil && s.ServesFromReplica() {
		sim.edgeAnswers++
	}
}
