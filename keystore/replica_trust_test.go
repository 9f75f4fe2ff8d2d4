package keystore

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/keystore/internal/engine"
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

// What a gateway has changed itself, or has heard of, and the replica lacks, is not read from the replica after a
// restart. An own change is not read even if the gateway is killed at once. Once the replica has followed, all is read.
func TestReplica_ARestartForgetsNoNews(t *testing.T) {
	t.Parallel()
	t.Run("own changes, and killed at once", func(t *testing.T) {
		t.Parallel()
		testRestartForgetsNoNews(t, true)
	})
	t.Run("changes that were heard of", func(t *testing.T) {
		t.Parallel()
		testRestartForgetsNoNews(t, false)
	})
}

func testRestartForgetsNoNews(t *testing.T, own bool) {
	t.Helper()
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
	if _, err := f.replica.advance(t.Context()); err != nil { // the file names no key any more that the replica has
		t.Fatal(err)
	}
	writer := f
	if !own {
		writer = openStore(t, "", inPostgres(dsn))
	}
	if _, err := writer.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := writer.RevokeTree(t.Context(), start, operator, issuer.ID, ""); err != nil {
		t.Fatal(err)
	}
	if !own {
		f.feed.poll(t.Context())
		server.Stop(t)
		f.beAway()
		f.advance(2 * time.Second)
		if _, err := f.replica.advance(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_ = f.replica.file.Swap(nil).Close() // its process is killed
	_ = f.Close()
	if own {
		server.Stop(t)
	}

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
	f.feed.poll(t.Context())
	f.advance(2 * time.Second)
	if _, err := f.replica.advance(t.Context()); err != nil {
		t.Fatal(err)
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

// When a database has answered that it is not the store any more, or is another one, no later start believes the
// replica, no matter which store has heard the answer.
func TestReplica_NoStartBelievesItAfterTheDatabaseHasDisownedIt(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	other := &database{id: "another store"}
	dirs := make(map[string]string)
	for name, c := range map[string]func(f fixture){
		"a running store finds no store": func(f fixture) {
			f.feed.takeDown(t.Context(), f.state.Load(), engine.NoStore("there is no keystore any more"))
		},
		"a running store finds another store": func(f fixture) { f.replica.reopened(other) },
		"a store opens another store":         func(f fixture) { f.replica.resume(t.Context(), other) },
		"a store finds none": func(f fixture) {
			wantIs(t, f.replica.begin(t.Context(), engine.NoStore("there is no keystore")), engine.ErrNoStore)
		},
		"a store finds a newer one": func(f fixture) {
			newer := engine.Schema{Version: engine.SchemaVersion + 1}.CheckNewer()
			wantIs(t, f.replica.begin(t.Context(), newer), newer)
		},
		"a store finds another pepper": func(f fixture) {
			wantIs(t, f.replica.begin(t.Context(), errPepperWrong), errPepperWrong)
		},
	} {
		dir := t.TempDir()
		dirs[name] = dir
		f := openStore(t, "", inPostgres(dsn), withReplica(dir))
		_, secret := f.key(f.account().ID)
		f.waitForReplica()
		f.takeOverPolling()
		c(f)
		if _, err := f.replica.key(t.Context(), f.hash.secret(secret), fault(errAway)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: a key comes from the replica: %v", name, err)
		}
		open := f.state.Swap(&state{fault: fault(errAway)})
		select {
		case <-f.replica.wake:
			if _, err := f.replica.advance(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		default:
		}
		f.replica.file.Swap(nil).Close() // its process is killed
		f.state.Store(open)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	server.Stop(t)
	for name, dir := range dirs {
		if s, _, err := tryStore("", inPostgres(dsn), withReplica(dir)); err == nil {
			_ = s.Close()
			t.Errorf("%s: the next store begins with the replica", name)
		}
	}
	server.StartAgain(t)
	for name, dir := range dirs { // the answer was wrong
		f := openStore(t, "", inPostgres(dsn), withReplica(dir))
		f.waitForReplica()
		if !f.readsReplica() {
			t.Errorf("%s: the replica is not filled again", name)
		}
	}
}

// The same database can get another name.
func TestReplica_GetsTheNameOfItsDatabase(t *testing.T) {
	t.Parallel()
	dsn, dir := postgrestest.Start(t).NewDatabase(t), t.TempDir()
	fillReplica(t, dsn, dir)
	db := rawDB(t, dir+"/replica.db")
	mustExec(t, db, `UPDATE position SET place = 'postgres://other.example.com/speechgate'`)
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	f.waitForReplica()
	testutil.Eventually(t, "the replica has the new name", func() bool {
		f.advance(time.Second)
		return count(t, db, `SELECT COUNT(*) FROM position WHERE place = $1`, f.cfg.name) == 1
	})
}

// A replica that cannot follow all changes at once goes on from where it was, and a job that could not be copied is
// copied later.
func TestReplica_GoesOnFromWhereItWas(t *testing.T) {
	t.Parallel()
	dsn, dir := postgrestest.Start(t).NewDatabase(t), t.TempDir()
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	k, secret := f.key(f.account().ID)
	f.waitForReplica()
	f.takeOverPolling()
	db, err := f.database()
	if err != nil {
		t.Fatal(err)
	}
	exec := func(statement string, args ...any) {
		t.Helper()
		tx, err := db.Begin(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO feed (at, kind, ref) SELECT $1, 'account_new', 'acc_none'::BYTEA FROM generate_series(1, $2::INTEGER)`, start, 2*replicaChunk)
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Fatal(err)
	}
	f.job(k, "job")
	f.feed.poll(t.Context())
	before := f.replica.at
	exec(`ALTER TABLE jobs RENAME TO away`)
	if _, err := f.replica.advance(t.Context()); err == nil {
		t.Fatal("it follows without the table of jobs")
	}
	at := f.replica.at
	if at.seq <= before.seq || at.age != before.age || at.seen != before.seen {
		t.Errorf("it was at %d, %d, %s, and is at %d, %d, %s; want a later number and the same age", before.seq, before.age, before.seen, at.seq, at.age, at.seen)
	}
	if _, err := f.replica.key(t.Context(), f.hash.secret(secret), fault(errAway)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the revoked key comes from the replica: %v", err)
	}
	exec(`ALTER TABLE away RENAME TO jobs`)
	if _, err := f.replica.advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := f.replica.key(t.Context(), f.hash.secret(secret), fault(errAway))
	if err != nil || statusOf(&r, start) != "revoked" {
		t.Errorf("the revoked key: %v", err)
	}
	if _, err := f.replica.job(t.Context(), jobDigest("amivoice", "job"), "", "amivoice", "job", fault(errAway)); err != nil {
		t.Errorf("the job: %v", err)
	}
}
