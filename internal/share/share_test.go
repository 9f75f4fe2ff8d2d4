package share

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const start = policy.Time(1_764_000_000_000)

var errAway = errors.New("the database is away")

// board is a transport in memory, as the database is one.
type board struct {
	now     time.Duration // its clock
	reports []posted
	fails   []failure // of the next calls of Send
}

type posted struct {
	Report

	at time.Duration
}

// failure is how a call fails: before or after the report is there.
type failure uint8

const (
	works failure = iota
	before
	after
)

func (b *board) Send(_ context.Context, gateway string, number int64, body []byte) error {
	fail := works
	if len(b.fails) > 0 {
		fail, b.fails = b.fails[0], b.fails[1:]
	}
	if fail == before {
		return errAway
	}
	if !slices.ContainsFunc(b.reports, func(p posted) bool { return p.Gateway == gateway && p.Number == number }) {
		b.reports = append(b.reports, posted{Report{Gateway: gateway, Number: number, Body: body}, b.now})
	}
	if fail == after {
		return errAway
	}
	return nil
}

// Receive returns also what was seen before: an exchange must not count it twice.
func (b *board) Receive(_ context.Context, gateway string, span time.Duration, _ map[string]int64) (list []Report, _ error) {
	for _, p := range b.reports {
		if age := b.now - p.at; p.Gateway != gateway && age <= span {
			p.Age = age
			list = append(list, p.Report)
		}
	}
	return list, nil
}

func (*board) Name(text string) string { return "name of " + text }

// tally is a source.
type tally struct {
	clock   func() policy.Time
	now     map[string]int
	past    map[string][]Past
	changed map[string]bool

	others     map[string]int
	othersPast map[string]int // events
	oldest     policy.Time    // age of the oldest event of the others
}

func newTally(clock func() policy.Time) *tally {
	return &tally{clock: clock, now: map[string]int{}, past: map[string][]Past{}, changed: map[string]bool{}, others: map[string]int{}, othersPast: map[string]int{}}
}

func (*tally) Share(func()) {}

func (s *tally) Changes(all bool) (list []Change) {
	for id, n := range s.now {
		if all && n > 0 {
			s.changed[id] = true
		}
	}
	for id := range s.changed {
		list = append(list, Change{id, s.now[id], s.past[id]})
	}
	clear(s.changed)
	clear(s.past)
	return list
}

func (s *tally) Add(now policy.Time, c Change) {
	s.others[c.ID] += c.Now
	for _, p := range c.Past {
		s.othersPast[c.ID] += p.N
		s.oldest = max(s.oldest, now-p.At)
	}
}

func (s *tally) set(id string, n int) {
	s.now[id] = n
	s.changed[id] = true
}

func (s *tally) happen(id string, n int) {
	s.past[id] = append(s.past[id], Past{s.clock(), n})
	s.changed[id] = true
}

// gateways are several exchanges over one board. Their clocks disagree.
type gateways struct {
	board *board
	all   []*gateway
}

type gateway struct {
	*Exchange
	*tally

	events map[string]int
	dead   bool
}

func newGateways(n int, clockOf func(int) time.Duration) *gateways {
	g := &gateways{board: &board{now: time.Hour}}
	for i := range n {
		off := clockOf(i)
		clock := func() policy.Time { return start.Add(g.board.now + off) }
		one := &gateway{Exchange: newExchange(clock, func() time.Duration { return g.board.now + 24*time.Hour*time.Duration(i) }), tally: newTally(clock), events: map[string]int{}}
		one.gateway = fmt.Sprint("gateway ", i)
		one.Exchange.Add(Streams, one.tally)
		one.use(&sharing{Transport: g.board, log: zap.NewNop()})
		g.all = append(g.all, one)
	}
	return g
}

// settle lets every gateway that is alive say all and hear all.
func (g *gateways) settle(t interface{ Fatal(args ...any) }) {
	g.board.fails = nil
	for range 2 {
		for _, one := range g.all {
			for more := !one.dead; more; {
				if _, err := one.turn(context.Background()); err != nil {
					t.Fatal(err)
				}
				more = len(one.queue) > 0
			}
		}
		g.board.now += shortTurn
	}
}

// For any order of turns, failures and ends of gateways: what each has heard of the others is what
// they have, each event counts once, and a gateway that was killed counts no more after a while.
func TestEveryGatewayKnowsTheSum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := newGateways(rapid.IntRange(2, 4).Draw(t, "gateways"), func(int) time.Duration {
			return time.Duration(rapid.Int64Range(-1_000_000, 1_000_000).Draw(t, "clock")) * time.Millisecond
		})
		lost := false
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			one := rapid.SampledFrom(g.all).Draw(t, "gateway")
			id := rapid.SampledFrom([]string{"key_1", "key_2", "acc_1"}).Draw(t, "subject")
			switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
			case step <= 2 && !one.dead:
				one.set(id, rapid.IntRange(0, 5).Draw(t, "now"))
			case step <= 4 && !one.dead:
				n := rapid.IntRange(1, 5).Draw(t, "events")
				one.happen(id, n)
				one.events[id] += n
			case step <= 6 && !one.dead:
				g.board.fails = []failure{rapid.SampledFrom([]failure{works, works, before, after}).Draw(t, "failure")}
				_, _ = one.turn(t.Context())
			case step == 7:
				g.board.now += time.Duration(rapid.IntRange(1, 3000).Draw(t, "time")) * time.Millisecond
			case step == 8 && rapid.IntRange(0, 5).Draw(t, "crash") == 0:
				g.board.reports, lost = nil, true
			case step == 9 && rapid.IntRange(0, 3).Draw(t, "killed") == 0:
				one.dead = true
			}
			for _, one := range g.all {
				for id, n := range one.others {
					if n < 0 {
						t.Fatalf("%s: the others have %d of %s", one.gateway, n, id)
					}
				}
			}
		}
		g.settle(t)
		g.board.now += silenceLimit
		g.settle(t)
		for _, one := range g.all {
			if one.dead {
				continue
			}
			for _, id := range []string{"key_1", "key_2", "acc_1"} {
				now, happened, maybe := 0, 0, 0
				for _, other := range g.all {
					switch {
					case other == one:
					case other.dead:
						maybe += other.events[id]
					default:
						now += other.now[id]
						happened += other.events[id]
					}
				}
				if one.others[id] != now {
					t.Fatalf("%s knows of %d of %s at the others, want %d", one.gateway, one.others[id], id, now)
				}
				if n := one.othersPast[id]; n > happened+maybe || n < happened && !lost {
					t.Fatalf("%s knows of %d events of %s at the others, want %d, and up to %d more of those that were killed", one.gateway, n, id, happened, maybe)
				}
			}
		}
	})
}

// Clocks of the gateways that are hours apart change no age.
func TestEventsAreAsOldAsTheyAre(t *testing.T) {
	t.Parallel()
	g := newGateways(2, func(i int) time.Duration { return time.Duration(i) * 5 * time.Hour })
	one, other := g.all[0], g.all[1]
	one.happen("key_1", 1)
	g.board.now += 3 * time.Second
	if _, err := one.turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.board.now += 4 * time.Second
	if _, err := other.turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if other.oldest != 7000 || other.othersPast["key_1"] != 1 {
		t.Errorf("%d events, %d ms old, want 1 that is 7000 ms old", other.othersPast["key_1"], other.oldest)
	}
}

// A gateway that says nothing for too long counts no more, and counts again when it speaks again.
func TestASilentGatewayCountsNoMore(t *testing.T) {
	t.Parallel()
	g := newGateways(2, func(int) time.Duration { return 0 })
	one, other := g.all[0], g.all[1]
	turn := func(x *gateway) {
		t.Helper()
		if _, err := x.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	one.set("key_1", 3)
	turn(one)
	for range 20 { // says it again and again
		g.board.now += time.Second
		turn(one)
		turn(other)
		if other.others["key_1"] != 3 {
			t.Fatalf("%d are known, want 3", other.others["key_1"])
		}
	}
	g.board.now += silenceLimit - 1
	if turn(other); other.others["key_1"] != 3 {
		t.Errorf("%d are known after a short silence, want 3", other.others["key_1"])
	}
	g.board.now++
	if turn(other); other.others["key_1"] != 0 {
		t.Errorf("%d are known after %s of silence", other.others["key_1"], silenceLimit)
	}
	turn(one)
	if turn(other); other.others["key_1"] != 3 {
		t.Errorf("%d are known of a gateway that speaks again, want 3", other.others["key_1"])
	}
	g.board.now += forgetPeer
	if turn(other); len(other.peers) != 0 || other.others["key_1"] != 0 {
		t.Errorf("after %s, %d peers and %d streams are known", forgetPeer, len(other.peers), other.others["key_1"])
	}
}

// A gateway that starts learns of the last minute, and of no number at a time that may be over.
func TestAGatewayThatStartsLearnsOfTheLastMinute(t *testing.T) {
	t.Parallel()
	g := newGateways(2, func(int) time.Duration { return 0 })
	one, other := g.all[0], g.all[1]
	one.happen("key_1", 4)
	one.set("key_1", 1)
	if _, err := one.turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.dead = true
	g.board.now += Kept - time.Second
	g.settle(t)
	if other.othersPast["key_1"] != 4 || other.others["key_1"] != 0 {
		t.Errorf("%d events and %d at a time, want 4 and 0", other.othersPast["key_1"], other.others["key_1"])
	}
}

// Many changes make several reports of a limited size, and none is lost.
func TestReportsHaveALimitedSize(t *testing.T) {
	t.Parallel()
	g := newGateways(2, func(int) time.Duration { return 0 })
	const subjects = 3*maxEntries + 1
	for i := range subjects {
		g.all[0].set(fmt.Sprintf("key_%020d", i), 1)
	}
	g.settle(t)
	if n := len(g.all[1].others); n != subjects {
		t.Errorf("%d of %d subjects are known", n, subjects)
	}
	for _, p := range g.board.reports {
		if len(p.Body) > 200_000 {
			t.Errorf("a report has %d bytes", len(p.Body))
		}
	}
	if len(g.board.reports) < 4 {
		t.Errorf("%d reports", len(g.board.reports))
	}
}

// With many gateways turns are longer, so that the database gets no more statements from all together.
func TestTurnsGrowWithTheGateways(t *testing.T) {
	t.Parallel()
	x := newExchange(func() policy.Time { return start }, func() time.Duration { return 0 })
	for n, want := range map[int]time.Duration{0: shortTurn, 25: shortTurn, 100: time.Second, 1000: 10 * time.Second} {
		clear(x.peers)
		for i := range n {
			x.peers[fmt.Sprint(i)] = new(peer)
		}
		if got := x.turnLength(); got != want {
			t.Errorf("%d gateways: a turn takes %s, want %s", n, got, want)
		}
	}
}
