package e2e_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/netnstest"
	"github.com/speechgate/speechgate/internal/postgrestest"
)

// Three gateways, the servers of the database, PgBouncer and the backend are on machines of their own, and
// clients use all gateways all the time. One thing after the other goes wrong. In the end the standby takes
// the place of the primary, which waits for it: nothing is lost.
//
// With SPEECHGATE_NIGHTLY, gateways have the usual max_staleness, a thousand revocations are measured, and
// more goes wrong, in an order that the seed gives.
func TestMachines_NothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	l := startSiteLoad(newSite(t, postgrestest.Durable))
	nightly := os.Getenv("SPEECHGATE_NIGHTLY") != ""

	l.enter("undisturbed")
	if nightly {
		l.eventuallyRevoked(1000)
	} else {
		time.Sleep(5 * time.Second)
	}
	faults := []func(*siteGateway){l.killGateway, l.cutGateway, l.takeInterfaceDown, l.cutWithStandby, l.slowNetwork, l.restartPrimary}
	for i, fault := range faults {
		fault(l.gateways[i%len(l.gateways)])
	}
	if nightly {
		seed := rand.Uint64()
		t.Logf("the seed of the faults is %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		for range 12 {
			faults[random.IntN(len(faults))](l.gateways[random.IntN(len(l.gateways))])
		}
	}

	admin := l.primary.AdminDSN(t, l.dsn)
	execute(t, admin, "ALTER SYSTEM SET synchronous_standby_names = '*'")
	execute(t, admin, "ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
	execute(t, admin, "SELECT pg_reload_conf()")
	t.Cleanup(func() { // the primary, whose standby is gone, does not wait for it at the end
		execute(t, admin, "ALTER SYSTEM RESET ALL")
		execute(t, admin, "SELECT pg_reload_conf()")
	})
	l.standby.CatchUp(t) // what was acknowledged before may not be at the standby
	l.enter("undisturbed, with remote_apply")
	time.Sleep(3 * time.Second)
	l.promoteStandby()
	l.enter("after the promotion")
	time.Sleep(2 * time.Second)

	l.stop()
	keys, revocations, jobs := l.check()
	t.Logf("acknowledged: %d keys, %d revocations, %d jobs; %d answers were checked\n%s", keys, revocations, jobs, l.answers, strings.Join(l.table(), "\n"))
	for _, broken := range l.verdict() {
		t.Error(broken)
	}
	if t.Failed() {
		for _, g := range l.gateways {
			t.Logf("%s:\n%s", g.name, lastLines(g.output.String()))
		}
	}
}

// link gives the links between gateways and all that leads to the database a quality.
func (l *siteLoad) link(q netnstest.Quality, gateways ...*siteGateway) {
	for _, g := range gateways {
		for _, m := range []*netnstest.Machine{l.databases[0], l.databases[1], l.bouncer} {
			l.network.Link(g.Machine, m, q)
		}
	}
}

func (l *siteLoad) killGateway(g *siteGateway) {
	l.t.Helper()
	phase := l.enter("kill -9 of a gateway")
	l.disturb(troubled, g)
	g.kill()
	time.Sleep(time.Second)
	begun := time.Now()
	g.start()
	l.resume(phase, begun, g)
}

// cutGateway drops all packets between a gateway and the database.
func (l *siteLoad) cutGateway(g *siteGateway) {
	l.t.Helper()
	phase := l.enter("a gateway cut from the database")
	l.disturb(cutOff, g)
	l.link(netnstest.Cut, g)
	time.Sleep(maxStaleness() + 2*time.Second)
	begun := time.Now()
	l.link(netnstest.Quality{}, g)
	l.resume(phase, begun, g)
}

// takeInterfaceDown gives the gateway errors where a cut link gives silence. Its clients do not reach it.
func (l *siteLoad) takeInterfaceDown(g *siteGateway) {
	l.t.Helper()
	phase := l.enter("a gateway's interface down")
	l.disturb(cutOff, g)
	g.SetUp(l.t, false)
	time.Sleep(2 * time.Second)
	begun := time.Now()
	g.SetUp(l.t, true)
	l.resume(phase, begun, g)
}

// cutWithStandby leaves two gateways and the primary on one side, and a gateway and the standby on the other.
func (l *siteLoad) cutWithStandby(g *siteGateway) {
	l.t.Helper()
	phase := l.enter("a gateway and the standby cut from all others")
	primary, standby := l.databases[0], l.databases[1]
	apart := func(q netnstest.Quality) {
		l.network.Link(g.Machine, primary, q)
		l.network.Link(g.Machine, l.bouncer, q)
		l.network.Link(standby, primary, q)
	}
	l.disturb(cutOff, g)
	apart(netnstest.Cut)
	time.Sleep(maxStaleness() + 2*time.Second)
	begun := time.Now()
	apart(netnstest.Quality{})
	l.resume(phase, begun, g)
	l.standby.CatchUp(l.t)
}

func (l *siteLoad) slowNetwork(*siteGateway) {
	l.t.Helper()
	l.enter("50 ms ± 25 ms each way, 5 % lost")
	l.disturb(slow, l.gateways...)
	l.link(netnstest.Quality{Delay: 50 * time.Millisecond, Jitter: 25 * time.Millisecond, Loss: 0.05}, l.gateways...)
	time.Sleep(8 * time.Second)
	begun := time.Now()
	l.link(netnstest.Quality{}, l.gateways...)
	l.resume("after a slow network", begun, l.gateways...)
}

func (l *siteLoad) restartPrimary(*siteGateway) {
	l.t.Helper()
	phase := l.enter("a restart of the primary")
	l.disturb(troubled, l.gateways...)
	begun := time.Now()
	l.databases[0].Do(l.t, func() { l.primary.Restart(l.t) })
	l.resume(phase, begun, l.gateways...)
}

// promoteStandby makes the standby the primary. The old primary is fenced: nobody reaches it any more.
func (l *siteLoad) promoteStandby() {
	l.t.Helper()
	phase := l.enter("the standby takes the primary's place")
	l.disturb(troubled, l.gateways...)
	begun := time.Now()
	l.databases[0].SetUp(l.t, false)
	l.standby.Promote(l.t)
	l.give(l.databases[1])
	l.resume(phase, begun, l.gateways...)
}
