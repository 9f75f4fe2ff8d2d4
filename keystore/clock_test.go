package keystore

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// machine is a wall clock that can be set and a monotonic clock that stands still
// while the machine is suspended.
type machine struct{ wall, mono, slept time.Duration }

// newMachine is a machine that has run for a while, and was suspended.
func newMachine() *machine {
	return &machine{wall: time.Duration(start) * time.Millisecond, mono: 3 * time.Hour, slept: 5 * time.Hour}
}

func (m *machine) run(d time.Duration)     { m.wall, m.mono = m.wall+d, m.mono+d }
func (m *machine) suspend(d time.Duration) { m.wall, m.slept = m.wall+d, m.slept+d }
func (m *machine) set(by time.Duration)    { m.wall += by }

// clock returns the Clock of a process that starts now. tells says whether the system
// reports how long the machine was suspended.
func (m *machine) clock(tells bool) *Clock {
	slept := func() int64 { return m.slept.Microseconds() }
	if !tells {
		slept = nil
	}
	return newClock(func() (wall, mono int64) { return m.wall.Microseconds(), m.mono.Microseconds() }, slept)
}

func TestR3_TheClockGoesOnWhateverTheWallClockDoes(t *testing.T) {
	t.Parallel()
	type step func(*machine)
	set := func(d time.Duration) step { return func(m *machine) { m.set(d) } }
	run := func(d time.Duration) step { return func(m *machine) { m.run(d) } }
	suspend := func(d time.Duration) step { return func(m *machine) { m.suspend(d) } }
	for name, tt := range map[string]struct {
		steps     []step
		want      time.Duration // since the beginning
		wantBlind time.Duration // if the system does not report suspensions
		ahead     time.Duration
	}{
		"it runs":                               {[]step{run(time.Minute)}, time.Minute, time.Minute, 0},
		"to the millisecond":                    {[]step{run(1999 * time.Microsecond)}, time.Millisecond, time.Millisecond, 0},
		"set back an hour":                      {[]step{set(-time.Hour), run(30 * time.Second)}, 30 * time.Second, 30 * time.Second, time.Hour},
		"set forward an hour":                   {[]step{set(time.Hour), run(time.Second)}, time.Hour + time.Second, time.Hour + time.Second, 0},
		"forward an hour and back":              {[]step{set(time.Hour), run(time.Second), set(-time.Hour), run(time.Second)}, time.Hour + 2*time.Second, time.Hour + 2*time.Second, time.Hour},
		"back an hour and forward":              {[]step{set(-time.Hour), run(time.Second), set(time.Hour), run(time.Second)}, 2 * time.Second, time.Hour + 2*time.Second, 0},
		"suspended":                             {[]step{suspend(time.Hour), run(time.Second)}, time.Hour + time.Second, time.Hour + time.Second, 0},
		"set back, then suspended":              {[]step{set(-2 * time.Hour), run(time.Second), suspend(time.Hour), run(time.Second)}, time.Hour + 2*time.Second, time.Hour + 2*time.Second, 2 * time.Hour},
		"set back while suspended":              {[]step{func(m *machine) { m.suspend(time.Hour); m.set(-2 * time.Hour) }, run(time.Second)}, time.Hour + time.Second, time.Second, 2 * time.Hour},
		"set back until the wall has caught up": {[]step{set(-time.Second), run(time.Minute), set(2 * time.Second)}, time.Minute + time.Second, time.Minute + 2*time.Second, 0},
	} {
		for _, tells := range []bool{true, false} {
			t.Run(name+choose(tells, "", ", blind"), func(t *testing.T) {
				t.Parallel()
				m := newMachine()
				c := m.clock(tells)
				last := c.Now()
				if last != start {
					t.Fatalf("it begins at %s", last)
				}
				for i, step := range tt.steps {
					step(m)
					now := c.Now()
					if now < last {
						t.Errorf("step %d took it back from %s to %s", i, last, now)
					}
					last = now
				}
				want := tt.want
				if !tells {
					want = tt.wantBlind
				}
				if got := time.Duration(last-start) * time.Millisecond; got != want {
					t.Errorf("it went %s, want %s", got, want)
				}
				if tells && c.Ahead() != tt.ahead {
					t.Errorf("it is %s ahead of the wall clock, want %s", c.Ahead(), tt.ahead)
				}
			})
		}
	}
}

func choose(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

func TestInstant_RoundsDown(t *testing.T) {
	t.Parallel()
	for micros, want := range map[int64]policy.Time{-1001: -2, -1000: -1, -1: -1, 0: 0, 999: 0, 1000: 1} {
		if got := instant(micros); got != want {
			t.Errorf("%d microseconds are %d, want %d", micros, got, want)
		}
	}
}

// No key lives longer than its expiry allows, whatever happens to the machine's clocks.
func TestR3_TheClockIsNeverSlow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine()
		tells := rapid.Bool().Draw(t, "the system tells of suspensions")
		c := m.clock(tells)
		wasSetBack := false
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			now, passed := c.Now(), m.mono+m.slept
			d := time.Duration(rapid.Int64Range(0, 7_200_000).Draw(t, "ms")) * time.Millisecond
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				m.run(d)
			case 1:
				m.suspend(d)
			case 2:
				m.set(d)
			case 3:
				m.set(-d)
				wasSetBack = wasSetBack || d > 0
			}
			then := c.Now()
			wall := policy.Time(m.wall / time.Millisecond)
			// Two moves of the wall clock between which the Clock is not read.
			slack := policy.Time(2 * clockJitter / 1000)
			if passed := policy.Time((m.mono + m.slept - passed) / time.Millisecond); then < now || then+slack < now+passed && (tells || !wasSetBack) {
				t.Fatalf("%d ms passed, and the clock went from %s to %s", passed, now, then)
			}
			if then < wall {
				t.Fatalf("the clock is at %s, behind the wall clock at %s", then, wall)
			}
			if !wasSetBack && then != wall {
				t.Fatalf("the clock is at %s, and the wall clock, never set back, at %s", then, wall)
			}
		}
	})
}

func TestR3_TheSystemsClockIsTheWallClock(t *testing.T) {
	t.Parallel()
	c := SystemClock()
	before := policy.At(time.Now())
	now := c.Now()
	// The clocks are read one after the other, to the microsecond.
	if after := policy.At(time.Now()); now+1 < before || now > after+1 {
		t.Errorf("it is %s, and was between %s and %s", now, before, after)
	}
	if c.Ahead() > time.Second {
		t.Errorf("it is %s ahead", c.Ahead())
	}
}

// A key that lives for 30 seconds has expired after 30 seconds, even if the wall clock was
// set back. It stays expired when the wall clock is set forward and back.
func TestR3_AKeyEndsWhenTheWallClockIsSetBack(t *testing.T) {
	t.Parallel()
	m := newMachine()
	c := m.clock(true)
	f := openStore(t, newPath(t), func(cfg *Config) { cfg.Clock = c.Now; cfg.CommandLine = true })
	_, secret := f.key(f.account().ID, func(k *NewKey) { k.Expires = policy.ExpiresAt(start.Add(30 * time.Second)) })
	for _, step := range []struct {
		set, run time.Duration
		want     string
	}{
		{-time.Hour, 29 * time.Second, "active"},
		{0, time.Second, "expired"},
		{time.Hour, 0, "expired"},
		{-2 * time.Hour, time.Minute, "expired"},
	} {
		m.set(step.set)
		m.run(step.run)
		if got := statusOf(f.find(secret), c.Now()); got != step.want {
			t.Errorf("set by %s, %s later: %s, want %s", step.set, step.run, got, step.want)
		}
	}
}

func TestR3_ALeapNotifiesWatchers(t *testing.T) {
	t.Parallel()
	var wall atomic.Int64
	var logs *observer.ObservedLogs
	f := openStore(t, newPath(t), logTo(&logs), func(cfg *Config) {
		begun := time.Now()
		cfg.Clock = func() policy.Time { return start.Add(time.Since(begun)) + policy.Time(wall.Load()) }
		cfg.Ahead = func() time.Duration { return 0 }
	})
	_, secret := f.key(f.account().ID)
	f.waitForPoll() // the entry of the new key in the feed notifies watchers too
	var told atomic.Int64
	defer f.Watch(f.find(secret), func() { told.Add(1) })()
	f.waitForPoll()
	if told.Load() != 0 {
		t.Error("told of a clock that runs")
	}
	wall.Add(time.Hour.Milliseconds())
	testutil.Eventually(t, "the watcher is told of the leap", func() bool { return told.Load() > 0 })
	if logs.FilterMessage("the clock leapt forward").Len() != 1 {
		t.Errorf("the log has %v", logs.All())
	}
}

func TestR3_TheLogTellsOfAWallClockThatWasSetBack(t *testing.T) {
	t.Parallel()
	var logs *observer.ObservedLogs
	var ahead atomic.Int64
	f := openStore(t, newPath(t), logTo(&logs), commandLine, func(cfg *Config) {
		cfg.Ahead = func() time.Duration { return time.Duration(ahead.Load()) }
	})
	for _, by := range []time.Duration{0, time.Second, time.Hour, time.Hour, 0} {
		ahead.Store(int64(by))
		f.clock.check()
	}
	warnings := logs.FilterMessageSnippet("the wall clock was set back").All()
	if len(warnings) != 1 || warnings[0].ContextMap()["ahead"] != time.Hour || warnings[0].ContextMap()["now"] != start.String() ||
		warnings[0].ContextMap()["wall_clock"] != start.Add(-time.Hour).String() {
		t.Errorf("the log has %+v", warnings)
	}
	if logs.FilterMessageSnippet("has caught up").Len() != 1 {
		t.Error("nothing in the log says that it is over")
	}
}

func TestOpen_WarnsOfAClockBehindTheStore(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	k, _ := f.key(a.ID)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, behind := range []time.Duration{0, time.Second, time.Hour} {
		var logs *observer.ObservedLogs
		s := openStore(t, path, logTo(&logs), func(cfg *Config) { cfg.Clock = func() policy.Time { return start.Add(-behind) } })
		warnings := logs.FilterMessageSnippet("clock is behind").All()
		if behind < time.Hour {
			if len(warnings) != 0 || s.Behind() != 0 {
				t.Errorf("%s behind: %v", behind, warnings)
			}
			continue
		}
		if len(warnings) != 1 || s.Behind() != time.Hour {
			t.Fatalf("%s behind, as it says: %v", s.Behind(), warnings)
		}
		fields := warnings[0].ContextMap()
		if fields["clock"] != start.Add(-time.Hour).String() || fields["newest_in_keystore"] != start.String() || fields["behind"] != time.Hour {
			t.Errorf("the warning has %v", fields)
		}
	}
	// A job is newer than every entry of the audit trail.
	late := openStore(t, path)
	if err := late.CreateJob(t.Context(), policy.Job{Backend: "b", ID: "j", AccountID: a.ID, KeyID: k.ID, CreatedAt: start.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if s := openStore(t, path); s.Behind() != time.Hour {
		t.Errorf("a job from later: %s behind", s.Behind())
	}
}

func TestNotYet_SaysWhyAKnownKeyIsUnknown(t *testing.T) {
	t.Parallel()
	key := &policy.Key{CreatedAt: start.Add(time.Hour)}
	got := policy.NotYet(start, key)
	for _, want := range []string{start.String(), start.Add(time.Hour).String(), "1h0m0s"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
	if policy.NotYet(start.Add(time.Hour), key) != "" || policy.NotYet(start, nil) != "" {
		t.Error("said of a key that is known, or of none")
	}
}

// A store whose newest time cannot be read opens nevertheless, and the log says why.
func TestOpen_WarnsIfTheNewestTimeCannotBeRead(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs), commandLine)
	db, err := f.database()
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, rawDB(t, path), `ALTER TABLE jobs RENAME TO away`)
	f.checkClock(t.Context(), db)
	if n := logs.FilterMessageSnippet("the clock cannot be compared").Len(); n != 1 || f.Behind() != 0 {
		t.Errorf("%d lines in the log, and %s behind; want one line", n, f.Behind())
	}
}

// A clock whose difference is clockSlack is not behind.
func TestOpen_ClocksDifferALittle(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	f.account()
	db, err := f.database()
	if err != nil {
		t.Fatal(err)
	}
	now := start.Add(-clockSlack)
	f.cfg.Clock = func() policy.Time { return now }
	if f.checkClock(t.Context(), db); f.Behind() != 0 {
		t.Errorf("%s behind, want 0 for a difference of %s", f.Behind(), clockSlack)
	}
	now--
	if f.checkClock(t.Context(), db); f.Behind() != clockSlack+time.Millisecond {
		t.Errorf("%s behind, want a millisecond more than %s", f.Behind(), clockSlack)
	}
}

// A suspension of less than shortestSleep is the jitter of two clocks, and does not move the
// Clock ahead.
func TestR3_TheClockIgnoresJitter(t *testing.T) {
	t.Parallel()
	m := newMachine()
	c := m.clock(true)
	before := c.Now()
	m.slept += (shortestSleep - 1) * time.Microsecond
	m.set(-time.Hour)
	if now := c.Now(); now != before {
		t.Errorf("the clock went from %d to %d", before, now)
	}
	m.slept += time.Microsecond
	m.set(-time.Hour)
	if now := c.Now(); now != before+1 {
		t.Errorf("after a suspension of a millisecond the clock went from %d to %d", before, now)
	}
}
