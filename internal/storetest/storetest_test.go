package storetest

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore"
)

// eachEngine runs a test with a new place of each engine, also if one is chosen.
func eachEngine(t *testing.T, test func(t *testing.T, place Place)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, Place(filepath.Join(t.TempDir(), "store", "keystore.db")))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, Place(postgrestest.Start(t).NewDatabase(t)))
	})
}

func open(t *testing.T, place Place) *keystore.Store {
	t.Helper()
	store, err := keystore.Open(t.Context(), place.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func TestPlace_TellsWhetherThereIsAKeystoreAndWhetherItIsOpen(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place Place) {
		if place.Exists(t) {
			t.Error("there is a keystore before the first use")
		}
		store := open(t, place)
		if !place.Exists(t) || !place.InUse(t) {
			t.Error("the open keystore is not found")
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, "the keystore is closed", func() bool { return !place.InUse(t) })
	})
}

func TestPlace_ALockedKeystoreCanOnlyBeRead(t *testing.T) {
	t.Parallel()
	operator := keystore.Actor{Kind: keystore.ActorOperator, ID: "test"}
	eachEngine(t, func(t *testing.T, place Place) {
		store := open(t, place)
		write := func(limit time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, _, err := store.CreateAccount(ctx, keystore.SystemClock().Now(), operator, "Test")
			return err
		}
		unlock := place.Lock(t)
		if err := write(50 * time.Millisecond); err == nil {
			t.Error("an account is written")
		}
		if _, err := store.Summary(t.Context()); err != nil {
			t.Error(err)
		}
		unlock()
		if err := write(time.Minute); err != nil {
			t.Error(err)
		}
	})
}

func TestPlace_AMovedKeystoreIsAtItsNewPlaceOnly(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place Place) {
		store := open(t, place)
		id, err := store.ID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		away := place.Beside("away")
		place.Move(t, away)
		moved := open(t, away)
		if found, err := moved.ID(t.Context()); err != nil || found != id || place.Exists(t) {
			t.Errorf("at the new place is the keystore %s (%v), want %s; one is at the old place: %t", found, err, id, place.Exists(t))
		}
	})
}

func TestPlace_ASpoiltKeystoreCannotBeOpened(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, place Place) {
		if err := open(t, place).Close(); err != nil {
			t.Fatal(err)
		}
		place.Spoil(t)
		if _, err := keystore.Open(t.Context(), place.CommandLine()); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("opening it: %v", err)
		}
	})
}

func TestPlace_ADumpHasTheLettersOfEveryValue(t *testing.T) {
	t.Parallel()
	place := Place(postgrestest.Start(t).NewDatabase(t))
	id, err := open(t, place).ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db := place.Database(t)
	if _, err := db.ExecContext(t.Context(), `INSERT INTO feed (at, kind, ref) VALUES (1, 'key', 'bytes with letters')`); err != nil {
		t.Fatal(err)
	}
	if dump := place.Dump(t); !strings.Contains(dump, id) || !strings.Contains(dump, "bytes with letters") {
		t.Errorf("the dump is %s", dump)
	}
}

func TestPlace_NamesItselfWithoutAPassword(t *testing.T) {
	t.Parallel()
	for place, want := range map[Place][3]string{
		"/k/store.db":            {"sqlite /k/store.db", `{"path":"/k/store.db"}`, "/k/store.db"},
		"postgres://a:b@db/keys": {"postgres postgres://a:b@db/keys", `{"engine":"postgres","dsn":"postgres://a:b@db/keys"}`, "postgres://db/keys"},
	} {
		if got := [3]string{place.Option(), place.JSON(), place.Name(t)}; got != want {
			t.Errorf("%s: %q, want %q", place, got, want)
		}
	}
}
