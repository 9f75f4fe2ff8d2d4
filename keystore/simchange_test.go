package keystore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/speechgate/speechgate/policy"
)

// simStart is the begin of the virtual time of package synctest.
var simStart = policy.Time(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()) //nolint:gochecknoglobals // a constant

const (
	simAccounts = 4
	simKeys     = 40 // that exist at the begin
	simLater    = 20 // secrets that are no keys yet
)

// simBegin is the content of the database at the begin of each simulation.
type simBegin struct {
	file     []byte
	accounts []string
	secrets  []policy.Secret // of simKeys keys, and simLater secrets that are no keys yet
}

// simContent makes the content of the database once.
var simContent = sync.OnceValue(func() (c simBegin) { //nolint:gochecknoglobals // made once
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "simulation")
	check(err)
	defer os.RemoveAll(dir)
	ctx, path, now := context.Background(), filepath.Join(dir, "keystore.db"), simStart.Add(-time.Hour)
	s, err := Open(ctx, Config{Path: path, CommandLine: true, Clock: func() policy.Time { return now }})
	check(err)
	for i := range simKeys + simLater {
		c.secrets = append(c.secrets, policy.NewSecret(fmt.Sprintf("simulated-secret-number-%d", i)))
	}
	for i := range simAccounts {
		a, _, err := s.CreateAccount(ctx, now, operator, fmt.Sprint("Account ", i))
		check(err)
		c.accounts = append(c.accounts, a.ID)
		_, err = s.ImportKeys(ctx, now, operator, Import{
			AccountID: a.ID, Expires: policy.Never(), Secrets: c.secrets[i*simKeys/simAccounts : (i+1)*simKeys/simAccounts],
		})
		check(err)
	}
	check(s.Close())
	c.file, err = os.ReadFile(path)
	check(err)
	return c
})

// change makes changes at random gateways until the simulation is over.
func (sim *simulation) change() {
	rng := sim.newRand("changes")
	for !sim.over() {
		time.Sleep(time.Duration(rng.ExpFloat64() * float64(200*time.Millisecond)))
		g := sim.gateways[rng.IntN(len(sim.gateways))]
		op := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
		sim.running.Go(func() { sim.changeOne(g, op) })
	}
}

// changeOne makes one change at a gateway. Changes that break a rule, such as those of a closed account, are
// refused.
func (sim *simulation) changeOne(g *simGateway, rng *rand.Rand) {
	s := g.store.Load()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	content, now := simContent(), g.clock()
	account := content.accounts[rng.IntN(simAccounts)]
	n := rng.IntN(len(content.secrets))
	d := s.hash.secret(content.secrets[n])
	states, _ := sim.server.statesBetween(time.Now(), time.Now())
	id := states[len(states)-1].keys[d].ID
	before := g.writes()
	wrote := func() { g.wroteKey(before, d) }
	defer g.trying(d)()
	var err error
	switch kind := rng.IntN(20); {
	case id == "" || kind < 4:
		later := simKeys + rng.IntN(simLater)
		d = s.hash.secret(content.secrets[later])
		expires := policy.Never()
		if rng.IntN(2) == 0 {
			expires = policy.ExpiresAt(now.Add(time.Duration(1 + rng.Int64N(int64(8*time.Second)))))
		}
		defer g.trying(d)()
		_, err = s.ImportKeys(ctx, now, operator, Import{AccountID: account, Expires: expires, Secrets: content.secrets[later : later+1]})
	case kind < 8:
		_, err = s.RevokeKey(ctx, now, operator, id, "")
	case kind < 11:
		_, err = s.SuspendKey(ctx, now, operator, id, "")
	case kind < 14:
		_, err = s.ResumeKey(ctx, now, operator, id)
	case kind < 16:
		defer g.trying(sim.keysOf(account)...)()
		wrote = func() { g.wroteAccount(before, account) }
		_, err = s.SuspendAccount(ctx, now, operator, account, "")
	case kind < 18:
		defer g.trying(sim.keysOf(account)...)()
		wrote = func() { g.wroteAccount(before, account) }
		_, err = s.ResumeAccount(ctx, now, operator, account)
	case kind < 19:
		_, err = s.RotateKey(ctx, now, operator, id, time.Duration(rng.Int64N(int64(3*time.Second))))
	case rng.IntN(4) == 0:
		defer g.trying(sim.keysOf(account)...)()
		wrote = func() { g.wroteAccount(before, account) }
		_, err = s.CloseAccount(ctx, now, operator, account)
	default:
		wrote = func() {} // of no key
		err = sim.pruneWhileRead(ctx, g, s, rng)
	}
	if err == nil && g.store.Load() == s { // a process that starts with its replica may not know what the one before has written
		wrote()
	}
}

// pruneWhileRead suspends or resumes two accounts, and prunes the feed about when the other gateways read these
// changes, by a clock that is far ahead. The pruning leaves the last change. So a gateway that does not look for
// what was pruned goes on without the other one.
func (sim *simulation) pruneWhileRead(ctx context.Context, g *simGateway, s *Store, rng *rand.Rand) error {
	for _, i := range rng.Perm(simAccounts)[:2] {
		id := simContent().accounts[i]
		defer g.trying(sim.keysOf(id)...)()
		var err error
		if sim.server.suspended(id) {
			_, err = s.ResumeAccount(ctx, g.clock(), operator, id)
		} else {
			_, err = s.SuspendAccount(ctx, g.clock(), operator, id, "")
		}
		if err != nil {
			return err
		}
	}
	time.Sleep(time.Duration(rng.Int64N(int64(wakePause))))
	defer sim.pruning()()
	_, err := s.pruneFeed(ctx, g.clock().Add(2*feedKept))
	return err
}

// checkRates checks how often the gateways ask the server.
func (sim *simulation) checkRates() {
	for _, g := range sim.gateways {
		for second, n := range g.counts[simFollow.name] {
			if most := 3*int(time.Second/wakePause) + 3; n > most {
				sim.fail("gateway %d: %d queries of the feed in second %d, want at most %d", g.number, n, second, most)
			}
		}
	}
}
