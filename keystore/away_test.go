package keystore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
	"github.com/speechgate/speechgate/policy"
)

// While the database is away, known keys are honoured for MaxStaleness. Nothing else is, and no key
// is called unknown. When the database is back, everything goes on by itself, and what has changed
// meanwhile counts.
func TestR17_WhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	f := openStore(t, "", inPostgres(dsn), func(c *Config) { c.MaxStaleness = time.Hour })
	other := openStore(t, "", inPostgres(dsn))
	key, secret := f.key(f.account().ID)
	revoked, revokedSecret := f.key(key.AccountID)
	_, unread := f.key(key.AccountID)
	f.waitForPoll() // the new keys are in the feed, and what is cached of them is dropped once
	for _, s := range []policy.Secret{secret, revokedSecret} {
		if f.find(s) == nil {
			t.Fatal("a new key is not found")
		}
	}

	server.Stop(t)
	testutil.Eventually(t, "the store finds out", func() bool { return f.away() != nil })
	if r, err := f.FindKey(t.Context(), secret); err != nil || statusOf(&r, start) != keyActive {
		t.Errorf("a known key: %v", err)
	}
	for name, s := range map[string]policy.Secret{"a key that was not read": unread, "no key": policy.NewSecret("sgk_never_issued")} {
		_, err := f.FindKey(t.Context(), s)
		wantIs(t, err, ErrUnavailable)
		if err == nil {
			t.Errorf("%s was found", name)
		}
	}
	_, err := f.FindJob(t.Context(), "amivoice", "unknown")
	wantIs(t, err, ErrUnavailable)
	wantIs(t, f.CheckRoom(), ErrUnavailable)
	wantIs(t, f.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "job", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start}), ErrUnavailable)
	f.advance(2 * time.Hour)
	_, err = f.FindKey(t.Context(), secret)
	wantIs(t, err, ErrUnavailable)

	server.StartAgain(t)
	testutil.Eventually(t, "the other store writes again", func() bool {
		_, err := other.RevokeKey(context.Background(), start, operator, revoked.ID, "")
		return err == nil
	})
	testutil.Eventually(t, "the revocation counts", func() bool {
		r, err := f.FindKey(context.Background(), revokedSecret)
		return err == nil && statusOf(&r, start) == "revoked"
	})
	for _, s := range []policy.Secret{secret, unread} {
		if r := f.find(s); r == nil || statusOf(r, start) != keyActive {
			t.Error("a key does not go on")
		}
	}
	if err := f.CheckRoom(); err != nil {
		t.Error(err)
	}
	f.job(key, "job")
}

// When the database is back, the records that were cached still are: the processes do not read all of
// them at once.
func TestR17_TheDatabaseComesBackToWarmCaches(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	f := openStore(t, "", inPostgres(server.NewDatabase(t)))
	f.takeOverPolling()
	a := f.account()
	secrets := make([]policy.Secret, 20)
	keyID := ""
	for i := range secrets {
		var k policy.Key
		k, secrets[i] = f.key(a.ID)
		keyID = k.ID
		f.find(secrets[i])
	}
	f.feed.poll(t.Context())
	for _, s := range secrets {
		f.find(s)
	}
	server.Restart(t)
	testutil.Eventually(t, "the store reads the feed again", func() bool {
		f.feed.poll(context.Background())
		return f.feed.failures.Load() == 0 && f.fresh(f.state.Load())
	})
	if _, err := f.FindKey(t.Context(), policy.NewSecret("sgk_never_issued")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a lookup on a connection of the server before: %v", err)
	}
	f.job(policy.Key{ID: keyID, AccountID: a.ID}, "job") // a write on such a connection
	before := f.cache.keys.Stats().Misses
	for _, s := range secrets {
		if f.find(s) == nil {
			t.Error("a key is gone")
		}
	}
	if n := f.cache.keys.Stats().Misses - before; n != 0 {
		t.Errorf("%d of %d records were read again", n, len(secrets))
	}
}

// One poll that fails does not stop the lookups: this process can have been stopped for longer than a
// poll may take. The second one does, and a poll that works ends it.
func TestR17_OnePollThatFailsStopsNoLookup(t *testing.T) {
	t.Parallel()
	f := openStore(t, "", inPostgres(postgrestest.Start(t).NewDatabase(t)))
	f.takeOverPolling()
	fail := func() {
		t.Helper()
		over, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		f.feed.poll(over)
	}
	lookUp := func(want error) {
		t.Helper()
		_, err := f.FindKey(t.Context(), policy.NewSecret("sgk_never_issued"))
		wantIs(t, err, want)
		f.feed.store.cache.keys.DropAll()
	}
	fail()
	lookUp(ErrNotFound)
	fail()
	lookUp(ErrUnavailable)
	wantIs(t, f.CheckRoom(), ErrUnavailable)
	f.feed.poll(t.Context())
	lookUp(ErrNotFound)
	wantIs(t, f.CheckRoom(), nil)
}

// A database that was lost, and is open again, can be asked at once: polls that failed before count no more.
func TestR17_AReopenedDatabaseIsAskedAtOnce(t *testing.T) {
	t.Parallel()
	f := openStore(t, "", inPostgres(postgrestest.Start(t).NewDatabase(t)))
	f.takeOverPolling()
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	for range awayAfter {
		f.feed.poll(over)
	}
	wantIs(t, f.away(), ErrUnavailable)
	f.feed.takeDown(t.Context(), f.state.Load(), engine.ErrReplaced)
	f.feed.poll(t.Context())
	if f.find(policy.NewSecret("sgk_never_issued")) != nil {
		t.Error("a key was found that was never issued")
	}
	wantIs(t, f.CheckRoom(), nil)
}

// A gateway starts while another one has the lock of writes, such as one that has fallen silent within a
// transaction: lookups need no lock.
func TestR17_AGatewayStartsWhileAnotherOneWrites(t *testing.T) {
	t.Parallel()
	database := postgrestest.Start(t).NewDatabase(t)
	openStore(t, "", inPostgres(database))
	defer lockFromOutside(t, database)()
	f := openStore(t, "", inPostgres(database))
	if f.find(policy.NewSecret("sgk_never_issued")) != nil {
		t.Error("a key was found that was never issued")
	}
}
