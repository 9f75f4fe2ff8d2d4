package keystore

import (
	"context"
	"os"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/keystore/internal/recordcache"
	"github.com/speechgate/speechgate/policy"
)

// Each kind of change drops the cached records that it may concern, and no others.
func TestApply_DropsWhatHasChanged(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.takeOverPolling() // the test alone drops records
	a, b := f.account(), f.account()
	issuer, issuerSecret := f.key(a.ID, func(k *NewKey) { k.Issuable = true })
	_, child := f.child(issuer)
	_, other := f.key(b.ID)
	secrets := map[string]policy.Secret{"issuer": issuerSecret, "child": child, "other": other}
	one, two := f.job(issuer, "one"), f.job(issuer, "two")
	jobs := map[string]policy.Job{"job one": one, "job two": two}
	digestOf := func(s policy.Secret) []byte { d := f.hash.secret(s); return d[:] }
	jobDigestOf := func(j policy.Job) []byte { d := jobDigest(j.Backend, j.ID); return d[:] }
	everything := []string{"issuer", "child", "other", "job one", "job two"}
	for _, c := range []struct {
		name    string
		change  change
		dropped []string
	}{
		{"a key", change{start, changedKey, digestOf(child)}, []string{"child"}},
		{"new keys", change{start, changedNewKeys, []byte{}}, nil},
		{"a key without a digest", change{start, changedKey, []byte("short")}, everything},
		{"an account", change{start, changedAccount, []byte(a.ID)}, []string{"issuer", "child"}},
		{"a new account", change{start, changedNewAccount, []byte(a.ID)}, nil},
		{"the children of a key", change{start, changedChildren, []byte(issuer.ID)}, []string{"child"}},
		{"a job", change{start, changedJob, jobDigestOf(one)}, []string{"job one"}},
		{"a job without a digest", change{start, changedJob, []byte("short")}, everything},
		{"jobs", change{start, changedJobs, []byte{}}, []string{"job one", "job two"}},
		{"the store", change{start, changedStore, []byte{}}, everything},
		{"a kind of a newer version", change{start, "newer", digestOf(other)}, everything},
	} {
		for _, secret := range secrets {
			f.find(secret)
		}
		for name, j := range jobs {
			if _, err := f.FindJob(t.Context(), j.Backend, j.ID); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		want := map[string]bool{}
		for _, name := range c.dropped {
			want[name] = true
		}
		f.apply([]change{c.change})
		for name, secret := range secrets {
			if dropped := f.cache.keys.Get(f.hash.secret(secret)).State != recordcache.Present; dropped != want[name] {
				t.Errorf("%s: %s dropped: %t", c.name, name, dropped)
			}
		}
		for name, j := range jobs {
			if dropped := f.cache.jobs.Get(jobDigest(j.Backend, j.ID)).State != recordcache.Present; dropped != want[name] {
				t.Errorf("%s: %s dropped: %t", c.name, name, dropped)
			}
		}
	}
}

// A watcher hears of each database that takes the place of another, and the log says
// whether it is the same store.
func TestReopen_NotifiesWatchersAndSaysWhetherItIsTheSameStore(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	for _, same := range []bool{true, false} {
		path, away := newPath(t), newPath(t)
		var logs *observer.ObservedLogs
		f := openStore(t, path, logTo(&logs))
		_, secret := f.key(f.account().ID)
		f.takeOverPolling()
		if same {
			vacuumInto(t, path, away)
		} else if g := openStore(t, away); g.Close() != nil {
			t.Fatal("closing")
		}
		told, _, cancel := f.watch(secret)
		defer cancel()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		f.feed.poll(t.Context())
		if n := told.Load(); n != 1 {
			t.Errorf("the file is gone, and the watcher was told %d times", n)
		}
		if err := os.Rename(away, path); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		f.feed.poll(t.Context())
		if n := told.Load(); n != 2 {
			t.Errorf("another file is there, and the watcher was told %d times", n)
		}
		again := logs.FilterMessage("the keystore is available again").All()
		if len(again) != 1 || again[0].ContextMap()["same_store"] != same {
			t.Errorf("same %t: the log has %+v", same, again)
		}
	}
}

// While the store stays lost, the log says each reason once. It says nothing when the
// process ends.
func TestReopen_LogsEachReasonOnce(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs))
	f.takeOverPolling()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	stays := func() int { return logs.FilterMessage("the keystore stays unavailable").Len() }
	f.feed.poll(t.Context()) // it is lost
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	f.feed.poll(ended)
	if n := stays(); n != 0 {
		t.Errorf("%d log lines of a process that ends", n)
	}
	for range 3 {
		f.feed.poll(t.Context())
	}
	first := stays()
	if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.feed.poll(t.Context())
	}
	if n := stays() - first; first > 1 || n != 1 {
		t.Errorf("%d log lines while the file is missing, and %d for another reason", first, n)
	}
}

// The log says once that the feed is lost, and once that it is back.
func TestFeed_LogsItsLossAndReturnOnce(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs))
	f.takeOverPolling()
	lines := func() [2]int {
		return [2]int{
			logs.FilterMessageSnippet("the keystore's change feed cannot be read").Len(),
			logs.FilterMessage("the keystore's change feed can be read again").Len(),
		}
	}
	poll := func(what string, want [2]int) {
		t.Helper()
		f.feed.poll(t.Context())
		f.feed.poll(t.Context())
		if got := lines(); got != want {
			t.Errorf("%s: %v lines, want %v", what, got, want)
		}
	}
	poll("at first", [2]int{0, 0})
	show := hideFeed(t, path)
	poll("lost", [2]int{1, 0})
	show()
	poll("back", [2]int{1, 1})
	show = hideFeed(t, path)
	poll("lost again", [2]int{2, 1})
	show()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	f.feed.failures.Store(0)
	f.feed.poll(ended)
	if got := lines(); got != [2]int{2, 1} {
		t.Errorf("a process that ends: %v lines", got)
	}
}

// Each poll applies only the changes that are new.
func TestFeed_AppliesAChangeOnce(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f, beside := openStore(t, path), openStore(t, path)
	f.takeOverPolling()
	k, secret := f.key(f.account().ID)
	f.feed.poll(t.Context())
	told, _, cancel := f.watch(secret)
	defer cancel()
	if _, err := beside.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.feed.poll(t.Context())
	}
	if n := told.Load(); n != 1 {
		t.Errorf("the watcher was told %d times of one change", n)
	}
}

// The log tells of each leap of the clock once, and once that it is ahead of the wall clock.
func TestClockWatch_TellsOfLeapsAndOfBeingAhead(t *testing.T) {
	t.Parallel()
	var now policy.Time
	var mono, ahead time.Duration
	leaps := 0
	var logs *observer.ObservedLogs
	var cfg Config
	logTo(&logs)(&cfg)
	w := clockWatch{
		clock: func() policy.Time { return now }, ahead: func() time.Duration { return ahead },
		mono: func() time.Duration { return mono }, log: cfg.Logger, leapt: func() { leaps++ },
	}
	now, mono = start, time.Hour
	for _, c := range []struct {
		name                string
		run, leap, ahead    time.Duration
		leaps, warns, infos int
	}{
		{"the first check", 0, 0, 0, 0, 0, 0},
		{"it runs", time.Minute, 0, 0, 0, 0, 0},
		{"a leap of 50 ms", 0, clockLeap, 0, 0, 0, 0},
		{"a longer leap", time.Second, clockLeap + time.Millisecond, 0, 1, 0, 0},
		{"after the leap", time.Second, 0, 0, 1, 0, 0},
		{"ahead by the slack", 0, 0, clockSlack, 1, 0, 0},
		{"ahead by more", 0, 0, clockSlack + time.Millisecond, 1, 1, 0},
		{"still ahead", 0, 0, time.Hour, 1, 1, 0},
		{"ahead by the slack again", 0, 0, clockSlack, 1, 1, 1},
		{"caught up", 0, 0, 0, 1, 1, 1},
		{"ahead another time", 0, 0, time.Hour, 1, 2, 1},
	} {
		now, mono, ahead = now.Add(c.run+c.leap), mono+c.run, c.ahead
		w.check()
		warns := logs.FilterMessageSnippet("the wall clock was set back").Len()
		infos := logs.FilterMessage("the wall clock has caught up with this process").Len()
		if leaps != c.leaps || warns != c.warns || infos != c.infos {
			t.Errorf("%s: %d leaps, %d warnings, %d notes of its end; want %d, %d, %d", c.name, leaps, warns, infos, c.leaps, c.warns, c.infos)
		}
	}
	leap := logs.FilterMessage("the clock leapt forward").All()
	if len(leap) != 1 || leap[0].ContextMap()["by"] != clockLeap+time.Millisecond {
		t.Errorf("the log has %+v", leap)
	}
}

// A poll that takes too long has failed. A process that ends has not.
func TestFeed_LogsAPollThatTakesTooLong(t *testing.T) {
	t.Parallel()
	var logs *observer.ObservedLogs
	f := openStore(t, newPath(t), logTo(&logs))
	f.takeOverPolling()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	f.feed.poll(late)
	if n := logs.FilterMessageSnippet("the keystore's change feed cannot be read").Len(); n != 1 {
		t.Errorf("%d lines in the log, want 1", n)
	}
}

// A process finds no key of a store that has got another pepper, whether it reads the change
// itself or is behind by too much.
func TestR17_AStoreWithAnotherPepperIsUnavailable(t *testing.T) {
	t.Parallel()
	for _, pruned := range []bool{false, true} {
		path := newPath(t)
		f := openStore(t, path)
		_, secret := f.key(f.account().ID)
		f.find(secret)
		f.takeOverPolling()
		f.feed.poll(t.Context()) // so that the pepper is the only change
		openStore(t, path, withPepper("salt"))
		if pruned {
			db := rawDB(t, path)
			mustExec(t, db, `UPDATE meta SET value = (SELECT MAX(seq) FROM feed) WHERE name = 'feed_pruned'`)
			mustExec(t, db, `DELETE FROM feed`)
		}
		f.feed.poll(t.Context())
		_, err := f.FindKey(t.Context(), secret)
		if wantIs(t, err, ErrUnavailable); !isPepper(err) {
			t.Errorf("the feed was pruned: %t: %v, want that the store has another pepper", pruned, err)
		}
	}
}

// Cached records are trusted up to the end of their time, and not at it. The time in which the machine was suspended
// counts, also if it was suspended during the poll.
func TestFeed_TrustEnds(t *testing.T) {
	t.Parallel()
	clock := start
	cfg := Config{MaxStaleness: 5 * time.Millisecond, Clock: func() policy.Time { return clock }}
	f := feedFollower{store: &Store{cfg: cfg, watchers: newWatchers(), mono: func() time.Duration { return 10 * time.Millisecond }}}
	f.trust(10*time.Millisecond, start)
	clock = start.Add(4 * time.Millisecond)
	if f.store.feed = &f; !f.fresh(10 * time.Millisecond) {
		t.Error("not trusted after 4 ms")
	}
	f.store.leapt()
	if !f.fresh(10 * time.Millisecond) {
		t.Error("not trusted after a suspension of 4 ms")
	}
	clock = start.Add(5 * time.Millisecond)
	if f.store.leapt(); f.fresh(10 * time.Millisecond) {
		t.Error("trusted after a suspension of 5 ms")
	}
	if age := f.age(10 * time.Millisecond); age != 5*time.Millisecond { // live streams end by it, much later
		t.Errorf("the age after a suspension of 5 ms is %s", age)
	}
	if f.trust(10*time.Millisecond, start); f.fresh(10 * time.Millisecond) {
		t.Error("trusted after a suspension during the poll")
	}
	f.trust(10*time.Millisecond, clock)
	for now, want := range map[int]bool{10: true, 14: true, 15: false, 16: false} {
		if got := f.fresh(time.Duration(now) * time.Millisecond); got != want {
			t.Errorf("at %d ms: %t, want %t", now, got, want)
		}
	}
}

// A process reads up to so many changes, whatever their numbers are.
func TestReadFeed_UpToMaxBehind(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	maxBehind := openStore(t, path, commandLine).maxBehind()
	db := rawDB(t, path)
	first := 3 * maxBehind
	mustExec(t, db, `WITH RECURSIVE n (i) AS (VALUES (CAST($1 AS BIGINT)) UNION ALL SELECT i + 1 FROM n WHERE i <= $2)
		INSERT INTO feed (seq, at, kind, ref) SELECT i, 1, 'jobs', $3 FROM n`, first, first+maxBehind, []byte{})
	for seen, want := range map[int64]bool{first: false, first + 1: true, first + 2: true} {
		changes, at, complete, err := readFeed(t.Context(), db, seen, feedRow{1, changedJobs, ""}, maxBehind)
		if err != nil || complete != want || complete && len(changes) != int(at.last-seen) {
			t.Errorf("after %d of %d: %d changes, all of them: %t, %v", seen, at.last, len(changes), complete, err)
		}
	}
}
