package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/netnstest"
	"github.com/speechgate/speechgate/internal/postgrestest"
)

// Three gateways, the servers of the database, PgBouncer and the backend are on machines of their own, and
// clients use all gateways all the time. One thing after the other goes wrong.
func TestMachines_NothingAcknowledgedIsLost(t *testing.T) {
	t.Parallel()
	s := newSite(t, postgrestest.Durable)
	l := startSiteLoad(s)
	one, two, three := s.gateways[0], s.gateways[1], s.gateways[2]
	primary, standby := s.databases[0], s.databases[1]
	databases := []*netnstest.Machine{primary, standby, s.bouncer}

	// link gives the links between gateways and databases a quality.
	link := func(q netnstest.Quality, gateways ...*siteGateway) {
		for _, g := range gateways {
			for _, d := range databases {
				s.network.Link(g.Machine, d, q)
			}
		}
	}
	l.enter("undisturbed")
	l.last(5 * time.Second)

	phase := l.enter("kill -9 of a gateway")
	l.disturb(troubled, one)
	one.kill()
	l.last(time.Second)
	begun := time.Now()
	one.start()
	l.resume(phase, begun, one)

	for _, g := range []*siteGateway{two, three} {
		phase = l.enter("a gateway cut from the database")
		l.disturb(cutOff, g)
		link(netnstest.Cut, g)
		l.last(maxStaleness + 2*time.Second)
		begun = time.Now()
		link(netnstest.Quality{}, g)
		l.resume(phase, begun, g)
	}

	phase = l.enter("a gateway's interface down")
	l.disturb(cutOff, one)
	one.SetUp(t, false)
	l.last(2 * time.Second)
	begun = time.Now()
	one.SetUp(t, true)
	l.resume(phase, begun, one)

	phase = l.enter("a gateway and the standby cut from all others")
	apart := func(q netnstest.Quality) {
		for _, d := range []*netnstest.Machine{primary, s.bouncer} {
			s.network.Link(three.Machine, d, q)
		}
		s.network.Link(standby, primary, q)
	}
	l.disturb(cutOff, three)
	apart(netnstest.Cut)
	l.last(maxStaleness + 2*time.Second)
	begun = time.Now()
	apart(netnstest.Quality{})
	l.resume(phase, begun, three)
	s.standby.CatchUp(t)

	l.enter("50 ms ± 25 ms each way, 5 % lost")
	l.disturb(slow, s.gateways...)
	link(netnstest.Quality{Delay: 50 * time.Millisecond, Jitter: 25 * time.Millisecond, Loss: 0.05}, s.gateways...)
	l.last(10 * time.Second)
	begun = time.Now()
	link(netnstest.Quality{}, s.gateways...)
	l.resume("after a slow network", begun, s.gateways...)

	phase = l.enter("a restart of the primary")
	l.disturb(troubled, s.gateways...)
	begun = time.Now()
	primary.Do(t, func() { s.primary.Restart(t) })
	l.resume(phase, begun, s.gateways...)

	// The primary waits for the standby from now on: nothing is lost with the primary.
	admin := s.primary.AdminDSN(t, s.dsn)
	execute(t, admin, "ALTER SYSTEM SET synchronous_standby_names = '*'")
	execute(t, admin, "ALTER SYSTEM SET synchronous_commit = 'remote_apply'")
	execute(t, admin, "SELECT pg_reload_conf()")
	s.standby.CatchUp(t) // what was acknowledged before may not be at the standby
	t.Cleanup(func() {   // so that the primary, whose standby is gone, does not wait for it at the end
		execute(t, admin, "ALTER SYSTEM RESET ALL")
		execute(t, admin, "SELECT pg_reload_conf()")
	})
	l.enter("undisturbed, with remote_apply")
	l.last(3 * time.Second)

	phase = l.enter("the standby takes the primary's place")
	l.disturb(troubled, s.gateways...)
	begun = time.Now()
	primary.SetUp(t, false) // the old primary is fenced: nobody reaches it any more
	s.standby.Promote(t)
	s.give(standby)
	l.resume(phase, begun, s.gateways...)
	l.enter("after the promotion")
	l.last(2 * time.Second)

	l.stop()
	keys, revocations, jobs := l.check()
	t.Logf("acknowledged: %d keys, %d revocations, %d jobs; %d answers were checked\n%s", keys, revocations, jobs, l.answers, strings.Join(l.table(), "\n"))
	for _, broken := range l.verdict() {
		t.Error(broken)
	}
	if t.Failed() {
		for _, g := range s.gateways {
			t.Logf("%s:\n%s", g.name, lastLines(g.output.String()))
		}
	}
}

// last lets a phase last for some time.
func (l *siteLoad) last(d time.Duration) { l.t.Helper(); time.Sleep(d) }
