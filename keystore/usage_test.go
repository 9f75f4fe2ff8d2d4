package keystore

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zaptest/observer"
	"pgregory.net/rapid"

	"github.com/speechgate/speechgate/policy"
)

// usageOf lists usage.
func (f fixture) usageOf(list UsageList) (all []Usage) {
	f.t.Helper()
	err := f.Usage(f.t.Context(), list, func(u *Usage) error {
		all = append(all, *u)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// sumOf returns the one sum of a list.
func (f fixture) sumOf(list UsageList) UsageCounts {
	f.t.Helper()
	all := f.usageOf(list)
	if len(all) != 1 {
		f.t.Fatalf("%d sums, want one", len(all))
	}
	return all[0].UsageCounts
}

func aUse(k policy.Key, op policy.Operation, reason policy.Reason) *UsageOf {
	return &UsageOf{KeyID: k.ID, AccountID: k.AccountID, Backend: "amivoice", Operation: op, Reason: reason}
}

func TestUsage_EachGroup(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	one, _ := f.key(f.account().ID)
	two, _ := f.key(one.AccountID)
	other, _ := f.key(f.account().ID)
	hour0, hour1 := start, start.Add(time.Hour)
	next := start.Add(day)
	asked := UsageCounts{Requests: 1}
	refused := UsageCounts{Requests: 1, Refused: 1}
	heard := UsageCounts{AudioBytes: 1000, AudioTime: 1500 * time.Millisecond}
	f.CountUsage(hour0, aUse(one, policy.Recognize, policy.Allowed), asked)
	f.CountUsage(hour0, aUse(one, policy.Recognize, policy.Allowed), heard)
	f.CountUsage(hour1, aUse(two, policy.ReadJob, policy.Allowed), asked)
	f.CountUsage(hour1, aUse(two, policy.ReadJob, policy.Allowed), asked)
	f.usage.flush(t.Context())
	f.CountUsage(hour1, aUse(two, policy.ReadJob, policy.KeyExpired), refused)
	f.CountUsage(next, aUse(other, policy.Stream, policy.Allowed), UsageCounts{Requests: 1, StreamTime: time.Minute})
	f.CountUsage(next, &UsageOf{Backend: "amivoice", Reason: policy.KeyUnknown}, refused)
	f.usage.flush(t.Context())
	f.usage.flush(t.Context()) // writes nothing again

	counts := func(requests, refused, bytes int64, audio, stream time.Duration) UsageCounts {
		return UsageCounts{requests, refused, bytes, audio, stream}
	}
	dayOf := func(at policy.Time) policy.Time { return at / (24 * hour) * (24 * hour) }
	whole := counts(6, 2, 1000, 1500*time.Millisecond, time.Minute)
	for name, c := range map[string]struct {
		list UsageList
		want []Usage
	}{
		"all":                    {UsageList{}, []Usage{{UsageCounts: whole}}},
		"all since":              {UsageList{Since: hour1}, []Usage{{UsageCounts: counts(5, 2, 0, 0, time.Minute)}}},
		"an account":             {UsageList{AccountID: one.AccountID}, []Usage{{UsageCounts: counts(4, 1, 1000, 1500*time.Millisecond, 0)}}},
		"an account since":       {UsageList{AccountID: one.AccountID, Since: hour1}, []Usage{{UsageCounts: counts(3, 1, 0, 0, 0)}}},
		"a key":                  {UsageList{AccountID: two.AccountID, KeyID: two.ID}, []Usage{{UsageCounts: counts(3, 1, 0, 0, 0)}}},
		"a key that is not used": {UsageList{AccountID: two.AccountID, KeyID: "key_none"}, []Usage{{}}},
		"hours": {UsageList{Group: UsageByHour}, []Usage{
			{At: hour0, UsageCounts: counts(1, 0, 1000, 1500*time.Millisecond, 0)},
			{At: hour1, UsageCounts: counts(3, 1, 0, 0, 0)},
			{At: next, UsageCounts: counts(2, 1, 0, 0, time.Minute)},
		}},
		"hours of a key since": {UsageList{Group: UsageByHour, AccountID: one.AccountID, KeyID: two.ID, Since: hour1}, []Usage{{At: hour1, UsageCounts: counts(3, 1, 0, 0, 0)}}},
		"days": {UsageList{Group: UsageByDay}, []Usage{
			{At: dayOf(hour0), UsageCounts: counts(4, 1, 1000, 1500*time.Millisecond, 0)}, {At: dayOf(next), UsageCounts: counts(2, 1, 0, 0, time.Minute)},
		}},
		"keys": {UsageList{Group: UsageByKey}, []Usage{
			{AccountID: two.AccountID, KeyID: two.ID, UsageCounts: counts(3, 1, 0, 0, 0)},
			{AccountID: one.AccountID, KeyID: one.ID, UsageCounts: counts(1, 0, 1000, 1500*time.Millisecond, 0)},
			{AccountID: other.AccountID, KeyID: other.ID, UsageCounts: counts(1, 0, 0, 0, time.Minute)},
		}},
		"the busiest key":          {UsageList{Group: UsageByKey, Limit: 1}, []Usage{{AccountID: two.AccountID, KeyID: two.ID, UsageCounts: counts(3, 1, 0, 0, 0)}}},
		"keys of an account since": {UsageList{Group: UsageByKey, AccountID: other.AccountID, Since: hour1}, []Usage{{AccountID: other.AccountID, KeyID: other.ID, UsageCounts: counts(1, 0, 0, 0, time.Minute)}}},
		"operations": {UsageList{Group: UsageByOperation}, []Usage{
			{Operation: "read_job", UsageCounts: counts(3, 1, 0, 0, 0)},
			{Operation: "recognize", UsageCounts: counts(1, 0, 1000, 1500*time.Millisecond, 0)},
			{Operation: "stream", UsageCounts: counts(1, 0, 0, 0, time.Minute)},
			{Operation: "unlisted", UsageCounts: counts(1, 1, 0, 0, 0)},
		}},
		"reasons of an account": {UsageList{Group: UsageByReason, AccountID: one.AccountID}, []Usage{
			{Reason: "allowed", UsageCounts: counts(3, 0, 1000, 1500*time.Millisecond, 0)}, {Reason: "key_expired", UsageCounts: counts(1, 1, 0, 0, 0)},
		}},
		"reasons since": {UsageList{Group: UsageByReason, Since: next}, []Usage{
			{Reason: "allowed", UsageCounts: counts(1, 0, 0, 0, time.Minute)}, {Reason: "key_unknown", UsageCounts: counts(1, 1, 0, 0, 0)},
		}},
	} {
		if c.list.Group == UsageByKey && len(c.want) == 3 { // two keys have as many requests: the older scope first
			got := f.usageOf(c.list)
			if len(got) == 3 && got[1].KeyID == other.ID {
				got[1], got[2] = got[2], got[1]
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			continue
		}
		if diff := cmp.Diff(c.want, f.usageOf(c.list)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, c := range []struct {
		key          policy.Key
		at           policy.Time
		today, total time.Duration
	}{{one, hour1, 1500 * time.Millisecond, 1500 * time.Millisecond}, {one, next, 0, 1500 * time.Millisecond}, {two, hour1, 0, 0}} {
		today, total, err := f.AudioUsed(t.Context(), c.at, policy.Identity{KeyID: c.key.ID, AccountID: c.key.AccountID})
		if err != nil || today != c.today || total != c.total {
			t.Errorf("key %s at %s has used %s of %s, %v; want %s of %s", c.key.ID, c.at, today, total, err, c.today, c.total)
		}
	}
}

// AudioUsed has what was counted a moment ago.
func TestAudioUsed_BeforeItIsWritten(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	k, _ := f.key(f.account().ID)
	sibling, _ := f.key(k.AccountID)
	stranger, _ := f.key(f.account().ID)
	use := aUse(k, policy.Recognize, policy.Allowed)
	f.CountUsage(start.Add(-day), use, UsageCounts{AudioTime: time.Second})
	f.CountUsage(start, use, UsageCounts{AudioTime: time.Minute})
	f.CountUsage(start, aUse(sibling, policy.Stream, policy.Allowed), UsageCounts{AudioTime: time.Hour})
	f.CountUsage(start, aUse(stranger, policy.Stream, policy.Allowed), UsageCounts{AudioTime: time.Millisecond})
	for _, written := range []bool{false, true} {
		for _, c := range []struct {
			of           policy.Identity
			today, total time.Duration
		}{
			{policy.Identity{KeyID: k.ID, AccountID: k.AccountID}, time.Minute, 61 * time.Second},
			{policy.Identity{AccountID: k.AccountID}, time.Hour + time.Minute, time.Hour + 61*time.Second},
			{policy.Identity{AccountID: stranger.AccountID}, time.Millisecond, time.Millisecond},
		} {
			if today, total, err := f.AudioUsed(t.Context(), start, c.of); err != nil || today != c.today || total != c.total {
				t.Errorf("written %t, %+v: %s of %s, %v; want %s of %s", written, c.of, today, total, err, c.today, c.total)
			}
		}
		f.usage.flush(t.Context())
	}
}

// Adding hours up to days, and pruning days, changes no sum that is kept.
func TestUsage_RollUpKeepsEverySum(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		f := openStore(t, newPath(t))
		defer f.Close()
		keys := make([]policy.Key, 3)
		for i := range keys {
			keys[i] = policy.Key{ID: "key_" + strconv.Itoa(i), AccountID: "acc_" + strconv.Itoa(i%2)}
		}
		reasons := []policy.Reason{policy.Allowed, policy.KeyExpired}
		now := start
		perKey, perDay := make(map[string]int64), make(map[policy.Time]int64)
		for range rapid.IntRange(1, 40).Draw(r, "counts") {
			k := rapid.SampledFrom(keys).Draw(r, "key")
			n := rapid.Int64Range(1, 5).Draw(r, "requests")
			f.CountUsage(now, aUse(k, policy.ReadJob, rapid.SampledFrom(reasons).Draw(r, "reason")), UsageCounts{Requests: n})
			perKey[k.ID] += n
			perDay[now/(24*hour)*(24*hour)] += n
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(r, "hours")) * time.Hour)
			switch rapid.IntRange(0, 3).Draw(r, "then") {
			case 0:
				f.usage.flush(t.Context())
			case 1:
				if err := f.Prune(t.Context(), now); err != nil {
					r.Fatal(err)
				}
			}
		}
		f.usage.flush(t.Context())
		if err := f.Prune(t.Context(), now); err != nil {
			r.Fatal(err)
		}
		var sum int64
		for _, u := range f.usageOf(UsageList{Group: UsageByKey}) {
			if u.Requests != perKey[u.KeyID] {
				r.Errorf("key %s: %d requests, want %d", u.KeyID, u.Requests, perKey[u.KeyID])
			}
			sum += u.Requests
		}
		if got := f.sumOf(UsageList{}).Requests; got != sum {
			r.Errorf("%d requests in all, want %d", got, sum)
		}
		days := f.usageOf(UsageList{Group: UsageByDay, Since: 1})
		if len(days) != len(perDay) {
			r.Errorf("%d days, want %d", len(days), len(perDay))
		}
		for _, u := range days {
			if u.Requests != perDay[u.At] {
				r.Errorf("%s: %d requests, want %d", u.At, u.Requests, perDay[u.At])
			}
		}
		if got := f.sumOf(UsageList{Since: 1}).Requests; got != sum {
			r.Errorf("%d requests in the days, want %d", got, sum)
		}
		since := int64(now.Add(-usageHoursKept)/hour) / hoursOfDay * hoursOfDay
		if n := count(t, rawDB(t, f.place), `SELECT COUNT(*) FROM usage_hours WHERE hour < $1`, since); n != 0 {
			r.Errorf("%d hours were not added up to days", n)
		}
	})
}

func TestUsage_IsPruned(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	k, _ := f.key(f.account().ID)
	f.CountUsage(start, aUse(k, policy.ReadJob, policy.Allowed), UsageCounts{Requests: 1})
	f.usage.flush(t.Context())
	later := func(d time.Duration) (days int, total int64, keys int) {
		if err := f.Prune(t.Context(), start.Add(d)); err != nil {
			t.Fatal(err)
		}
		return len(f.usageOf(UsageList{Group: UsageByDay, Since: 1})), f.sumOf(UsageList{AccountID: k.AccountID}).Requests, len(f.usageOf(UsageList{Group: UsageByKey}))
	}
	for _, c := range []struct {
		after      time.Duration
		days, keys int
	}{
		{day, 1, 1},
		{80 * day, 1, 1},
		{100 * day, 1, 0}, // the key's row is gone
		{400 * day, 1, 0},
		{402 * day, 0, 0},
	} {
		if days, total, keys := later(c.after); days != c.days || total != 1 || keys != c.keys {
			t.Errorf("after %s: %d days, a total of %d, %d keys; want %d, 1, %d", c.after, days, total, keys, c.days, c.keys)
		}
	}
	if n := count(t, rawDB(t, path), `SELECT COUNT(*) FROM usage_totals t LEFT JOIN usage_scopes s ON s.id = t.scope WHERE s.id IS NULL`); n != 0 {
		t.Errorf("%d totals of no one", n)
	}
}

// A count that cannot be written stays in memory, and is written once.
func TestUsage_AfterAnErrorOfTheStore(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	for i := range 300 { // more than one transaction
		k := policy.Key{ID: fmt.Sprintf("key_%03d", i), AccountID: "acc_1"}
		f.usage.watch(k.ID, start) // not to the journal
		f.CountUsage(start, aUse(k, policy.Recognize, policy.Allowed), UsageCounts{Requests: 1, AudioTime: time.Second})
	}
	mend := trigger(t, path, `BEFORE INSERT ON usage_totals`, `(SELECT COUNT(*) FROM usage_scopes) > 200`, fails)
	f.usage.flush(t.Context())
	if n := f.sumOf(UsageList{}).Requests; n == 0 || n >= 300 {
		t.Errorf("%d requests were written, want some of them", n)
	}
	mend()
	if err := f.Close(); err != nil { // writes the rest
		t.Fatal(err)
	}
	if n := openStore(t, path).sumOf(UsageList{}).Requests; n != 300 {
		t.Errorf("%d requests, want 300", n)
	}
}

// What is counted at a time is bounded, and the log says so.
func TestUsage_TooManyKeys(t *testing.T) {
	t.Parallel()
	var logs *observer.ObservedLogs
	f := openStore(t, newPath(t), commandLine, logTo(&logs))
	for i := range 3 * maxCells {
		f.CountUsage(start, &UsageOf{KeyID: strconv.Itoa(i) + "_" + strconv.Itoa(i%64), AccountID: "acc_1"}, UsageCounts{Requests: 1})
	}
	if n := len(f.usage.take()); n > maxCells || f.usage.lost.Load() != int64(3*maxCells-n) {
		t.Errorf("%d counters, %d counts lost", n, f.usage.lost.Load())
	}
	f.usage.flush(t.Context())
	if logs.FilterMessageSnippet("usage was not counted").Len() != 1 {
		t.Error("the log does not say that counts were lost")
	}
	f.CountUsage(start, &UsageOf{KeyID: "another"}, UsageCounts{Requests: 1})
	if n := len(f.usage.take()); n != 1 {
		t.Errorf("%d counters, want one for another key", n)
	}
}

func TestCountUsage_AllocatesNothing(t *testing.T) { //nolint:paralleltest // measures allocations
	f := openStore(t, newPath(t), commandLine)
	k, _ := f.key(f.account().ID)
	use := aUse(k, policy.ReadJob, policy.Allowed)
	if n := testing.AllocsPerRun(1000, func() { f.CountUsage(start, use, UsageCounts{Requests: 1}) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCountUsage(b *testing.B) {
	s, _, err := tryStore(b.TempDir()+"/keystore.db", commandLine)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	k := policy.Key{ID: "key_0123456789abcdefghijkl", AccountID: "acc_0123456789abcdefghijkl"}
	for b.Loop() {
		s.CountUsage(start, aUse(k, policy.ReadJob, policy.Allowed), UsageCounts{Requests: 1})
	}
}

// A stream counts while it lasts.
func TestMeterStream_WhileItLasts(t *testing.T) {
	t.Parallel()
	now := start
	f := openStore(t, newPath(t), commandLine, func(c *Config) { c.Clock = func() policy.Time { return now } })
	k, _ := f.key(f.account().ID)
	var bytes int64 = 500 // of a session before
	m := f.MeterStream(now, *aUse(k, policy.Stream, policy.Allowed), 32000, func() int64 { return bytes })
	check := func(want UsageCounts) {
		t.Helper()
		f.usage.flush(t.Context())
		if got := f.sumOf(UsageList{}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	check(UsageCounts{})
	now, bytes = now.Add(2*time.Second), bytes+16000
	check(UsageCounts{AudioBytes: 16000, AudioTime: 500 * time.Millisecond, StreamTime: 2 * time.Second})
	check(UsageCounts{AudioBytes: 16000, AudioTime: 500 * time.Millisecond, StreamTime: 2 * time.Second})
	bytes += 32000
	m.Stop(now.Add(time.Second))
	m.Stop(now.Add(time.Hour))
	now, bytes = now.Add(time.Hour), bytes+1
	check(UsageCounts{AudioBytes: 48000, AudioTime: 1500 * time.Millisecond, StreamTime: 3 * time.Second})
	(*StreamMeter)(nil).Stop(now) // does nothing
	if len(f.usage.streams) != 0 {
		t.Error("the stream is still measured")
	}
}
