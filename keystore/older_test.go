package keystore

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// aged is a store whose database goes back to an older state.
type aged struct {
	fixture

	logs   *observer.ObservedLogs
	key    policy.Key
	secret policy.Secret
}

func newAged(t *testing.T, path string, options ...func(*Config)) *aged {
	t.Helper()
	a := new(aged)
	a.fixture = openStore(t, path, append(options, logTo(&a.logs))...)
	a.takeOverPolling()
	a.key, a.secret = a.fixture.key(a.account().ID)
	a.poll()
	return a
}

// poll polls until the store can read its database.
func (a *aged) poll() {
	a.t.Helper()
	testutil.Eventually(a.t, "the store reads its database", func() bool {
		a.feed.poll(context.Background())
		return a.state.Load().fault == nil && a.feed.failures.Load() == 0
	})
}

// revoke revokes the key, and reads the change.
func (a *aged) revoke() {
	a.t.Helper()
	if _, err := a.RevokeKey(a.t.Context(), start, operator, a.key.ID, ""); err != nil {
		a.t.Fatal(err)
	}
	a.poll()
	if status := statusOf(a.find(a.secret), start); status != "revoked" {
		a.t.Fatalf("the key is %s", status)
	}
}

// wants checks that the store uses the state that its database has, and how often it has warned of an older one.
func (a *aged) wants(status string, warnings int) {
	a.t.Helper()
	for range 2 { // the second poll finds nothing new
		a.poll()
	}
	if got := statusOf(a.find(a.secret), start); got != status {
		a.t.Errorf("the key is %s, want %s", got, status)
	}
	if n := a.logs.FilterMessageSnippet("lacks changes").Len(); n != warnings {
		a.t.Errorf("%d warnings of an older state, want %d: %+v", n, warnings, a.logs.All())
	}
}

// A store warns if its database goes back to a state without a change that the store has seen: a key that was revoked
// since is valid again.
func TestOlder_APostgresDatabaseThatIsPutBackIsNoticed(t *testing.T) {
	t.Parallel()
	dump := func(emptied func(*aged)) func(*aged, *postgrestest.Server) func() {
		return func(a *aged, server *postgrestest.Server) func() {
			archive := server.Archive(a.t, a.place)
			return func() { server.PutBack(a.t, a.place, archive, func() { emptied(a) }) }
		}
	}
	for name, older := range map[string]func(a *aged, server *postgrestest.Server) (putBack func()){
		"pg_restore, unseen": dump(func(*aged) {}),
		"pg_restore, seen": dump(func(a *aged) {
			testutil.Eventually(a.t, "the store finds the database empty", func() bool {
				a.feed.poll(context.Background())
				return a.state.Load().fault != nil
			})
		}),
		"a copy of the data directory": func(a *aged, server *postgrestest.Server) func() { return server.Snapshot(a.t) },
	} {
		for lacks, c := range map[string]struct {
			change   func(a *aged)
			after    func(other fixture)
			warnings int
		}{
			"nothing":      {func(*aged) {}, func(fixture) {}, 0},
			"a revocation": {(*aged).revoke, func(fixture) {}, 1},
			"a revocation, and has other changes": {(*aged).revoke, func(other fixture) {
				for range 3 {
					other.account()
				}
			}, 1},
		} {
			t.Run(name+" lacks "+lacks, func(t *testing.T) {
				t.Parallel()
				server := postgrestest.New(t)
				a := newAged(t, server.NewDatabase(t))
				putBack := older(a, server)
				c.change(a)
				putBack()
				c.after(openStore(t, a.place, commandLine))
				a.wants(keyActive, c.warnings)
			})
		}
	}
}

// A store that was not open when its database went back warns if it has a replica.
func TestOlder_AReplicaKnowsWhatTheDatabaseHad(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	for _, lost := range []bool{false, true} {
		dsn, dir := server.NewDatabase(t), t.TempDir()
		f := openStore(t, dsn, withReplica(dir))
		key, _ := f.key(f.account().ID)
		f.waitForReplica()
		archive := server.Archive(t, dsn)
		warnings := 0
		if lost {
			if _, err := f.RevokeKey(t.Context(), start, operator, key.ID, ""); err != nil {
				t.Fatal(err)
			}
			f.waitForReplica()
			warnings = 1
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		server.PutBack(t, dsn, archive, func() {})
		var logs *observer.ObservedLogs
		g := openStore(t, dsn, withReplica(dir), logTo(&logs))
		g.key(g.account().ID)
		g.waitForReplica()
		if n := logs.FilterMessageSnippet("lacks changes that the replica has").Len(); n != warnings {
			t.Errorf("lost %t: %d warnings, want %d: %+v", lost, n, warnings, logs.All())
		}
	}
}

// An older file in the place of the keystore's file.
func TestOlder_AFileThatIsPutBackIsNoticed(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		path := newFile(t, "the file")
		a, older := newAged(t, path), filepath.Join(t.TempDir(), "older.db")
		warnings := 0
		vacuumInto(t, path, older)
		if err := os.Chmod(older, 0o600); err != nil {
			t.Fatal(err)
		}
		if lost {
			a.revoke()
			warnings = 1
		}
		replaceFile(t, older, path)
		a.feed.poll(t.Context()) // the file is another one
		a.wants(keyActive, warnings)
	}
}

// A restore undoes no revocation, and no store warns. This holds also for a backup of an older database, such as one
// that pg_restore has made beside the keystore.
func TestOlder_ARestoreIsNoOlderState(t *testing.T) {
	t.Parallel()
	a := newAged(t, newPath(t))
	backup := filepath.Join(t.TempDir(), "backup.db")
	if _, err := a.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	a.revoke()
	restore := func(path string) {
		t.Helper()
		if _, err := a.Restore(t.Context(), start, operator, path); err != nil {
			t.Fatal(err)
		}
		a.wants("revoked", 0)
	}
	restore(backup)

	server := postgrestest.Start(t)
	beside := server.NewDatabase(t)
	a = newAged(t, server.NewDatabase(t))
	archive := server.Archive(t, a.place)
	a.revoke()
	server.PutBack(t, beside, archive, func() {})
	older := openStore(t, beside, commandLine)
	if status := statusOf(older.find(a.secret), start); status != keyActive {
		t.Errorf("the key is %s in the older database", status)
	}
	backup = filepath.Join(t.TempDir(), "older.db")
	if _, err := older.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	restore(backup)
}

// After a promotion that may have lost changes, the log says so. If it has lost a change that this store has seen, the
// log says that.
func TestOlder_APromotionThatHasLostNothingIsNoOlderState(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		c := newCluster(t)
		a := newAged(t, "", inPostgres(c.both))
		c.part()
		warnings, perhaps := 0, 1
		if lost {
			a.revoke()
			warnings, perhaps = 1, 0
		}
		c.failOver()
		a.wants(keyActive, warnings)
		if n := a.logs.FilterMessageSnippet("if the promotion has lost changes").Len(); n != perhaps {
			t.Errorf("lost %t: %d warnings that changes may be lost, want %d", lost, n, perhaps)
		}
	}
}

func TestFeedPosition_Lacks(t *testing.T) {
	t.Parallel()
	none, mark, other := feedRow{}, feedRow{start, changedKey, "a key"}, feedRow{start, changedAccount, "an account"}
	for name, c := range map[string]struct {
		seq          int64
		mark         feedRow // that the process has seen
		pruned, last int64
		row          feedRow // that the feed has
		want         bool
	}{
		"a new keystore":                              {0, none, 0, 0, none, false},
		"the first change of a new keystore":          {0, none, 0, 1, none, false},
		"up to date":                                  {5, mark, 0, 5, mark, false},
		"behind":                                      {5, mark, 0, 9, mark, false},
		"at a change that was pruned":                 {5, mark, 7, 9, none, false},
		"at the last change that was pruned":          {5, mark, 5, 9, none, false},
		"at the oldest change that was not pruned":    {5, mark, 4, 9, mark, false},
		"all changes were pruned by an older version": {5, none, 5, 5, none, false},
		"the same, and there are changes":             {5, none, 5, 9, none, false},
		"after the last change":                       {5, mark, 0, 4, none, true},
		"after the last change, which was pruned":     {5, mark, 4, 4, none, true},
		"at another change":                           {5, mark, 0, 9, other, true},
		"at another change, which is the last one":    {5, mark, 0, 5, other, true},
		"at a number that was left out":               {5, mark, 0, 9, none, true},
		"at a change that was pruned later":           {5, none, 0, 9, mark, true},
	} {
		p := feedPosition{pruned: c.pruned, last: c.last, mark: c.row}
		if got := p.lacks(c.seq, c.mark); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
