package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// countEach counts a request for each of n keys, more than are written at once.
func (f fixture) countEach(n int) {
	for i := range n {
		k := policy.Key{ID: fmt.Sprintf("key_%04d", i), AccountID: fmt.Sprintf("acc_%d", i%3)}
		f.CountUsage(start, aUse(k, policy.ReadJob, policy.Allowed), UsageCounts{Requests: 1})
	}
}

func (f fixture) journal() int {
	f.t.Helper()
	return count(f.t, rawDB(f.t, f.place), `SELECT COUNT(*) FROM usage_journal`)
}

// With many keys, counts go to the journal first. Every sum is as if they were written at once.
func TestUsageJournal_ChangesNoSum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		f := openStore(t, newPath(t), commandLine)
		defer f.Close()
		want := make(map[string]UsageCounts)
		for range rapid.IntRange(1, 4).Draw(r, "writes") {
			keys := rapid.IntRange(1, 3*usageBatch).Draw(r, "keys")
			for i := range keys {
				k := policy.Key{ID: fmt.Sprintf("key_%04d", i), AccountID: fmt.Sprintf("acc_%d", i%3)}
				c := UsageCounts{Requests: 1, Refused: int64(i % 2), AudioBytes: int64(i) << 33, AudioTime: time.Duration(i) * time.Millisecond, StreamTime: time.Second}
				f.CountUsage(start, aUse(k, policy.Recognize, policy.Allowed), c)
				sum := want[k.ID]
				sum.add(c)
				want[k.ID] = sum
			}
			f.usage.flush(t.Context())
			if n := f.journal(); keys > usageBatch && n == 0 {
				r.Error("the journal was not used")
			}
			if rapid.Bool().Draw(r, "fold") {
				if err := f.foldNow(t.Context()); err != nil {
					r.Fatal(err)
				}
			}
		}
		got := make(map[string]UsageCounts)
		var all UsageCounts
		for _, u := range f.usageOf(UsageList{Group: UsageByKey}) {
			got[u.KeyID] = u.UsageCounts
			all.add(u.UsageCounts)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			r.Errorf("(-want +got):\n%s", diff)
		}
		if sum := f.sumOf(UsageList{Since: 1}); sum != all {
			r.Errorf("%+v in all, want %+v", sum, all)
		}
		if n := f.journal(); n != 0 {
			r.Errorf("%d rows are left in the journal", n)
		}
	})
}

// Up to 8 counters are written without the journal in PostgreSQL, where the lock is that of all gateways, and
// up to 128 in a file. A bounded sum has these at once, and what is in the journal after it was folded.
func TestUsageJournal_HowManyCountersItIsFor(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place func() func(*Config)) {
		t.Helper()
		f := openStore(t, "", place(), commandLine)
		most := 128
		if f.cfg.Postgres != nil {
			most = 8
		}
		write := func(n int) (inJournal bool) {
			f.countEach(n)
			f.usage.flush(t.Context())
			rows, err := query(t.Context(), f.Store, scanInt, `SELECT COUNT(*) FROM usage_journal`)
			if err != nil {
				t.Fatal(err)
			}
			return rows[0] > 0
		}
		bounded := func(want int) {
			t.Helper()
			if n := f.sumOf(UsageList{Bounded: true}).Requests; n != int64(want) {
				t.Errorf("%d requests in a bounded sum, want %d", n, want)
			}
		}
		if write(most) {
			t.Errorf("%d counters are in the journal", most)
		}
		bounded(most)
		if !write(most + 1) {
			t.Errorf("%d counters are not in the journal", most+1)
		}
		bounded(most)
		if n := f.sumOf(UsageList{}).Requests; n != int64(2*most+1) {
			t.Errorf("%d requests, want %d", n, 2*most+1)
		}
		bounded(2*most + 1)
	})
}

// A fold that was interrupted goes on where it was, also if the journal has new rows by then.
func TestUsageJournal_AnInterruptedFoldGoesOn(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, commandLine, logTo(&logs))
	f.countEach(1000)
	f.usage.flush(t.Context())
	mend := trigger(t, path, `BEFORE INSERT ON usage_totals`, `(SELECT COUNT(*) FROM usage_scopes) > 700`, fails)
	if n := f.sumOf(UsageList{}).Requests; n != 1000 { // the row of all requests is written first
		t.Errorf("%d requests, want 1000", n)
	}
	if keys := len(f.usageOf(UsageList{Group: UsageByKey})); keys == 0 || keys >= 1000 {
		t.Errorf("%d keys, want some of them", keys)
	}
	if logs.FilterMessageSnippet("folding the journal").Len() == 0 {
		t.Error("the log does not say that folding has failed")
	}
	f.countEach(500)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mend()
	f = openStore(t, path, commandLine)
	keys := f.usageOf(UsageList{Group: UsageByKey})
	if len(keys) != 1000 || f.sumOf(UsageList{}).Requests != 1500 {
		t.Errorf("%d keys, %d requests; want 1000, 1500", len(keys), f.sumOf(UsageList{}).Requests)
	}
	for i := range keys {
		if want := int64(1); keys[i].Requests != want && keys[i].KeyID >= "key_0500" {
			t.Errorf("%s: %d requests, want %d", keys[i].KeyID, keys[i].Requests, want)
		}
	}
}

// Several processes that fold at a time add each count once.
func TestUsageJournal_SeveralProcesses(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	const stores, rounds, keys = 3, 4, 300
	var all sync.WaitGroup
	for range stores {
		f := openStore(t, path, commandLine)
		all.Go(func() {
			for range rounds {
				f.countEach(keys)
				f.usage.flush(t.Context())
				if err := f.foldNow(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	f := openStore(t, path, commandLine)
	for _, u := range f.usageOf(UsageList{Group: UsageByKey}) {
		if u.Requests != stores*rounds {
			t.Errorf("%s: %d requests, want %d", u.KeyID, u.Requests, stores*rounds)
		}
	}
	if n := f.sumOf(UsageList{}).Requests; n != stores*rounds*keys {
		t.Errorf("%d requests, want %d", n, stores*rounds*keys)
	}
}

// While one process folds in the background, the others wait: each transaction of the fold runs once.
func TestUsageJournal_OneProcessFoldsInTheBackground(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	const keys = 30 * foldBatch
	f := openStore(t, path, commandLine)
	f.countEach(keys)
	f.usage.flush(t.Context())
	var written atomic.Int64
	var all sync.WaitGroup
	for range 3 {
		s := openStore(t, path, commandLine, func(c *Config) { c.Wrote = func(Written) { written.Add(1) } })
		all.Go(func() {
			if err := s.foldUsage(t.Context(), 5*time.Millisecond); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := f.journal(); n != 0 {
		t.Errorf("%d rows are left in the journal", n)
	}
	if n, most := written.Load(), int64(keys/foldBatch+10); n > most {
		t.Errorf("%d transactions, want at most %d", n, most)
	}
	if n := f.sumOf(UsageList{}).Requests; n != keys {
		t.Errorf("%d requests, want %d", n, keys)
	}
}

// A process that folds in the background goes on with the fold of another process that has stopped.
func TestUsageJournal_AFoldOfAProcessThatHasStopped(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	const keys = 10 * foldBatch
	f := openStore(t, path, commandLine)
	f.countEach(keys)
	f.usage.flush(t.Context())
	begun, err := f.nextFold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	other := openStore(t, path, commandLine, func(c *Config) {
		batches := 0
		c.Wrote = func(Written) {
			if batches++; batches == 3 {
				stop()
			}
		}
	})
	if err := other.foldUsage(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("the fold of a process that stops: %v", err)
	}
	done := make(chan error)
	go func() { done <- begun.run(t.Context(), time.Millisecond) }()
	for waiting := true; waiting; {
		select {
		case err := <-done:
			if waiting = false; err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Millisecond):
			f.advance(time.Second)
		}
	}
	if n := f.sumOf(UsageList{}).Requests; n != keys || f.journal() != 0 {
		t.Errorf("%d requests, %d rows in the journal; want %d and none", n, f.journal(), keys)
	}
}

// The audio of a key or an account with a limit of audio is not in the journal, so that every
// process sees it.
func TestAudioUsed_IsNeverInTheJournal(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(policy.Key) policy.Identity{
		"a key":      func(k policy.Key) policy.Identity { return policy.Identity{KeyID: k.ID, AccountID: k.AccountID} },
		"an account": func(k policy.Key) policy.Identity { return policy.Identity{AccountID: k.AccountID} },
	} {
		path := newPath(t)
		now := start
		f := openStore(t, path, commandLine, func(c *Config) { c.Clock = func() policy.Time { return now } })
		k, _ := f.key(f.account().ID)
		owner := of(k)
		ask := func(want time.Duration) {
			t.Helper()
			for _, s := range []fixture{f, openStore(t, path, commandLine)} {
				if _, total, err := s.AudioUsed(t.Context(), start, owner); err != nil || total != want {
					t.Errorf("%s: %s of audio, %v; want %s", name, total, err, want)
				}
			}
		}
		hear := func() {
			f.CountUsage(start, aUse(k, policy.Recognize, policy.Allowed), UsageCounts{AudioTime: time.Second})
			f.countEach(2 * usageBatch)
			f.usage.flush(t.Context())
		}
		ask(0)
		hear()
		ask(time.Second)
		now = now.Add(watchedFor + time.Second) // no one has asked for a long time
		hear()
		if today, _, err := f.AudioUsed(t.Context(), start, owner); err != nil || today != time.Second {
			t.Errorf("%s: %s of audio, %v; it is still watched", name, today, err)
		}
	}
}

// A damaged row of the journal takes nothing else away, and the log says which it is. The keystore
// is pruned as before.
func TestUsageJournal_ADamagedRow(t *testing.T) {
	t.Parallel()
	var logs *observer.ObservedLogs
	f := openStore(t, newPath(t), commandLine, logTo(&logs))
	f.countEach(200)
	f.usage.flush(t.Context())
	whole := encodeUsage([]takenUsage{{UsageCounts{Requests: 1}, *aUse(policy.Key{ID: "key_a", AccountID: "acc_a"}, policy.ReadJob, policy.Allowed), 1}, {UsageCounts{Requests: 1}, *aUse(policy.Key{ID: "key_b", AccountID: "acc_b"}, policy.ReadJob, policy.Allowed), 1}})
	mustExec(t, rawDB(t, f.place), `INSERT INTO usage_journal (counts) VALUES ($1), ($2)`, []byte{1, 1}, whole[:len(whole)-1])
	f.countEach(200)
	f.usage.flush(t.Context())
	if err := f.Prune(t.Context(), start); err != nil {
		t.Errorf("pruning: %v", err)
	}
	if n := f.sumOf(UsageList{}).Requests; n != 400 {
		t.Errorf("%d requests, want 400", n)
	}
	if n := f.journal(); n != 0 {
		t.Errorf("%d rows are left in the journal", n)
	}
	if e := logs.FilterMessageSnippet("usage journal").All(); len(e) != 1 || fmt.Sprint(e[0].ContextMap()["rows"]) != "[2 3]" {
		t.Errorf("the log: %v", e)
	}
}

// A fold whose rows of the journal are gone ends, and the next one begins.
func TestUsageJournal_AFoldWithoutItsRows(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	mustExec(t, rawDB(t, f.place), `UPDATE usage_fold SET upto = 1, done = 384`)
	mustExec(t, rawDB(t, f.place), `INSERT INTO usage_journal (counts) VALUES ($1)`, []byte{0})
	mustExec(t, rawDB(t, f.place), `DELETE FROM usage_journal`)
	f.countEach(200)
	f.usage.flush(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.foldNow(ctx); err != nil {
		t.Fatal(err)
	}
	if n := f.sumOf(UsageList{}).Requests; n != 200 {
		t.Errorf("%d requests, want 200", n)
	}
}

func FuzzUsageJournal(f *testing.F) {
	f.Add(encodeUsage([]takenUsage{{UsageCounts{1, 2, 3, time.Second, time.Minute}, UsageOf{"key_1", "acc_1", "amivoice", policy.Recognize, policy.KeyExpired}, 5}}))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, counts []byte) {
		rows := make(usageRows)
		if rows.addJournal(counts) != nil {
			return
		}
		// Rows that can be read are read alike after another encoding of them.
		var keys []takenUsage
		for _, row := range rows.inOrder() {
			if row.keyID != "" {
				keys = append(keys, takenUsage{row.UsageCounts, UsageOf{KeyID: row.keyID, AccountID: row.accountID, Backend: row.kind.backend}, row.hour})
			}
		}
		again := make(usageRows)
		if err := again.addJournal(encodeUsage(keys)); err != nil {
			t.Fatal(err)
		}
		for i := range keys {
			k := &keys[i]
			if !slices.ContainsFunc(again.inOrder(), func(row usageSum) bool { return row.keyID == k.of.KeyID && row.hour == k.hour }) {
				t.Errorf("%+v was lost", k)
			}
		}
	})
}

// A bounded sum, and the usage of a list of keys, leave the journal as it is: no page waits for it.
func TestUsageJournal_BoundedSumsDoNotFold(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t), commandLine)
	f.countEach(1000)
	f.usage.flush(t.Context())
	rows := f.journal()
	if n := f.sumOf(UsageList{Bounded: true}).Requests; n >= 1000 || rows == 0 {
		t.Errorf("%d requests, although the journal had %d rows", n, rows)
	}
	if _, err := f.UsageSince(t.Context(), start.Add(-time.Hour), []policy.Identity{{KeyID: "key_0001", AccountID: "acc_1"}}); err != nil {
		t.Error(err)
	}
	if n := f.journal(); n != rows {
		t.Errorf("the journal has %d rows, want %d", n, rows)
	}
	if n := f.sumOf(UsageList{}).Requests; n != 1000 {
		t.Errorf("%d requests, want 1000", n)
	}
}
