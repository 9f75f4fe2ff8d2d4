package keystore

import (
	"database/sql"
	"testing"
	"time"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
)

// want checks the statistics of the replica. It compares all but the age and the size, which it checks roughly.
func (f fixture) wantReplica(when string, want ReplicaStats) {
	f.t.Helper()
	got := *f.Stats().Replica
	if got.Bytes <= 0 || got.Age < want.Age || want.Age >= 0 && got.Age > want.Age+5*time.Second || want.Age < 0 && got.Age >= 0 {
		f.t.Errorf("%s: it is %s old and has %d bytes; want the age %s", when, got.Age, got.Bytes, want.Age)
	}
	if want.Age, want.Bytes = got.Age, got.Bytes; got != want {
		f.t.Errorf("%s: %+v, want %+v", when, got, want)
	}
}

func TestReplica_StatsSayHowItWorks(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn, dir := server.NewDatabase(t), t.TempDir()
	other := openStore(t, "", inPostgres(dsn))
	a := other.account()
	_, secret := other.key(a.ID)
	if stats := other.Stats().Replica; stats != nil {
		t.Errorf("a store without a replica has %+v", stats)
	}
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	f.takeOverPolling()
	f.replica.discard(t.Context())
	if err := f.replica.setAside(f.replica.file.Load(), errAway); err != nil {
		t.Fatal(err)
	}
	f.feed.poll(t.Context())
	step := func() { f.replica.step(t.Context()) }
	step()
	f.wantReplica("it is begun", ReplicaStats{Filling: true, Age: -1})
	for more := true; more; {
		_, more = f.replica.step(t.Context())
		if full := f.replica.at.phase == filled; more == full { // a full file follows at once: only filling needs pauses
			t.Fatalf("full: %t; more is to be done: %t", full, more)
		}
	}
	step()
	f.wantReplica("it is filled", ReplicaStats{Readable: true, Keys: 1})
	other.key(a.ID)
	f.feed.poll(t.Context())
	step()
	f.wantReplica("a new key was just copied", ReplicaStats{Readable: true, Keys: 1})
	f.advance(countEvery)
	f.feed.poll(t.Context())
	step()
	f.wantReplica("a minute later", ReplicaStats{Readable: true, Keys: 2})

	f.dropAll()
	f.wantReplica("any record can have changed", ReplicaStats{Keys: 2})
	f.feed.poll(t.Context())
	step()
	f.wantReplica("it has followed", ReplicaStats{Readable: true, Keys: 2})

	server.Stop(t)
	f.wantReplica("the database is away", ReplicaStats{Readable: true, Keys: 2})
	f.wantFound("a key", secret, keyActive)
	f.wantReplica("a key came from it", ReplicaStats{Readable: true, Serving: true, Keys: 2})
	step()
	f.wantReplica("the last answer of the database is from before", ReplicaStats{Readable: true, Serving: true, Keys: 2})
	f.beAway()
	f.wantReplica("the feed cannot be read either", ReplicaStats{Readable: true, Serving: true, Keys: 2})
	f.advance(time.Hour - 10*time.Second)
	f.wantReplica("a little before max_staleness", ReplicaStats{Readable: true, Serving: true, Keys: 2, Age: time.Hour - 10*time.Second})
	f.advance(10 * time.Second)
	f.wantReplica("after max_staleness", ReplicaStats{Keys: 2, Age: time.Hour})
	server.StartAgain(t)
	testutil.Eventually(t, "the replica is followed", func() bool {
		f.feed.poll(t.Context())
		step()
		return f.Stats().Replica.Readable
	})
	f.wantReplica("the database is back", ReplicaStats{Readable: true, Keys: 2})
}

// Until the polls have found out that the database is away, and while it is only slow, a health check and a reload go
// by the replica.
func TestReplica_CountsBeforeTheDatabaseIsKnownToBeAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn := server.NewDatabase(t)
	f := openStore(t, "", inPostgres(dsn), withReplica(t.TempDir()))
	id, err := f.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.waitForReplica()
	f.takeOverPolling()
	want := func(when string) {
		t.Helper()
		begun := time.Now()
		if got, err := f.ID(t.Context()); got != id || err != nil || time.Since(begun) > 4*idLimit {
			t.Errorf("%s: the ID is %q, %v, after %s", when, got, err, time.Since(begun))
		}
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `LOCK TABLE meta`); err != nil {
		t.Fatal(err)
	}
	want("the database is slow")
	_ = tx.Rollback()
	server.Stop(t)
	want("the database is away")
	if err := f.Check(t.Context()); err != nil {
		t.Errorf("the check at a reload: %v", err)
	}
	if f.away() != nil {
		t.Error("the store knows that the database is away: the test shows nothing")
	}
}
