package share

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// every checks that turns have begun at this interval, and that there is more than one.
func every(t *testing.T, what string, turns []time.Duration, want time.Duration) {
	t.Helper()
	if len(turns) < 2 {
		t.Errorf("%s: %d turns, want one every %s", what, len(turns), want)
	}
	for i := 1; i < len(turns); i++ {
		if got := turns[i] - turns[i-1]; got != want {
			t.Errorf("%s: %s from one turn to the next, want %s", what, got, want)
		}
	}
}

func TestTurnsAreLongerIfNobodyHasSaidAnythingForTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		x, mine := newSource(Requests)
		defer x.Share(over, zap.NewNop())()
		// Turns are short for ten seconds, and then long. It returns when the last one has begun.
		turns := func(what string) time.Duration {
			t.Helper()
			over.take()
			time.Sleep(9 * time.Second)
			every(t, what, over.take(), shortTurn)
			time.Sleep(3 * time.Second)
			over.take()
			time.Sleep(9 * time.Second)
			quiet := over.take()
			every(t, "ten seconds after "+what, quiet, quietTurn)
			return quiet[len(quiet)-1]
		}
		last := turns("the start")

		time.Sleep(last + quietTurn/2 - time.Since(over.begun))
		over.take()
		mine.count(func(tally *tally) { tally.happen("key_1", 1) })
		if turns := over.take(); len(turns) != 1 {
			t.Errorf("a change after a quiet time begins %d turns at once, want 1", len(turns))
		}
		turns("a change here")

		over.post("another gateway", 1, entry{Requests, Change{ID: "key_1", Past: []Past{{start, 1}}}})
		time.Sleep(quietTurn)
		turns("a change at another gateway")
	})
}

// The next turn begins as long after the last one as the package says, however long that took, and however
// soon there is something to say.
func TestTurnsBeginNoSoonerThanTheirLength(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		over.slow = 100 * time.Millisecond
		x, mine := newSource(Requests)
		defer x.Share(over, zap.NewNop())()
		time.Sleep(5*time.Second + 50*time.Millisecond)
		every(t, "slow turns", over.take(), shortTurn)

		over.set(func() { over.slow = 10 * time.Millisecond })
		time.Sleep(15 * time.Second)
		turns := over.take()
		time.Sleep(turns[len(turns)-1] + quietTurn + 100*time.Millisecond - time.Since(over.begun))
		last := over.take()[0]
		mine.count(func(tally *tally) { tally.happen("key_1", 1) })
		time.Sleep(shortTurn)
		// It reads as soon as it has sent.
		if turns := over.take(); len(turns) != 1 || turns[0] != last+shortTurn+over.slow {
			t.Errorf("100 ms after a turn at %s there is something to say: turns at %s, want one %s after it", last, turns, shortTurn)
		}
	})
}

// While the database is away, a gateway asks it once a second, says so once in the log, and loses nothing.
func TestAGatewayGoesOnByItselfWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		x, mine := newSource(Requests)
		core, logs := observer.New(zap.InfoLevel)
		defer x.Share(over, zap.New(core))()
		time.Sleep(time.Second)
		for _, how := range []*bool{&over.away, &over.hangs} {
			over.set(func() { *how = true })
			time.Sleep(5 * time.Second)
			over.take()
			mine.count(func(tally *tally) { tally.happen("key_1", 1) })
			time.Sleep(20 * time.Second)
			if turns := over.take(); how == &over.away {
				every(t, "the database is away", turns[1:], quietTurn)
			} else {
				every(t, "the database hangs", turns[1:], turnLimit)
			}
			entries := logs.TakeAll()
			if len(entries) != 1 || entries[0].Level != zap.WarnLevel || !hasError(entries[0].ContextMap()) {
				t.Errorf("the log has %d entries, want a warning with the error: %+v", len(entries), entries)
			}
			sent := len(over.sent)
			over.set(func() { *how = false })
			time.Sleep(turnLimit + quietTurn)
			synctest.Wait()
			if entries := logs.TakeAll(); len(entries) != 1 || entries[0].Level != zap.InfoLevel {
				t.Errorf("the log has %d entries, want one that the database is back: %+v", len(entries), entries)
			}
			if n := len(over.sent) - sent; n != 1 {
				t.Errorf("what was counted is sent %d times", n)
			}
		}
	})
}

func hasError(fields map[string]any) bool {
	text, ok := fields["error"].(string)
	return ok && text != ""
}

func TestNumbersAtATimeAreSaidAgainEveryTwoSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		x, mine := newSource(Streams)
		defer x.Share(over, zap.NewNop())()
		time.Sleep(3 * time.Second)
		mine.count(func(tally *tally) { tally.set("key_1", 1) })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		every(t, "after the first", over.sent[1:], restateEvery)
		if first := over.sent[0]; first > 3*time.Second+shortTurn {
			t.Errorf("a change at 3s is said at %s", first)
		}
	})
}

// A turn reads what it has not read: the last minute at first, and then what was committed since the last
// turn that has read, or a little earlier.
func TestATurnAsksForWhatIsNew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := newLine()
		over.post("another gateway", 3)
		x, _ := newSource(Requests)
		stop := x.Share(over, zap.NewNop())
		for _, away := range []time.Duration{10 * time.Second, 10 * time.Minute, 0} {
			time.Sleep(15 * time.Second)
			over.set(func() { over.away = true })
			time.Sleep(away)
			over.set(func() { over.away = false })
		}
		stop()
		if first := over.asked[0]; first.span != Kept || len(first.seen) > 0 {
			t.Errorf("it asks for reports of %s after those in %v at first, want %s and no others", first.span, first.seen, Kept)
		}
		longest := time.Duration(0)
		for i, one := range over.asked[1:] {
			since := one.at - over.asked[i].at
			longest = max(longest, since)
			if want := min(since+readAgain, Kept); one.span != want {
				t.Errorf("%s after the last turn that has read, it asks for reports of %s, want %s", since, one.span, want)
			}
			seen := map[string]int64{"another gateway": 3}
			if one.at >= forgetPeer { // it has said nothing more
				clear(seen)
			}
			if !maps.Equal(one.seen, seen) {
				t.Errorf("at %s it asks for reports after those in %v, want %v", one.at, one.seen, seen)
			}
		}
		if longest < 10*time.Minute {
			t.Errorf("%s without a turn that reads, want 10m", longest)
		}
	})
}

// The turns of a thousand gateways take ten seconds. What one of them says once in a turn counts all the time.
func TestNumbersOfManyGatewaysCountUntilTheyAreSaidAgain(t *testing.T) {
	t.Parallel()
	g := newGateways(2, func(int) time.Duration { return 0 })
	one, other := g.all[0], g.all[1]
	for i := range 999 {
		other.peers[string(rune(i))] = &peer{heard: 100 * 24 * time.Hour}
	}
	one.set("key_1", 3)
	for range 5 {
		if _, err := one.turn(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second turn begins just before the one of the other gateway
			if _, err := other.turn(t.Context()); err != nil {
				t.Fatal(err)
			}
			if other.others["key_1"] != 3 {
				t.Fatalf("%d are known, want 3", other.others["key_1"])
			}
			g.board.now += other.turnLength() / 2
		}
	}
	g.board.now += 2*other.turnLength() + silenceLimit
	if _, err := other.turn(t.Context()); err != nil || other.others["key_1"] != 0 {
		t.Errorf("%d are known of a gateway that was silent for two turns, %v", other.others["key_1"], err)
	}
}
