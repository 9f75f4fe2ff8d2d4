package keystore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

func TestReadFeed(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path, commandLine)
	for range 5 {
		f.account()
	}
	db := rawDB(t, path)
	read := func(seen int64) string {
		mark, err := readFeedRow(t.Context(), db, seen)
		if err != nil {
			t.Fatal(err)
		}
		changes, state, complete, err := readFeed(t.Context(), db, seen, mark, f.maxBehind())
		return fmt.Sprint(len(changes), " ", state.last, " ", complete, " ", err)
	}
	check := func(what string, seen int64, want string) {
		t.Helper()
		if got := read(seen); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	check("from the start", 0, "5 5 true <nil>")
	check("some", 3, "2 5 true <nil>")
	check("up to date", 5, "0 5 true <nil>")
	check("ahead, as after an older file was put in place", 9, "0 5 false <nil>")
	for _, seen := range []int64{3, 5} {
		other := feedRow{start, changedAccount, "an account of a primary that is lost"}
		if _, _, complete, err := readFeed(t.Context(), db, seen, other, f.maxBehind()); complete || err != nil {
			t.Errorf("a standby without the last changes has given out number %d again: all changes are known: %t, %v", seen, complete, err)
		}
	}
	if err := f.Prune(t.Context(), start.Add(feedKept-1)); err != nil {
		t.Fatal(err)
	}
	check("nothing is old enough", 0, "5 5 true <nil>")
	f.account() // at the same time; make it newer
	mustExec(t, db, `UPDATE feed SET at = at + 1 WHERE seq = 6`)
	if err := f.Prune(t.Context(), start.Add(feedKept)); err != nil {
		t.Fatal(err)
	}
	check("behind what was pruned", 3, "0 6 false <nil>")
	check("at the last entry that is old enough to be pruned, which stays", 5, "1 6 true <nil>")
	pruned := feedRow{start, changedNewAccount, "an account"}
	if _, _, complete, err := readFeed(t.Context(), db, 4, pruned, f.maxBehind()); complete || err != nil {
		t.Errorf("at what was pruned: all changes are known: %t, %v", complete, err)
	}
	if err := f.Prune(t.Context(), start.Add(day)); err != nil {
		t.Fatal(err)
	}
	check("all but the last was pruned, behind", 4, "0 6 false <nil>")
	check("all but the last was pruned, up to date", 6, "0 6 true <nil>")
	mustExec(t, db, `INSERT INTO feed (seq, at, kind, ref) VALUES ($1, 1, 'key', $2)`, 6+f.maxBehind()+1, []byte{})
	check("too many", 6, fmt.Sprint("0 ", 6+f.maxBehind()+1, " false <nil>"))
}

// A pruning that comes between the queries of a reader, who is behind by more than what is kept, takes
// no change away unnoticed.
func TestReadFeed_PruningBetweenItsQueries(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]policy.Time{"all": start.Add(feedKept), "some": start.Add(feedKept - 1)} {
		path := newPath(t)
		f := openStore(t, path, commandLine)
		for range 5 {
			f.account()
		}
		db := rawDB(t, path)
		mustExec(t, db, `UPDATE feed SET at = at - 1 WHERE seq <= 3`)
		between := afterFirstQuery{db, func() {
			if err := f.Prune(t.Context(), at); err != nil {
				t.Error(err)
			}
		}}
		changes, _, complete, err := readFeed(t.Context(), &between, 1, feedRow{start - 1, changedNewAccount, ""}, f.maxBehind())
		if complete || err != nil {
			t.Errorf("%s: %d changes of 4 count as all of them: %v", name, len(changes), err)
		}
	}
}

// afterFirstQuery calls then once, after the first query.
type afterFirstQuery struct {
	querier
	then func()
}

func (q *afterFirstQuery) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if q.then != nil {
		q.then()
		q.then = nil
	}
	return q.querier.QueryContext(ctx, query, args...)
}

// A reader that missed some changes drops everything.
func TestFeed_AGapDropsEverything(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	_, secret := f.key(f.account().ID)
	f.find(secret)
	tx, err := rawDB(t, path).Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`UPDATE api_keys SET revoked_at = 1`,
		`DELETE FROM feed`,
		`UPDATE meta SET value = '1000' WHERE name = 'feed_pruned'`,
	} {
		if _, err := tx.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	testutil.Eventually(t, "the change counts", func() bool { return !f.find(secret).Key().RevokedAt.IsZero() })
}

// A newer version may write kinds of changes that this one does not know.
func TestFeed_UnknownKindDropsEverything(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	f := openStore(t, path)
	_, secret := f.key(f.account().ID)
	f.find(secret)
	db := rawDB(t, path)
	mustExec(t, db, `UPDATE api_keys SET revoked_at = 1`)
	mustExec(t, db, `INSERT INTO feed (at, kind, ref) VALUES (1, 'novelty', $1)`, []byte{0})
	testutil.Eventually(t, "the change counts", func() bool { return !f.find(secret).Key().RevokedAt.IsZero() })
}

func TestR17_UnreadableFeed(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	var logs *observer.ObservedLogs
	f := openStore(t, path, logTo(&logs))
	said := func() int { return logs.FilterMessageSnippet("change feed").Len() }
	_, secret := f.key(f.account().ID)
	f.takeOverPolling() // a poll of what was written drops records
	f.feed.poll(t.Context())
	f.find(secret)
	db := rawDB(t, path)
	show := hideFeed(t, path)
	f.feed.poll(t.Context())
	mustExec(t, db, `UPDATE api_keys SET revoked_at = 1`)
	if !f.find(secret).Key().RevokedAt.IsZero() {
		t.Error("within max_staleness the record was read again")
	}
	f.advance(5 * time.Second)
	if f.find(secret).Key().RevokedAt.IsZero() {
		t.Error("beyond max_staleness a cached record was trusted")
	}
	mustExec(t, db, `ALTER TABLE api_keys RENAME TO keys_away`)
	_, err := f.FindKey(t.Context(), secret)
	wantIs(t, err, ErrUnavailable)
	if errors.Is(err, ErrNotFound) {
		t.Error("a fault is taken for an unknown key")
	}
	for range 3 {
		f.feed.poll(t.Context())
	}
	if n := said(); n != 1 {
		t.Errorf("%d log lines for one loss", n)
	}

	mustExec(t, db, `ALTER TABLE keys_away RENAME TO api_keys`)
	show()
	testutil.Eventually(t, "the feed is back", func() bool { f.feed.poll(t.Context()); return f.fresh(f.state.Load()) })
	if f.find(secret) == nil || said() != 2 {
		t.Errorf("after the feed came back: %d log lines", said())
	}
}

func TestConfig_Defaults(t *testing.T) {
	t.Parallel()
	cfg, err := Config{Path: "relative/keystore.db"}.withDefaults()
	if err != nil || cfg.MaxStaleness != 5*time.Second || cfg.Retention != 90*day || cfg.CacheBytes != 128<<20 || cfg.Path[0] != '/' {
		t.Errorf("%+v, %v", cfg, err)
	}
	last := cfg.Clock()
	for range 1000 {
		now := cfg.Clock()
		if now < last {
			t.Fatal("time ran backwards")
		}
		last = now
	}
	if cfg.minFree != 16<<20 || cfg.reserve != 8<<20 {
		t.Errorf("%d bytes are kept free, and %d are the reserve", cfg.minFree, cfg.reserve)
	}
	for want, refused := range map[string][]Config{
		"want the name of a file": {{}, {Path: "a\x00b"}},
		"a cache of":              {{Path: "x", CacheBytes: -1}, {Path: "x", CacheBytes: 1<<20 - 1}, {Path: "x", CacheBytes: 64<<30 + 1}},
		"below zero":              {{Path: "x", Retention: -1}, {Path: "x", MaxStaleness: -1}},
	} {
		for _, cfg := range refused {
			if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", cfg, err, want)
			}
		}
	}
	for _, bytes := range []int64{1 << 20, 64 << 30} {
		if cfg, err := (Config{Path: "x", CacheBytes: bytes}).withDefaults(); err != nil || cfg.CacheBytes != bytes {
			t.Errorf("a cache of %d bytes: %d, %v", bytes, cfg.CacheBytes, err)
		}
	}
}

// A change of another process counts when a poll has read it. Half of the 250 ms is for the poll itself.
func TestR2_AChangeCountsWithin250Milliseconds(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "a poll in a short period")
	s := openStore(t, newPath(t))
	if period := s.state.Load().db.Period(); period > 125*time.Millisecond {
		t.Errorf("the feed is polled every %s, want 125 ms at most", period)
	}
}
