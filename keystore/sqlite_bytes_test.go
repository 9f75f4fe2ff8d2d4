package keystore

import (
	"errors"
	"os"
	"testing"

	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
)

func TestFileOverwrittenInPlaceIsNotTrusted(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	other := newPath(t)
	g := openStore(t, other)
	g.key(g.account().ID)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, bytes := range map[string][]byte{"another store": store, "nothing": nil, "garbage": []byte("garbage, and more of it")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newPath(t)
			var logs *observer.ObservedLogs
			f := openStore(t, path, logTo(&logs))
			_, secret := f.key(f.account().ID)
			f.find(secret)
			old, _ := f.database()
			f.waitForPoll()                                          // the poll has seen the writes so far
			if err := os.WriteFile(path, bytes, 0o600); err != nil { // as cp does
				t.Fatal(err)
			}
			testutil.Eventually(t, "it is noticed", func() bool {
				_, err := f.FindKey(t.Context(), secret)
				return errors.Is(err, ErrUnavailable)
			})
			testutil.Eventually(t, "the log says so", func() bool {
				return logs.FilterMessage("the keystore is unavailable").Len() == 1
			})
			replaceFile(t, copyOf(t, store), path)
			testutil.Eventually(t, "a file that is renamed over it is served", func() bool {
				_, err := f.FindKey(t.Context(), secret)
				return errors.Is(err, ErrNotFound)
			})
			if err := old.Close(); err != nil {
				t.Log(err) // SQLite may find the file damaged
			}
		})
	}
}

func copyOf(t *testing.T, store []byte) string {
	t.Helper()
	path := newPath(t)
	if err := os.WriteFile(path, store, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckpointsAreNoOverwriting(t *testing.T) {
	t.Parallel()
	postgrestest.OfSQLite(t, "the file")
	path := newPath(t)
	f := openStore(t, path)
	a := f.account()
	db := rawDB(t, path)
	for polls, last := 0, f.feed.until.Load(); polls < 10; {
		if until := f.feed.until.Load(); until != last {
			polls, last = polls+1, until
		}
		_, secret := f.key(a.ID)
		for _, mode := range []string{"PASSIVE", "TRUNCATE"} {
			if _, err := db.ExecContext(t.Context(), "PRAGMA wal_checkpoint("+mode+")"); err != nil {
				t.Fatal(err)
			}
			if f.find(secret) == nil {
				t.Fatal("the store is gone")
			}
		}
	}
}
