package keystore

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/policy"
)

// beAway makes the polls of a store whose background work is taken over fail, until it counts the database as away.
func (f fixture) beAway() {
	f.t.Helper()
	over, cancel := context.WithDeadline(f.t.Context(), time.Now())
	defer cancel()
	for f.away() == nil {
		f.feed.poll(over)
	}
}

// A machine that is suspended does not make the records younger, whenever the replica is looked at after: the monotonic
// clock stands meanwhile.
func TestReplica_ASuspensionCounts(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	type suspended struct {
		fixture
		dir    string
		clock  func() policy.Time
		secret policy.Secret
	}
	for name, after := range map[string]func(*testing.T, suspended){
		"before a poll has failed": func(t *testing.T, f suspended) {
			t.Helper()
			f.advance(2 * time.Second)
			if _, err := f.replica.advance(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"after polls have failed": func(t *testing.T, f suspended) {
			t.Helper()
			f.beAway()
			f.advance(2 * time.Second)
			if _, err := f.replica.advance(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		"before the replica is looked at": func(*testing.T, suspended) {},
	} {
		var clock atomic.Int64
		clock.Store(int64(start))
		f := suspended{dir: t.TempDir(), clock: func() policy.Time { return policy.Time(clock.Load()) }}
		f.fixture = openStore(t, "", inPostgres(dsn), withReplica(f.dir), func(c *Config) { c.Clock = f.clock })
		_, f.secret = f.key(f.account().ID)
		f.waitForReplica()
		f.takeOverPolling()
		f.feed.poll(t.Context())
		clock.Add((3 * time.Hour).Milliseconds())
		after(t, f)
		if _, err := f.replica.key(t.Context(), f.hash.secret(f.secret), fault(errAway)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: a key comes from the replica: %v", name, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel() // when the server has stopped
			s, _, err := tryStore("", inPostgres(dsn), withReplica(f.dir), func(c *Config) { c.Clock = f.clock })
			if err == nil {
				_ = s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "more than max_staleness") {
				t.Errorf("the next start: %v, want that the replica is too old", err)
			}
		})
	}
	server.Stop(t)
}

// What a gateway has changed itself, or has heard of, and the replica lacks, is not read from the replica either
// after a restart; and once the replica has followed, it is.
func TestReplica_ARestartForgetsNoNews(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn, dir := server.NewDatabase(t), t.TempDir()
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	revoked, revokedSecret := f.key(f.account().ID)
	closed := f.account()
	_, closedSecret := f.key(closed.ID)
	issuer, _ := f.key(revoked.AccountID, func(k *NewKey) { k.Issuable = true })
	_, childSecret := f.key(revoked.AccountID, func(k *NewKey) { k.Issuer, k.Origin = issuer.ID, policy.OriginAPI })
	_, secret := f.key(revoked.AccountID)
	f.waitForReplica()
	f.takeOverPolling()
	if _, err := f.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.RevokeTree(t.Context(), start, operator, issuer.ID, ""); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	f.beAway()
	f.advance(2 * time.Second)
	if _, err := f.replica.advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.replica.close() // and not the store: its process is killed
	_ = f.Close()

	for range 2 { // also a second restart
		f = openStore(t, "", inPostgres(dsn), withReplica(dir))
		f.wantUnavailable("a key that was revoked here", revokedSecret)
		f.wantUnavailable("a key whose account was closed here", closedSecret)
		f.wantUnavailable("a key whose issuer was revoked here", childSecret)
		f.wantFound("another key", secret, keyActive)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	server.StartAgain(t)
	f = openStore(t, "", inPostgres(dsn), withReplica(dir))
	f.waitForReplica()
	f.takeOverPolling()
	for what, s := range map[string]policy.Secret{"a revoked key": revokedSecret, "the key of a closed account": closedSecret, "the key of a revoked issuer": childSecret} {
		r, err := f.replica.key(t.Context(), f.hash.secret(s), fault(errAway))
		if err != nil || statusOf(&r, start) != "revoked" {
			t.Errorf("%s, after the replica has followed: %v", what, err)
		}
	}
	if n := count(t, rawDB(t, dir+"/replica.db"), `SELECT COUNT(*) FROM news`); n != 0 {
		t.Errorf("%d news stay in the file", n)
	}
}

// After a change of all records that the replica has not followed, no gateway begins with the replica.
func TestReplica_ARestartForgetsNoChangeOfAllRecords(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn, dir := server.NewDatabase(t), t.TempDir()
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	f.waitForReplica()
	f.takeOverPolling()
	f.dropAll()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	s, _, err := tryStore("", inPostgres(dsn), withReplica(dir))
	if err == nil {
		_ = s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "it lacks changes that concern all records") {
		t.Errorf("error %v, want that the replica lacks changes", err)
	}
}

// A row that was read before the replica has followed is not taken for a new one, although the change is forgotten by
// the time that it is asked for.
func TestReplica_NoOldRowIsTakenWhileItFollows(t *testing.T) {
	t.Parallel()
	f := openStore(t, "", inPostgres(postgrestest.Start(t).NewDatabase(t)), withReplica(t.TempDir()))
	k, secret := f.key(f.account().ID)
	f.waitForReplica()
	f.takeOverPolling()
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Fatal(err)
	}
	f.loaded = func() {
		f.loaded = nil
		f.feed.poll(t.Context())
		if _, err := f.replica.advance(t.Context()); err != nil {
			t.Error(err)
		}
	}
	r, err := f.replica.key(t.Context(), f.hash.secret(secret), fault(errAway))
	if err != nil || statusOf(&r, start) != "revoked" {
		t.Errorf("%v, found %t; want the key revoked", err, r.Found())
	}
}
