package keystore

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/speechgate/speechgate/policy"
)

func TestStats_CountsWhatTheCachesAnswer(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	key, secret := f.key(f.account().ID)
	f.job(key, "j1")
	f.takeOverPolling() // a lookup that a poll overtakes asks twice
	f.feed.poll(t.Context())
	stats := func(cache string) CacheStats {
		for _, c := range f.Stats().Caches {
			if c.Name == cache {
				return c
			}
		}
		t.Fatalf("there is no cache %q", cache)
		return CacheStats{}
	}
	want := func(cache string, hits, misses uint64, entries int) {
		t.Helper()
		got := stats(cache)
		if got.Hits != hits || got.Misses != misses || got.Entries != entries || (got.Bytes > 0) != (entries > 0) {
			t.Errorf("the cache of %s: %+v; want %d hits, %d misses, %d entries", cache, got, hits, misses, entries)
		}
	}
	want("keys", 0, 0, 0)
	f.find(secret) // from the database
	want("keys", 0, 1, 1)
	f.find(secret)
	want("keys", 1, 1, 1)
	f.find(policy.NewSecret("of nobody"))
	f.find(policy.NewSecret("of nobody"))
	want("keys", 2, 2, 2)
	want("jobs", 0, 0, 0)
	for range 3 {
		if _, err := f.FindJob(t.Context(), "amivoice", "j1"); err != nil {
			t.Fatal(err)
		}
	}
	want("jobs", 2, 1, 1)
	want("tokens", 0, 0, 0)
}

func TestStats_SaysHowOldTheRecordsAre(t *testing.T) {
	t.Parallel()
	f := openStore(t, newPath(t))
	f.key(f.account().ID)
	f.takeOverPolling()
	f.feed.poll(t.Context())
	s := f.Stats()
	if !s.Open || s.Age > time.Second || !isPostgres(f.place) && (s.Bytes <= 0 || s.LogBytes <= 0 || s.FreeBytes <= 0) {
		t.Errorf("of an open store: %+v", s)
	}
	f.advance(3 * time.Second)
	if s := f.Stats(); !s.Open || s.Age < 3*time.Second || s.Age > 4*time.Second {
		t.Errorf("three seconds after the last poll: %+v", s)
	}
	f.advance(2 * time.Second) // max_staleness is 5s
	if s := f.Stats(); s.Open || s.Age < 5*time.Second {
		t.Errorf("beyond max_staleness: %+v", s)
	}
	f.room.free = func(string) int64 { return spaceUnknown }
	if s := f.Stats(); s.FreeBytes != -1 {
		t.Errorf("the system tells no free space, and Stats tells %d", s.FreeBytes)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if s := f.Stats(); s.Open || s.Bytes > 0 || s.LogBytes > 0 {
		t.Errorf("of a closed store: %+v", s)
	}
	if s := openStore(t, newPath(t), commandLine).Stats(); len(s.Caches) != 0 {
		t.Errorf("a command has the caches %+v", s.Caches)
	}
}

// Every transaction is told, with the writes that failed, and not those that were refused.
func TestWrote_IsToldOfEachTransaction(t *testing.T) {
	t.Parallel()
	var told []Written
	f, _ := fullStore(t, func(err error) bool { return errors.Is(err, errDiskFull) })
	f.cfg.Wrote = func(w Written) { told = append(told, w) }
	want := func(what string, all ...Written) {
		t.Helper()
		for i := range told {
			told[i].Took = 0
		}
		if !slices.Equal(told, all) {
			t.Errorf("%s: told %+v, want %+v", what, told, all)
		}
		told = nil
	}
	f.commitScripted([]scripted{{"a write", false, []error{nil}, nil, 1}, {"a refusal", false, []error{refuse(ErrInvalid, "no")}, ErrInvalid, 1}})
	want("a write and a refusal", Written{})
	f.commitScripted([]scripted{{"a fault", false, []error{errors.New("no")}, ErrUnavailable, 1}, {"another", false, []error{errors.New("no")}, ErrUnavailable, 1}})
	want("two faults", Written{Failed: 2, Cause: WriteFailed})
	if isPostgres(f.place) {
		return // whose disk is the server's
	}
	f.commitScripted([]scripted{
		{"a job without space", false, []error{errDiskFull}, ErrUnavailable, 1},
		{"an end without space", true, []error{errDiskFull, nil}, nil, 2},
	})
	want("a full disk, and an end that runs again", Written{Failed: 1, Cause: WriteNoRoom}, Written{})
}

func TestWrote_IsToldHowLongATransactionTook(t *testing.T) {
	t.Parallel()
	var told []Written
	f := openStore(t, newPath(t), func(c *Config) { c.Wrote = func(w Written) { told = append(told, w) } })
	f.account()
	if len(told) != 1 || told[0].Took <= 0 || told[0].Took > time.Minute {
		t.Errorf("told %+v, want one transaction and its time", told)
	}
}
