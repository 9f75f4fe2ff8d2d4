package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/speechgate/speechgate/internal/postgrestest"
	"github.com/speechgate/speechgate/internal/testutil"
	"github.com/speechgate/speechgate/policy"
)

// withReplica gives a store in PostgreSQL a replica.
func withReplica(dir string) func(*Config) {
	return func(c *Config) { c.Postgres.Replica, c.MaxStaleness, c.replicaBegins = dir, time.Hour, 1 }
}

// waitForReplica waits until the replica has all that was committed before this call.
func (f fixture) waitForReplica() {
	f.t.Helper()
	now := f.Store.mono()
	if db, err := f.database(); err == nil {
		testutil.Eventually(f.t, "the follower is told to ask now", func() bool {
			_, err := db.reader.ExecContext(f.t.Context(), `SELECT pg_notify('speechgate_feed', '')`)
			return err == nil
		})
	}
	testutil.Eventually(f.t, "the replica has followed", func() bool {
		c, n := f.replica.copied.Load(), &f.replica.news
		n.mu.Lock()
		defer n.mu.Unlock()
		return c != nil && c.at >= now && n.all == 0 && len(n.digests)+len(n.accounts)+len(n.issuers) == 0
	})
}

// fillReplica fills a new replica of a store, and closes the store.
func fillReplica(t *testing.T, dsn, dir string) {
	t.Helper()
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	f.waitForReplica()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// waitForItems waits until the replica has taken what was to be kept.
func (f fixture) waitForItems() {
	f.t.Helper()
	testutil.Eventually(f.t, "the replica takes jobs and tokens", func() bool { return len(f.replica.queue) == 0 })
	f.waitForReplica()
}

func waitUntilAway(f fixture) {
	f.t.Helper()
	testutil.Eventually(f.t, "the store finds out that the database is away", func() bool { return f.away() != nil })
}

// wantFound wants the key of a secret to have a status.
func (f fixture) wantFound(what string, secret policy.Secret, status string) {
	f.t.Helper()
	r, err := f.FindKey(f.t.Context(), secret)
	if err != nil || !r.Found() || statusOf(&r, start) != status {
		f.t.Errorf("%s: %v, found %t; want it %s", what, err, r.Found(), status)
	}
}

func (f fixture) wantUnavailable(what string, secret policy.Secret) {
	f.t.Helper()
	if _, err := f.FindKey(f.t.Context(), secret); !errors.Is(err, ErrUnavailable) {
		f.t.Errorf("%s: %v, want it unavailable", what, err)
	}
}

// While the database is away, a gateway with a replica knows all keys, also those that it has never looked up,
// for MaxStaleness, and also if it starts meanwhile. What had ended has ended, and a key that the replica
// lacks is not called unknown.
func TestReplica_HasAllKeysWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	server := postgrestest.New(t)
	dsn, dir := server.NewDatabase(t), filepath.Join(t.TempDir(), "replica")
	other := openStore(t, "", inPostgres(dsn))
	before, beforeSecret := other.key(other.account().ID)
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	f.waitForReplica()

	// Each kind of change.
	key, secret := other.key(before.AccountID)
	revoked, revokedSecret := other.key(before.AccountID)
	closed := other.account()
	_, closedSecret := other.key(closed.ID)
	issuer, issuerSecret := other.key(before.AccountID, func(k *NewKey) { k.Issuable = true })
	_, childSecret := other.key(before.AccountID, func(k *NewKey) { k.Issuer, k.Origin = issuer.ID, policy.OriginAPI })
	f.waitForReplica()
	if _, err := other.RevokeKey(t.Context(), start, operator, revoked.ID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := other.CloseAccount(t.Context(), start, operator, closed.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.RevokeTree(t.Context(), start, operator, issuer.ID, ""); err != nil {
		t.Fatal(err)
	}
	f.job(key, "made here")
	if _, err := other.FindJob(t.Context(), "amivoice", "made here"); err != nil {
		t.Fatal(err)
	}
	other.job(key, "made elsewhere")
	if _, err := f.FindJob(t.Context(), "amivoice", "made elsewhere"); err != nil {
		t.Fatal(err)
	}
	other.job(key, "never asked for here")
	token := NewToken{Backend: "amivoice", Secret: policy.NewSecret("a-token-of-the-backend"), KeyID: key.ID, CreatedAt: start, ExpiresAt: start.Add(time.Hour)}
	if err := f.RecordToken(t.Context(), new(WriteReservation), token); err != nil {
		t.Fatal(err)
	}
	f.waitForItems()
	if err := other.SetJobState(t.Context(), "amivoice", "made here", policy.JobCompleted, start); err != nil {
		t.Fatal(err)
	}
	f.waitForReplica()

	check := func(f fixture) {
		t.Helper()
		f.wantFound("a key from before the replica", beforeSecret, keyActive)
		f.wantFound("a key from after it", secret, keyActive)
		f.wantFound("a revoked key", revokedSecret, "revoked")
		f.wantFound("the key of a closed account", closedSecret, "revoked")
		f.wantFound("a revoked issuer", issuerSecret, "revoked")
		f.wantFound("the key of a revoked issuer", childSecret, "revoked")
		f.wantUnavailable("no key", policy.NewSecret("sgk_never_issued"))
		for id, want := range map[string]policy.JobState{"made here": policy.JobCompleted, "made elsewhere": policy.JobUnseen} {
			j, err := f.FindJobFor(t.Context(), key.AccountID, "amivoice", id)
			if err != nil || j.State != want || j.KeyID != key.ID {
				t.Errorf("the job %s: %v %+v", id, err, j)
			}
		}
		for _, id := range []string{"never asked for here", "never made"} {
			_, err := f.FindJobFor(t.Context(), key.AccountID, "amivoice", id)
			wantIs(t, err, ErrUnavailable)
		}
		if _, owner, err := f.FindToken(t.Context(), "amivoice", token.Secret); err != nil || statusOf(&owner, start) != keyActive {
			t.Errorf("a token: %v", err)
		}
		wantIs(t, f.CheckRoom(), ErrUnavailable)
		wantIs(t, f.CreateJob(t.Context(), policy.Job{Backend: "amivoice", ID: "new", AccountID: key.AccountID, KeyID: key.ID, CreatedAt: start}), ErrUnavailable)
		_, _, err := f.IssueKey(t.Context(), start, operator, NewKey{AccountID: key.AccountID, Origin: policy.OriginConsole, Expires: policy.Never()})
		wantIs(t, err, ErrUnavailable)
		if id, err := f.ID(t.Context()); err != nil || id == "" {
			t.Errorf("the ID: %q, %v", id, err)
		}
		if !f.ServesFromReplica() {
			t.Error("no records come from the replica")
		}
		if err := f.Check(t.Context()); err != nil {
			t.Errorf("the check at a reload: %v", err)
		}
	}
	server.Stop(t)
	waitUntilAway(f)
	check(f)
	if _, err := f.FindJobFor(t.Context(), closed.ID, "amivoice", "made here"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a client of another account can tell that there is a job: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}

	f = openStore(t, "", inPostgres(dsn), withReplica(dir))
	check(f)
	f.advance(time.Hour)
	f.wantUnavailable("a key after max_staleness", secret)
	if _, err := f.ID(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the ID after max_staleness: %v", err)
	}

	server.StartAgain(t)
	testutil.Eventually(t, "the key is found again", func() bool {
		r, err := f.FindKey(context.Background(), secret)
		return err == nil && statusOf(&r, start) == keyActive
	})
	if _, err := f.FindKey(t.Context(), policy.NewSecret("sgk_never_issued")); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown key: %v", err)
	}
	f.job(key, "after it")
	f.waitForReplica()
	if f.ServesFromReplica() {
		t.Error("records still come from the replica")
	}
}

// The replica follows all changes of the feed, also many at once, imports, and those that came while the
// gateway was stopped; and it is filled again if the feed has lost some.
func TestReplica_FollowsAllChanges(t *testing.T) {
	t.Parallel()
	server, dir := postgrestest.Start(t), t.TempDir()
	dsn := server.NewDatabase(t)
	other := openStore(t, "", inPostgres(dsn))
	a := other.account()
	f := openStore(t, "", inPostgres(dsn), withReplica(dir))
	f.waitForReplica()
	secrets := make(map[string]policy.Secret)
	issue := func(n int) {
		for range n {
			k, s := other.key(a.ID)
			secrets[k.ID] = s
		}
	}
	same := func(what string) {
		t.Helper()
		f.waitForReplica()
		for id, s := range secrets {
			want, err := other.FindKey(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.replica.key(t.Context(), f.hash.secret(s), fault(errAway))
			if err != nil || got.packed != want.packed {
				t.Fatalf("%s: key %s: %v, and the same record: %t", what, id, err, got.packed == want.packed)
			}
		}
	}
	issue(100)
	same("many new keys")
	im := Import{AccountID: a.ID}
	for i := range 30 {
		im.Secrets = append(im.Secrets, policy.NewSecret(fmt.Sprintf("imported-secret-%02d-0123456789", i)))
		secrets[fmt.Sprint("imported", i)] = im.Secrets[i]
	}
	other.imports(im)
	same("an import")
	for id := range secrets {
		if strings.HasPrefix(id, "key_") {
			if _, err := other.RevokeKey(t.Context(), start, operator, id, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	same("many revocations")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	issue(20)
	if _, err := other.SuspendAccount(t.Context(), start, operator, a.ID, ""); err != nil {
		t.Fatal(err)
	}
	f = openStore(t, "", inPostgres(dsn), withReplica(dir))
	same("changes while it was stopped")
	var logs *observer.ObservedLogs
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.ResumeAccount(t.Context(), start, operator, a.ID); err != nil {
		t.Fatal(err)
	}
	issue(3)
	db, err := other.database()
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`DELETE FROM feed WHERE seq < (SELECT MAX(seq) FROM feed)`,
		`UPDATE meta SET value = (SELECT MAX(seq) - 1 FROM feed)::TEXT WHERE name = 'feed_pruned'`,
	} {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	f = openStore(t, "", inPostgres(dsn), withReplica(dir), logTo(&logs))
	same("a feed that has lost changes")
	if logs.FilterMessageSnippet("the replica is being filled again").Len() != 1 {
		t.Errorf("the log is %v", logs.All())
	}
}

// A gateway's own change counts at once, also if the database goes away before the replica has followed.
func TestReplica_DoesNotContradictTheGatewaysOwnChange(t *testing.T) {
	t.Parallel()
	f := openStore(t, "", inPostgres(postgrestest.Start(t).NewDatabase(t)), withReplica(t.TempDir()))
	k, secret := f.key(f.account().ID)
	_, other := f.key(k.AccountID)
	f.waitForReplica()
	f.takeOverPolling()
	if _, err := f.RevokeKey(t.Context(), start, operator, k.ID, ""); err != nil {
		t.Fatal(err)
	}
	away := fault(errAway)
	if _, err := f.replica.key(t.Context(), f.hash.secret(secret), away); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the revoked key comes from the replica: %v", err)
	}
	if _, err := f.replica.key(t.Context(), f.hash.secret(other), away); err != nil {
		t.Errorf("another key: %v", err)
	}
	f.feed.poll(t.Context())
	if _, err := f.replica.advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := f.replica.key(t.Context(), f.hash.secret(secret), away)
	if err != nil || statusOf(&r, start) != "revoked" {
		t.Errorf("after the replica has followed: %v", err)
	}
}

// The store that was opened last writes the file. When it is closed, the one before goes on.
func TestReplica_OneStoreWritesIt(t *testing.T) {
	t.Parallel()
	server, dir := postgrestest.Start(t), t.TempDir()
	dsn := server.NewDatabase(t)
	var logs *observer.ObservedLogs
	first := openStore(t, "", inPostgres(dsn), withReplica(dir), logTo(&logs))
	first.waitForReplica()
	second := openStore(t, "", inPostgres(dsn), withReplica(dir))
	second.waitForReplica()
	testutil.Eventually(t, "the first one finds out", func() bool { return !first.readsReplica() })
	if logs.FilterMessageSnippet("goes on without its replica").FilterLevelExact(zapcore.WarnLevel).Len() != 1 {
		t.Errorf("the log is %v", logs.All())
	}
	_, secret := second.key(second.account().ID)
	second.waitForReplica()
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	first.waitForReplica()
	if _, err := first.replica.key(t.Context(), first.hash.secret(secret), fault(errAway)); err != nil {
		t.Error(err)
	}
}

// A file that is damaged while it is used is set aside, and made again.
func TestReplica_ADamagedFileIsMadeAgain(t *testing.T) {
	t.Parallel()
	var logs *observer.ObservedLogs
	dir := t.TempDir()
	f := openStore(t, "", inPostgres(postgrestest.Start(t).NewDatabase(t)), withReplica(dir), logTo(&logs))
	k, _ := f.key(f.account().ID)
	f.waitForReplica()
	f.takeOverPolling()
	path := filepath.Join(dir, "replica.db")
	raw := rawDB(t, path)
	mustExec(t, raw, `PRAGMA wal_checkpoint(TRUNCATE)`)
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("damaged ", int(fi.Size()/8))), 0o600); err != nil {
		t.Fatal(err)
	}
	_, secret := f.key(k.AccountID)
	testutil.Eventually(t, "the replica is whole", func() bool {
		f.advance(2 * time.Second)
		f.feed.poll(t.Context())
		f.replica.step(t.Context())
		_, err := f.replica.key(t.Context(), f.hash.secret(secret), fault(errAway))
		return err == nil
	})
	if logs.FilterMessageSnippet("is set aside").Len() != 1 {
		t.Errorf("the log is %v", logs.All())
	}
}
